//! Documents through the control plane: wishes by its API, times from its record.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::member;
use crate::installation::{ControlPlane, Place};
use crate::testbed::wait_until;

/// Time within which anything must happen.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at the record while much happens.
const LOOK: Duration = Duration::from_millis(500);

/// Before the answer to a single document is looked for: it has come by then.
const SOON: Duration = Duration::from_millis(50);

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

    /// Deploys the `round`th variant of a component; returns the generation of its document.
    pub(super) async fn deploy(&self, component: &str, round: i64) -> Result<i64> {
        let file = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Component", "name": component, "type": "Service",
            "image": format!("registry.customer.test:5000/bench@sha256:{:064x}", 1),
            "endpoints": [{ "name": "http", "port": 8080, "kind": "HTTP" }],
            "env": super::environment(round),
            "scaling": { "replicas": 0 },
        });
        self.deploy_file(component, &file).await
    }

    /// Deploys a component file; returns the generation of its document.
    pub(super) async fn deploy_file(&self, component: &str, file: &Value) -> Result<i64> {
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

    async fn record(&self) -> Result<Value> {
        self.call(Method::GET, &format!("/api/v1/admin/record?after={}", self.seen.get()), None).await
    }

    /// What is in the record by now is of no interest.
    pub(super) async fn skip(&self) -> Result<()> {
        let entries = self.record().await?;
        let last = entries.as_array().and_then(|entries| entries.last()?.get("seq")?.as_u64());
        self.seen.set(last.unwrap_or(self.seen.get()));
        Ok(())
    }

    /// Time from sending a generation to its answer.
    pub(super) async fn acknowledged(&self, generation: i64) -> Result<Duration> {
        let took = self
            .until(LIMIT, "the answer", SOON, |traffic| {
                let sent = traffic.sent.get(&generation).context("it was not sent")?;
                Ok(traffic.answered.get(&generation).context("no answer")?.duration_since(*sent))
            })
            .await?;
        self.skip().await?;
        Ok(Duration::try_from(took)?)
    }

    /// Adds to the control plane's script of faults.
    pub(super) async fn fault(&self, fault: &Value) -> Result<()> {
        self.call(Method::POST, "/api/v1/admin/faults", Some(fault)).await.map(drop)
    }

    async fn entries(&self, what: &str, after: u64) -> Result<Vec<Value>> {
        let path = format!("/api/v1/admin/record?after={after}&what={what}");
        let entries = self.call(Method::GET, &path, None).await?;
        Ok(entries.as_array().context("the record is no list")?.clone())
    }

    /// Round trips of pings that the control plane sends over the control connection, one at a time.
    pub(super) async fn round_trips(&self, count: usize) -> Result<Vec<Duration>> {
        self.skip().await?;
        for _ in 0..count {
            self.fault(&json!({ "fault": "ping", "times": 1 })).await?;
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let pongs = wait_until(LIMIT, "the last pong", || async {
            let pongs = self.entries("Pong", self.seen.get()).await?;
            ensure!(pongs.len() >= count, "{} of {count} have come", pongs.len());
            Ok::<_, anyhow::Error>(pongs)
        })
        .await?;
        pongs
            .iter()
            .map(|pong| Ok(Duration::from_micros(member(pong, "/data/micros")?.as_u64().context("no number")?)))
            .collect()
    }

    /// When the record first says `what` of a data plane after a time.
    pub(super) async fn noted(&self, data_plane: &str, what: &str, after: Timestamp) -> Result<Option<Timestamp>> {
        let path = format!("/api/v1/admin/record?after={}&what={what}&dataPlane={data_plane}", self.seen.get());
        let entries = self.call(Method::GET, &path, None).await?;
        for entry in entries.as_array().context("the record is no list")? {
            let at: Timestamp = member(entry, "/at")?.as_str().unwrap_or_default().parse()?;
            if at > after {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Cuts the session of the agent that is measured, and waits for the next one and its comparison.
    pub(super) async fn reconnected(&self) -> Result<()> {
        let shown = self.call(Method::GET, "/api/v1/organizations/acme/data-planes/bench", None).await?;
        let id = member(&shown, "/id")?.as_str().context("the id is no text")?.to_owned();
        let from = Timestamp::now();
        self.fault(&json!({ "fault": "kill", "dataPlane": id, "times": 1 })).await?;
        wait_until(LIMIT, "the next session", || async {
            let gone = self.noted(&id, "Disconnect", from).await?.context("not cut yet")?;
            self.noted(&id, "Connect", gone).await?.context("not back yet")
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.skip().await
    }

    /// Follows a component's log.
    pub(super) async fn logs(&self, component: &str) -> Result<reqwest::Response> {
        let path =
            format!("{}/components/{component}/logs?environment=dev&follow=true&tail=1&format=text", self.project);
        let request = self.client.get(format!("{}{path}", self.server)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?)
    }

    /// Name of a component's release in the cluster.
    pub(super) async fn release(&self, component: &str) -> Result<String> {
        let path = format!("{}/status?component={component}&environment=dev", self.project);
        let status = self.call(Method::GET, &path, None).await?;
        Ok(member(&status, "/0/name")?.as_str().context("the name is no text")?.to_owned())
    }

    /// Holds all documents back, and forgets what is in the record by now.
    pub(super) async fn hold(&self) -> Result<()> {
        self.call(Method::POST, "/api/v1/admin/faults", Some(&json!({ "fault": "pause" }))).await?;
        self.skip().await
    }

    /// Deploys `count` components, eight at a time. Returns their generations.
    pub(super) async fn deploy_many(&self, prefix: &str, count: usize, round: i64) -> Result<Vec<i64>> {
        let wishes = (0..count).map(|number| async move { self.deploy(&format!("{prefix}-{number}"), round).await });
        futures::stream::iter(wishes).buffer_unordered(8).try_collect().await
    }

    /// Releases the held documents: time from the first sending to the last answer, and until half and all of the releases are reported
    /// ready.
    pub(super) async fn released(&self, count: usize) -> Result<[Duration; 3]> {
        self.call(Method::DELETE, "/api/v1/admin/faults", None).await?;
        self.until(Duration::from_secs(600), "all releases to be ready", LOOK, |traffic| {
            ensure!(traffic.sent.len() == count, "{} were sent", traffic.sent.len());
            let all = traffic.took(&traffic.ready)?;
            Ok([traffic.took(&traffic.answered)?, traffic.half(&traffic.ready)?, all])
        })
        .await
    }

    /// One release after the other at a steady pace; from sending each to its first state.
    pub(super) async fn paced(&self, count: usize, pace: Duration, round: i64) -> Result<Vec<Duration>> {
        self.skip().await?;
        let mut tick = tokio::time::interval(pace);
        for number in 0..count {
            tick.tick().await;
            self.deploy(&format!("many-{number}"), round).await?;
        }
        self.until(LIMIT, "the state of all", LOOK, |traffic| {
            ensure!(traffic.sent.len() == count, "{} were sent", traffic.sent.len());
            let took = |(generation, sent): (&i64, &Timestamp)| {
                let state = traffic.states.get(generation).context("a state is missing")?;
                Ok(Duration::try_from(state.duration_since(*sent))?)
            };
            traffic.sent.iter().map(took).collect()
        })
        .await
    }

    /// Waits until `judge` finds what it looks for in the record. Polls seldom, since polling takes CPU time from what is measured.
    async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        pace: Duration,
        judge: impl Fn(&Traffic) -> Result<T>,
    ) -> Result<T> {
        let traffic = Mutex::new(Traffic { upto: [self.seen.get(); 2], ..Traffic::default() });
        let look = || async {
            tokio::time::sleep(pace).await;
            let mut traffic = traffic.lock().await;
            self.read_on(&mut traffic).await?;
            judge(&traffic)
        };
        Ok(wait_until(limit, what, look).await?)
    }

    /// Reads what went over the link since the last time.
    async fn read_on(&self, traffic: &mut Traffic) -> Result<()> {
        // Sent messages are read last, so that the document of every answer is among them.
        let [upto_sent, upto_message] = traffic.upto;
        let messages = self.entries("Message", upto_message).await?;
        let sent = self.entries("Sent", upto_sent).await?;
        let last =
            |entries: &[Value], before| entries.last().and_then(|last| last.get("seq")?.as_u64()).unwrap_or(before);
        traffic.upto = [last(&sent, upto_sent), last(&messages, upto_message)];
        sent.iter().chain(&messages).try_for_each(|entry| traffic.take(entry))
    }

    /// Lets so many documents go at once: time from the first sending to the last answer.
    pub(super) async fn many(&self, count: usize, round: i64) -> Result<Duration> {
        self.call(Method::POST, "/api/v1/admin/faults", Some(&json!({ "fault": "pause" }))).await?;
        for at in 0..count {
            self.deploy(&format!("many-{at}"), round).await?;
        }
        self.skip().await?;
        self.call(Method::DELETE, "/api/v1/admin/faults", None).await?;
        self.until(LIMIT, "all answers", LOOK, |traffic| {
            ensure!(traffic.sent.len() == count, "{} were sent", traffic.sent.len());
            traffic.took(&traffic.answered)
        })
        .await
    }
}

/// What went over the link, by generation.
#[derive(Debug, Default)]
struct Traffic {
    /// Numbers in the record up to which it is read: of what was sent, of what came.
    upto: [u64; 2],
    documents: BTreeMap<i64, i64>,
    sent: BTreeMap<i64, Timestamp>,
    answered: BTreeMap<i64, Timestamp>,
    states: BTreeMap<i64, Timestamp>,
    ready: BTreeMap<i64, Timestamp>,
}

impl Traffic {
    /// Takes in an entry of the record.
    fn take(&mut self, entry: &Value) -> Result<()> {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let number = |pointer: &str| entry.pointer(pointer).and_then(Value::as_i64);
        let (times, generation) = match (text("/what"), text("/data/type")) {
            ("Sent", "document") => {
                let generation = number("/data/generation");
                self.documents.extend(number("/data/id").zip(generation));
                (&mut self.sent, generation)
            }
            ("Message", "answer") => {
                let generation = number("/data/to").and_then(|id| self.documents.get(&id).copied());
                let verdict = text("/data/answer");
                // Skips the answer to a forget, and to a document that will be sent again.
                if generation.is_none() || verdict == "deferred" {
                    return Ok(());
                }
                ensure!(verdict == "accepted", "a document was {verdict}: {entry}");
                (&mut self.answered, generation)
            }
            ("Message", "state") => (&mut self.states, number("/data/state/observedGeneration")),
            ("Message", "fact") if text("/data/fact/kind") == "Ready" => {
                (&mut self.ready, number("/data/fact/generation"))
            }
            _ => return Ok(()),
        };
        if let Some(generation) = generation {
            times.entry(generation).or_insert(text("/at").parse()?);
        }
        Ok(())
    }

    /// Time from the first sending until half of `times`.
    fn half(&self, times: &BTreeMap<i64, Timestamp>) -> Result<Duration> {
        let first = self.sent.values().min().context("none was sent")?;
        let mut sorted: Vec<_> = times.values().collect();
        sorted.sort();
        let half = sorted.get(sorted.len() / 2).context("none has come")?;
        Ok(Duration::try_from(half.duration_since(*first))?)
    }

    /// Time from the first sending until all that was sent is in `times`.
    fn took(&self, times: &BTreeMap<i64, Timestamp>) -> Result<Duration> {
        let first = self.sent.values().min().context("none was sent")?;
        let of_all: Option<Vec<_>> = self.sent.keys().map(|generation| times.get(generation)).collect();
        let last = of_all.context("some are missing")?.into_iter().max().context("none was sent")?;
        Ok(Duration::try_from(last.duration_since(*first))?)
    }
}
