//! A control plane that sends all that it can: environments, releases as large as may be, runs and removals, for minutes. What the customer's
//! cluster then holds and does must be within the customer's limits.
//!
//! It talks to the mock as its people do, so that everything goes through the real link; traffic stays in the test cluster's networks
//! and ends with the time that is given.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::footprint::during;
use crate::installation::{ControlPlane, Installation, Options};
use crate::support::push_agent;
use crate::testbed::{Sample, Testbed};

/// What the customer allows.
const ENVIRONMENTS: usize = 3;
const RELEASES: usize = 40;
const IN_ENVIRONMENT: usize = 20;
const PODS: usize = 10;
const BYTES: usize = 4 * 1024 * 1024;
const STARTS: usize = 6;
const DELETIONS: usize = 12;

/// Wishes that are on their way at a time.
const AT_ONCE: usize = 8;
/// Documents and bytes that the link processes at the same time. Each is checked against what is stored, so that many may be stored
/// beyond the limit. None of those runs.
const IN_FLIGHT: (usize, usize) = (256, 8 * 1024 * 1024);

/// The other side.
struct Plane {
    client: Client,
    server: String,
    token: String,
    image: String,
    data_plane: String,
    /// Wishes that it took.
    taken: AtomicUsize,
}

/// What is there.
#[derive(Debug)]
struct There {
    environments: usize,
    /// Releases that are stored as present, and of those the ones that were given room.
    releases: [usize; 2],
    pods: usize,
    jobs: usize,
    /// Releases whose removal has begun or is over.
    removed: usize,
    /// Size of etcd's database, in bytes.
    etcd: u64,
    documents: usize,
}

/// Runs it for so long on the fresh cluster `name` and prints what came of it.
///
/// # Errors
/// Something went beyond its limit, or could not be done at all.
pub async fn run(name: &str, time: Duration) -> Result<()> {
    let bed = Testbed::attach(name)?;
    let state = bed.instance()?.path("control-plane-state");
    let plane = ControlPlane::start(&bed, &state, &[]).await?;
    let limits = json!({
        "environments": ENVIRONMENTS, "releases": RELEASES, "storedBytes": BYTES, "taskRunsPerMinute": STARTS,
        "deletionsPerHour": DELETIONS,
    });
    let rule =
        json!({"organization": "acme", "egress": false, "maxReleases": IN_ENVIRONMENT, "maxQuota": {"pods": PODS}});
    let options = Options {
        namespace: "pdp-agent".to_owned(),
        release: "pdp-agent".to_owned(),
        organization: "acme".to_owned(),
        data_plane: "berlin".to_owned(),
        image: push_agent(&bed).await?,
        values: json!({"policy": {"environments": [rule], "limits": limits}}).to_string(),
    };
    let installation = Installation::install(&bed, &plane, options).await?;
    let hostile = Plane::new(&installation)?;
    let before = there(&bed).await?;
    let end = Instant::now() + time;
    let floods = futures::future::join_all((0..AT_ONCE).map(|lane| hostile.flood(lane, end)));
    let (_, taken) = tokio::join!(floods, during(&bed, time.saturating_sub(Duration::from_secs(2))));
    let footprint = taken?;
    let after = there(&bed).await?;
    println!("{} wishes in {} s", hostile.taken.load(Ordering::Relaxed), time.as_secs());
    println!("before: {before:?}\nafter:  {after:?}");
    for (role, taken) in &footprint {
        println!("{role}: {:.0} thousandths of a CPU, at most {} KiB", taken.cpu, taken.peak);
    }
    let minutes = usize::try_from(time.as_secs().div_ceil(60))? + 1;
    // A rolling update may use a quarter more pods; etcd holds renderings, statuses and history besides the documents.
    let growth = after.etcd.saturating_sub(before.etcd);
    for (what, found, most) in [
        ("environments", after.environments, ENVIRONMENTS),
        ("releases that were taken up", after.releases[1], RELEASES),
        ("releases that are stored", after.releases[0], RELEASES + IN_FLIGHT.0),
        ("pods", after.pods, ENVIRONMENTS * PODS * 5 / 4 + ENVIRONMENTS),
        ("runs that were started", after.jobs, STARTS * minutes),
        ("removals", after.removed, DELETIONS),
        ("bytes of documents", after.documents, BYTES + IN_FLIGHT.1),
        ("bytes in etcd", usize::try_from(growth)?, 24 * BYTES),
    ] {
        println!("{what}: {found}, at most {most}");
        ensure!(found <= most, "{what}: {found} are more than the {most} that the customer allows");
    }
    ensure!(after.environments == ENVIRONMENTS && after.jobs > 0, "the flood did not come to its limits: {after:?}");
    installation.connected(Duration::from_secs(30)).await
}

impl Plane {
    fn new(installation: &Installation) -> Result<Self> {
        let plane = &installation.control_plane;
        let cli = plane.pdpctl();
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let root = reqwest::Certificate::from_pem(plane.ca()?.as_bytes())?;
        Ok(Self {
            client: Client::builder().tls_certs_only([root]).no_proxy().timeout(Duration::from_secs(20)).build()?,
            server: cli.server.clone(),
            token: std::fs::read_to_string(&cli.token)?.trim().to_owned(),
            image: installation.bed.sample(Sample::Probe)?,
            data_plane: installation.options.data_plane.clone(),
            taken: AtomicUsize::new(0),
        })
    }

    /// Sends a request and returns whether it was accepted. Requests that the mock's own rules refuse are no error here.
    async fn wish(&self, path: &str, body: &Value) -> bool {
        let url = format!("{}/api/v1/organizations/acme/{path}", self.server);
        let request = self.client.request(Method::POST, url).bearer_auth(&self.token).json(body);
        let taken = request.send().await.is_ok_and(|answer| answer.status() < StatusCode::BAD_REQUEST);
        self.taken.fetch_add(usize::from(taken), Ordering::Relaxed);
        taken
    }

    /// One lane: a project after the other, in each more releases than allowed, changed, run, removed, made again.
    async fn flood(&self, lane: usize, end: Instant) {
        let mut round = 0_usize;
        while Instant::now() < end {
            let project = format!("p{lane}-{round}");
            self.wish("projects", &json!({ "name": project })).await;
            let environment = json!({"name": "dev", "dataPlanes": [self.data_plane], "quota": {"pods": PODS}});
            self.wish(&format!("projects/{project}/environments"), &environment).await;
            for number in 0..IN_ENVIRONMENT * 2 {
                if Instant::now() > end {
                    return;
                }
                let task = number % 3 == 0;
                let component = format!("c{number}");
                let path = format!("projects/{project}/components/{component}");
                for turn in 0..3 {
                    let file = self.file(&component, task, turn, number);
                    self.wish(&format!("{path}/deployments"), &json!({"environment": "dev", "file": file})).await;
                }
                if task {
                    for _ in 0..10 {
                        self.wish(&format!("{path}/runs"), &json!({ "environment": "dev" })).await;
                    }
                }
                if number % 2 == 0 {
                    self.wish(&format!("{path}/undeploy"), &json!({ "environment": "dev" })).await;
                }
            }
            round += 1;
        }
    }

    fn file(&self, name: &str, task: bool, turn: usize, number: usize) -> Value {
        let content = format!("{turn}-{number}-").repeat(4_000 + number * 1_000);
        let mut file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": name, "image": self.image,
            "files": [{"path": "/etc/x", "content": content.get(..120_000).unwrap_or(&content)}],
        });
        let more = if task {
            json!({"type": "ManualTask", "args": ["pass"]})
        } else {
            json!({"type": "Service", "args": ["sleep"], "scaling": {"replicas": 50},
                "resources": {"cpuRequest": "1m", "memoryRequest": "1Mi"}})
        };
        if let (Some(file), Value::Object(more)) = (file.as_object_mut(), more) {
            file.extend(more);
        }
        file
    }
}

/// Looks at the cluster.
async fn there(bed: &Testbed) -> Result<There> {
    let list = |kind: &'static str, more: &'static [&'static str]| async move {
        let args = [&["get", kind, "-o", "json"], more].concat();
        let list: Value = serde_json::from_str(&bed.kubectl(&args).await?)?;
        Ok::<_, anyhow::Error>(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    };
    let releases = list("releases.pdp-agent.dev", &["-n", "pdp-agent"]).await?;
    let environments = list("environments.pdp-agent.dev", &["-n", "pdp-agent"]).await?;
    let ours = &["-A", "-l", "pdp-agent.dev/data-plane"];
    let state = |object: &&Value, state: &str| object.pointer("/spec/state").and_then(Value::as_str) == Some(state);
    // Each release here has a ConfigMap, or several of earlier revisions: NAME-config-DIGEST.
    let word = |at: &Value, pointer: &str| at.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let log = bed.audit_log()?;
    let deleted = log.iter().filter(|entry| {
        word(entry, "/verb") == "delete"
            && word(entry, "/objectRef/resource") == "configmaps"
            && entry.pointer("/responseStatus/code").and_then(Value::as_u64) == Some(200)
    });
    let removed: BTreeSet<String> = deleted
        .filter_map(|entry| Some(word(entry, "/objectRef/name").rsplit_once("-config-")?.0.to_owned()))
        .filter(|name| releases.iter().all(|one| word(one, "/metadata/name") != *name || state(&one, "Absent")))
        .collect();
    let metrics = bed.kubectl(&["get", "--raw", "/metrics"]).await?;
    let etcd = metrics.lines().find(|line| line.starts_with("apiserver_storage_size_bytes"));
    let etcd = etcd.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).context("no size of etcd")?;
    Ok(There {
        environments: list("namespaces", &["-l", "pdp-agent.dev/environment"]).await?.len(),
        releases: [
            releases.iter().filter(|one| state(one, "Present")).count(),
            releases.iter().filter(|one| state(one, "Present") && one.pointer("/status/namespace").is_some()).count(),
        ],
        pods: list("pods", ours).await?.iter().filter(|pod| pod.to_string().contains("\"Running\"")).count(),
        jobs: list("jobs", ours).await?.len(),
        removed: removed.len(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes below 2^53")]
        etcd: etcd as u64,
        documents: [&releases, &environments]
            .iter()
            .flat_map(|list| list.iter())
            .map(|one| one.get("spec").map_or(0, |spec| spec.to_string().len()))
            .sum(),
    })
}
