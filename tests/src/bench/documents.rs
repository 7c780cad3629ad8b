//! Documents through the control plane: wishes by its API, times from its record.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::member;
use crate::installation::{ControlPlane, Place};
use crate::testbed::wait_until;

/// Time within which anything must happen.
const LIMIT: Duration = Duration::from_secs(120);

/// The control plane as its people and its record see it.
#[derive(Debug)]
pub(super) struct Documents {
    client: reqwest::Client,
    server: String,
    token: String,
    project: String,
    /// The record up to here is of no interest any more.
    seen: Cell<u64>,
}

impl Documents {
    pub(super) fn new(plane: &ControlPlane, place: &Place) -> Result<Self> {
        let cli = plane.pdpctl();
        let root = reqwest::Certificate::from_pem(plane.ca()?.as_bytes())?;
        Ok(Self {
            client: reqwest::Client::builder().tls_certs_only([root]).build()?,
            server: cli.server.clone(),
            token: std::fs::read_to_string(&cli.token)?.trim().to_owned(),
            project: format!("/api/v1/organizations/acme/projects/{}", place.project),
            seen: Cell::new(0),
        })
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.server)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Wishes a component in its `round`th form; gives the generation of its document.
    pub(super) async fn deploy(&self, component: &str, round: i64) -> Result<i64> {
        let file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": component, "type": "Service",
            "image": format!("registry.customer.test:5000/bench@sha256:{:064x}", 1),
            "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
            "env": super::environment(round),
            "scaling": { "replicas": 0 },
        });
        let path = format!("{}/components/{component}/deployments", self.project);
        let deployed = self.call(Method::POST, &path, Some(&json!({ "environment": "dev", "file": file }))).await?;
        member(&deployed, "/generations/bench")?.as_i64().context("the generation is no number")
    }

    pub(super) async fn ready(&self, component: &str) -> Result<()> {
        let path = format!("{}/status?component={component}&environment=dev", self.project);
        wait_until(LIMIT, "a release to be ready", || async {
            let status = self.call(Method::GET, &path, None).await?;
            ensure!(status.pointer("/0/phase").and_then(Value::as_str) == Some("Ready"), "{status}");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    }

    pub(super) async fn all_ready(&self, count: usize) -> Result<()> {
        let path = format!("{}/status?environment=dev", self.project);
        wait_until(Duration::from_secs(300), "all releases to be ready", || async {
            let status = self.call(Method::GET, &path, None).await?;
            let rows = status.as_array().context("status is no list")?;
            let ready = rows.iter().filter(|row| {
                row.get("kind").and_then(Value::as_str) == Some("Release")
                    && row.get("phase").and_then(Value::as_str) == Some("Ready")
            });
            let ready = ready.count();
            ensure!(ready == count, "{ready} are ready");
            Ok::<_, anyhow::Error>(())
        })
        .await?;
        Ok(())
    }

    /// Times of sending and of answering, by generation, of all documents in the record after what was seen.
    async fn times(&self) -> Result<Vec<(i64, Timestamp, Option<Timestamp>)>> {
        let entries = self.record().await?;
        let entries = entries.as_array().context("the record is no list")?;
        let at =
            |entry: &Value| -> Result<Timestamp> { Ok(member(entry, "/at")?.as_str().unwrap_or_default().parse()?) };
        let of = |entry: &&Value, what: &str, kind: &str| {
            entry.get("what").and_then(Value::as_str) == Some(what)
                && entry.pointer("/data/type").and_then(Value::as_str) == Some(kind)
        };
        let mut times = Vec::new();
        for sent in entries.iter().filter(|entry| of(entry, "Sent", "document")) {
            let id = member(sent, "/data/id")?;
            let answer =
                entries.iter().find(|entry| of(entry, "Message", "answer") && entry.pointer("/data/to") == Some(id));
            let answered = answer.map(|answer| {
                let verdict = member(answer, "/data/answer")?.as_str().unwrap_or_default().to_owned();
                ensure!(verdict == "accepted", "a document was {verdict}: {answer}");
                at(answer)
            });
            times.push((member(sent, "/data/generation")?.as_i64().unwrap_or(0), at(sent)?, answered.transpose()?));
        }
        Ok(times)
    }

    async fn record(&self) -> Result<Value> {
        self.call(Method::GET, &format!("/api/v1/admin/record?after={}", self.seen.get()), None).await
    }

    /// What is in the record by now is of no interest.
    async fn skip(&self) -> Result<()> {
        let entries = self.record().await?;
        let last = entries.as_array().and_then(|entries| entries.last()?.get("seq")?.as_u64());
        self.seen.set(last.unwrap_or(self.seen.get()));
        Ok(())
    }

    /// Time from sending a generation to its answer.
    pub(super) async fn acknowledged(&self, generation: i64) -> Result<Duration> {
        let took = wait_until(LIMIT, "the answer", || async {
            let times = self.times().await?;
            let found = times.into_iter().find(|(sent, _, _)| *sent == generation);
            let (_, sent, answered) = found.context("it was not sent")?;
            Ok::<_, anyhow::Error>(answered.context("no answer")?.duration_since(sent))
        })
        .await?;
        self.skip().await?;
        Ok(Duration::try_from(took)?)
    }

    /// Lets so many documents go at once: time from the first sending to the last answer.
    pub(super) async fn many(&self, count: usize, round: i64) -> Result<Duration> {
        self.call(Method::POST, "/api/v1/admin/faults", Some(&json!({ "fault": "pause" }))).await?;
        for at in 0..count {
            self.deploy(&format!("many-{at}"), round).await?;
        }
        self.skip().await?;
        self.call(Method::DELETE, "/api/v1/admin/faults", None).await?;
        let took = wait_until(LIMIT, "all answers", || async {
            let times = self.times().await?;
            ensure!(times.len() == count, "{} were sent", times.len());
            let first = times.iter().map(|(_, sent, _)| *sent).min().context("none was sent")?;
            let answered: Option<Vec<_>> = times.iter().map(|(_, _, answered)| *answered).collect();
            let last = answered.context("not all are answered")?.into_iter().max().context("none was answered")?;
            Ok::<_, anyhow::Error>(last.duration_since(first))
        })
        .await?;
        Ok(Duration::try_from(took)?)
    }
}
