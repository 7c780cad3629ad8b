//! Raw writes: server-side apply of an object of a Release's size, by a program inside the cluster's network.
//!
//! The writer is a process of its own, since a network belongs to a process. It reads one order a line (`one NAME`, `many COUNT`,
//! `same COUNT FILE`) and answers with microseconds.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::testbed::instance::{API_PORT, NODE_IP};
use crate::testbed::{Side, Testbed};

/// Namespace of what is written raw: nobody watches it.
pub const NAMESPACE: &str = "raw";
/// Writes at the same time.
const WIDTH: usize = 16;

/// A writer that runs.
#[derive(Debug)]
pub struct Writer {
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(bed: &Testbed) -> Result<Self> {
        let mut command = bed.in_netns(Side::Cluster, std::env::current_exe()?)?;
        command.args(["raw", "--server", &format!("https://{NODE_IP}:{API_PORT}"), "--kubeconfig"]);
        command.arg(bed.kubeconfig()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let orders = process.stdin.take().context("the writer has no input")?;
        let answers = BufReader::new(process.stdout.take().context("the writer has no output")?).lines();
        Ok(Self { _process: process, orders, answers })
    }

    async fn ask(&mut self, order: &str) -> Result<Duration> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        let answer = tokio::time::timeout(Duration::from_secs(600), self.answers.next_line()).await??;
        Ok(Duration::from_micros(answer.context("the writer has ended")?.parse()?))
    }

    /// One write.
    ///
    /// # Errors
    /// It fails.
    pub async fn one(&mut self, name: &str) -> Result<Duration> {
        self.ask(&format!("one {name}")).await
    }

    /// The steps of one release for so many releases, sixteen releases at a time. `file` holds the name to be replaced and the steps.
    ///
    /// # Errors
    /// One fails.
    pub async fn same(&mut self, file: &Path, count: usize) -> Result<Duration> {
        self.ask(&format!("same {count} {}", file.display())).await
    }

    /// So many writes to as many objects, sixteen at a time. The time of all.
    ///
    /// # Errors
    /// One fails.
    pub async fn many(&mut self, count: usize) -> Result<Duration> {
        self.ask(&format!("many {count}")).await
    }
}

/// One call to be made raw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// `GET`, `POST`, `APPLY` or `MERGE`.
    how: String,
    /// Path and query.
    path: String,
    /// Body, where there is one.
    body: Option<Value>,
}

impl Step {
    /// See the fields.
    #[must_use]
    pub fn new(how: &str, path: String, body: Option<Value>) -> Self {
        Self { how: how.to_owned(), path, body }
    }
}

/// The steps of one release, one after the other.
async fn steps(client: &Client, text: &str, name: &str, number: usize) -> Result<()> {
    let steps: Vec<Step> = serde_json::from_str(&text.replace(name, &format!("same-{number:05}")))?;
    for Step { how, path, body } in steps {
        let (method, kind) = match how.as_str() {
            "GET" => ("GET", "application/json"),
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            _ => ("POST", "application/json"),
        };
        let request = http::Request::builder().method(method).uri(&path).header("content-type", kind);
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        match client.request_text(request.body(body)?).await {
            Ok(_) => {}
            // A 404 is fine here: the agent too reads objects that do not exist yet.
            Err(kube::Error::Api(status)) if how == "GET" && status.code == 404 => {}
            Err(error) => return Err(error).with_context(|| format!("{how} {path}")),
        }
    }
    Ok(())
}

/// The writer itself.
///
/// # Errors
/// The API server refuses.
pub async fn serve(kubeconfig: &Path, server: &str) -> Result<()> {
    // There is one crypto provider in the whole workspace; installing it twice does no harm.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut file = Kubeconfig::read_from(kubeconfig)?;
    for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.server = Some(server.to_owned());
    }
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    let resource = ApiResource {
        group: "pdp-agent.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "pdp-agent.dev/v1alpha1".to_owned(),
        kind: "Release".to_owned(),
        plural: "releases".to_owned(),
    };
    let client = Client::try_from(config)?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource);
    let mut generation = 0;
    // Blocking reads are fine: nothing else runs while waiting for an order.
    for order in std::io::stdin().lines() {
        let order = order?;
        generation += 1;
        let began = Instant::now();
        match order.split_once(' ') {
            Some(("many", count)) => {
                let writes = (0..count.parse::<usize>()?).map(|at| write(&api, format!("many-{at}"), generation));
                futures::stream::iter(writes).buffer_unordered(WIDTH).try_collect::<Vec<()>>().await?;
            }
            Some(("same", what)) => {
                let (count, file) = what.split_once(' ').context("same COUNT FILE")?;
                let (name, text): (String, Value) = serde_json::from_str(&std::fs::read_to_string(file)?)?;
                let text = text.to_string();
                let releases = (0..count.parse::<usize>()?).map(|number| steps(&client, &text, &name, number));
                futures::stream::iter(releases).buffer_unordered(WIDTH).try_collect::<Vec<()>>().await?;
            }
            Some((_, name)) => write(&api, name.to_owned(), generation).await?,
            None => anyhow::bail!("order {order:?} is not known"),
        }
        println!("{}", began.elapsed().as_micros());
    }
    Ok(())
}

async fn write(api: &Api<DynamicObject>, name: String, generation: i64) -> Result<()> {
    let object = json!({
        "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release", "metadata": { "name": name }, "spec": spec(generation),
    });
    api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(object)).await?;
    Ok(())
}

/// The body of a component's release, with its stamp, as the link stores one.
fn spec(generation: i64) -> Value {
    json!({
        "document": { "generation": generation, "hash": format!("{generation:064x}"), "provenance": { "actor": "bench" } },
        "state": "Present",
        "environment": "acme-bench-dev",
        "owner": { "component": "bench", "track": "v1.0" },
        "type": "Service",
        "image": format!("registry.customer.test:5000/bench@sha256:{:064x}", 1),
        "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
        "env": super::environment(generation),
        "scaling": { "replicas": 0 },
    })
}
