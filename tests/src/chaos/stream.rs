//! The stream of wishes: a steady flow of deployments, removals, runs of tasks and environments that come and go, through the control
//! plane's REST API. What was lost on the way is asked for again; nothing here knows of the faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::plan::Dice;
use crate::installation::ControlPlane;
use crate::testbed::{Sample, Testbed};

/// Organization of everything.
pub const ORGANIZATION: &str = "acme";
/// Handle of the data plane.
pub const DATA_PLANE: &str = "chaos";

/// How much is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Projects with one environment each.
    pub projects: usize,
    /// Releases without pods, over all projects.
    pub releases: usize,
    /// Releases with a pod.
    pub real: usize,
    /// Time from one wish to the next.
    pub pace: Duration,
    /// One in this many requests is a run of a task.
    pub run_every: usize,
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Counts {
    /// Wishes that the control plane took.
    pub wishes: AtomicUsize,
    /// Runs among them.
    pub runs: AtomicUsize,
    /// Environments that came and went.
    pub visits: AtomicUsize,
    /// Requests that had to be repeated.
    pub repeated: AtomicUsize,
}

/// The control plane's REST API.
#[derive(Debug, Clone)]
pub struct Rest {
    client: reqwest::Client,
    server: String,
    token: String,
}

impl Rest {
    /// With the administrator's token.
    ///
    /// # Errors
    /// CA or token cannot be read.
    pub fn new(plane: &ControlPlane) -> Result<Self> {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let cli = plane.pdpctl();
        let root = reqwest::Certificate::from_pem(plane.ca()?.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().timeout(Duration::from_secs(10));
        let token = std::fs::read_to_string(&cli.token)?.trim().to_owned();
        // Between two restarts of the server no connection is worth keeping.
        Ok(Self { client: client.pool_max_idle_per_host(0).build()?, server: cli.server, token })
    }

    /// One request. Gives the status and what was said.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let url = format!("{}/api/v1/organizations/{ORGANIZATION}{path}", self.server);
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Whether the data plane is connected, and what is said of it.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn data_plane(&self) -> Result<Value> {
        let (_, plane) = self.call(Method::GET, &format!("/data-planes/{DATA_PLANE}"), None).await?;
        Ok(plane)
    }
}

/// The stream.
#[derive(Debug)]
pub struct Stream {
    /// Where wishes go.
    pub rest: Rest,
    /// How much.
    pub load: Load,
    /// Images.
    pub httpbin: String,
    /// Images.
    pub probe: String,
    /// What was asked for.
    pub counts: Counts,
}

impl Stream {
    /// Nothing is asked for yet.
    ///
    /// # Errors
    /// The sample images are not there.
    pub fn new(bed: &Testbed, rest: Rest, load: Load) -> Result<Self> {
        let (httpbin, probe) = (bed.sample(Sample::HttpbinOld)?, bed.sample(Sample::Probe)?);
        Ok(Self { rest, load, httpbin, probe, counts: Counts::default() })
    }

    /// Repeats a request until it succeeds: without an answer, or with a server error, it is retried. Other refusals are errors.
    async fn ask(&self, stop: &CancellationToken, method: Method, path: &str, body: &Value) -> Result<StatusCode> {
        loop {
            match self.rest.call(method.clone(), path, Some(body)).await {
                Ok((status, _)) if status.is_success() => {
                    self.counts.wishes.fetch_add(1, Ordering::Relaxed);
                    return Ok(status);
                }
                // It exists already, or is gone already: by an earlier try whose answer was lost, or because the store was restored.
                Ok((status @ (StatusCode::CONFLICT | StatusCode::NOT_FOUND), _)) => return Ok(status),
                Ok((status, said)) if !status.is_server_error() => bail!("{method} {path}: {status}: {said}"),
                Ok(_) | Err(_) if stop.is_cancelled() => bail!("{method} {path}: stopped"),
                Ok(_) | Err(_) => {
                    self.counts.repeated.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        }
    }

    /// A project with the environment `dev`.
    async fn open(&self, stop: &CancellationToken, project: &str) -> Result<()> {
        self.ask(stop, Method::POST, "/projects", &json!({ "name": project })).await?;
        let environment = json!({ "name": "dev", "dataPlanes": [DATA_PLANE] });
        self.ask(stop, Method::POST, &format!("/projects/{project}/environments"), &environment).await.map(drop)
    }

    async fn deploy(&self, stop: &CancellationToken, project: &str, file: &Value) -> Result<StatusCode> {
        let component = file.get("name").and_then(Value::as_str).unwrap_or_default();
        let path = format!("/projects/{project}/components/{component}/deployments");
        self.ask(stop, Method::POST, &path, &json!({ "environment": "dev", "file": file })).await
    }

    async fn undeploy(&self, stop: &CancellationToken, project: &str, component: &str) -> Result<()> {
        let path = format!("/projects/{project}/components/{component}/undeploy");
        self.ask(stop, Method::POST, &path, &json!({ "environment": "dev" })).await.map(drop)
    }

    /// A release without pods. Its port changes now and then, so that its Service has to be switched.
    fn light(&self, name: &str, round: usize) -> Value {
        json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "Service",
            "image": format!("registry.customer.test:5000/chaos@sha256:{:064x}", 1 + round % 3),
            "endpoints": [{ "name": "http", "port": 8080 + round % 2, "kind": "HTTP" }],
            "env": [{ "name": "ROUND", "value": round.to_string() }],
            "scaling": { "replicas": 0 },
        })
    }

    fn real(&self, name: &str, round: usize) -> Value {
        json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "type": "Service",
            "image": self.httpbin, "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
            "env": [{ "name": "ROUND", "value": round.to_string() }],
        })
    }

    fn task(&self) -> Value {
        json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": "job", "type": "ManualTask",
            "image": self.probe, "args": ["pass"],
        })
    }

    /// Everything once.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn begin(&self) -> Result<()> {
        let stop = CancellationToken::new();
        for project in 0..self.load.projects {
            self.open(&stop, &format!("p{project}")).await?;
            self.deploy(&stop, &format!("p{project}"), &self.task()).await?;
        }
        for index in 0..self.load.releases {
            self.deploy(&stop, &self.project(index), &self.light(&format!("c{index}"), 0)).await?;
        }
        for index in 0..self.load.real {
            self.deploy(&stop, &self.project(index), &self.real(&format!("r{index}"), 0)).await?;
        }
        Ok(())
    }

    fn project(&self, index: usize) -> String {
        format!("p{}", index % self.load.projects.max(1))
    }

    /// Wishes until it is stopped: changes, removals and returns of releases, runs.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn wish(&self, seed: u64, stop: &CancellationToken) -> Result<()> {
        let mut dice = Dice(seed);
        for round in 1.. {
            let next = tokio::time::Instant::now() + self.load.pace;
            let done = self.one(&mut dice, round, stop).await;
            if stop.is_cancelled() {
                break;
            }
            done?;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(next) => {}
            }
        }
        Ok(())
    }

    async fn one(&self, dice: &mut Dice, round: usize, stop: &CancellationToken) -> Result<()> {
        if round.is_multiple_of(self.load.run_every) {
            let project = self.project(dice.below(self.load.projects));
            let path = format!("/projects/{project}/components/job/runs");
            if self.ask(stop, Method::POST, &path, &json!({ "environment": "dev" })).await?.is_success() {
                self.counts.runs.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            // The task is not deployed: the store was restored.
            return self.deploy(stop, &project, &self.task()).await.map(drop);
        }
        if self.load.real > 0 && round % 40 == 7 {
            let index = dice.below(self.load.real);
            return self.deploy(stop, &self.project(index), &self.real(&format!("r{index}"), round)).await.map(drop);
        }
        let index = dice.below(self.load.releases);
        let (project, name) = (self.project(index), format!("c{index}"));
        match dice.below(10) {
            0 | 1 => self.undeploy(stop, &project, &name).await,
            _ => self.deploy(stop, &project, &self.light(&name, round)).await.map(drop),
        }
    }

    /// Environments that come, hold a release, and go, one after the other until it is stopped; the last one goes too.
    ///
    /// # Errors
    /// The control plane refuses.
    pub async fn visit(&self, stop: &CancellationToken) -> Result<()> {
        // Never cancelled: a visit that has begun is completed.
        let goes_on = CancellationToken::new();
        for visit in 0.. {
            let project = format!("v{visit}");
            self.open(&goes_on, &project).await?;
            self.deploy(&goes_on, &project, &self.light("guest", visit)).await?;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_secs(6)) => {}
            }
            let path = format!("/projects/{project}/environments/dev");
            self.ask(&goes_on, Method::DELETE, &path, &Value::Null).await?;
            self.counts.visits.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
        }
        Ok(())
    }
}
