//! Documents through the control plane: wishes by its API, times from its record.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
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
        self.deploy_file(component, &file).await
    }

    /// Wishes a component as a file says; gives the generation of its document.
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

    /// Times of sending and of answering, by generation, of all documents in the record after what was seen.
    async fn times(&self) -> Result<Vec<(i64, Timestamp, Option<Timestamp>)>> {
        // Not the whole record: under a flood most of it is log chunks.
        let mut entries = self.entries("Sent").await?;
        entries.extend(self.entries("Message").await?);
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
    pub(super) async fn skip(&self) -> Result<()> {
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

    /// Adds to the control plane's script of faults.
    pub(super) async fn fault(&self, fault: &Value) -> Result<()> {
        self.call(Method::POST, "/api/v1/admin/faults", Some(fault)).await.map(drop)
    }

    async fn entries(&self, what: &str) -> Result<Vec<Value>> {
        let path = format!("/api/v1/admin/record?after={}&what={what}", self.seen.get());
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
            let pongs = self.entries("Pong").await?;
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

    /// Wishes so many components, eight at a time. Gives their generations.
    pub(super) async fn deploy_many(&self, prefix: &str, count: usize, round: i64) -> Result<Vec<i64>> {
        let wishes = (0..count).map(|number| async move { self.deploy(&format!("{prefix}-{number}"), round).await });
        futures::stream::iter(wishes).buffer_unordered(8).try_collect().await
    }

    /// Lets documents go: time from the first sending to the last answer, and to the last report of a release that is ready.
    pub(super) async fn released(&self, count: usize) -> Result<(Duration, Duration)> {
        self.call(Method::DELETE, "/api/v1/admin/faults", None).await?;
        let limit = Duration::from_secs(600);
        wait_until(limit, "all releases to be ready", || async {
            let traffic = self.traffic().await?;
            let sent: BTreeSet<i64> = traffic.sent.keys().copied().collect();
            ensure!(sent.len() == count, "{} were sent", sent.len());
            let first = traffic.sent.values().min().context("none was sent")?;
            let last = |times: &BTreeMap<i64, Timestamp>| -> Result<Duration> {
                let missing = sent.iter().filter(|generation| !times.contains_key(generation)).count();
                ensure!(missing == 0, "{missing} of {count} are missing");
                let last = sent.iter().filter_map(|generation| times.get(generation)).max();
                Ok(Duration::try_from(last.context("none")?.duration_since(*first))?)
            };
            Ok::<_, anyhow::Error>((last(&traffic.answered)?, last(&traffic.ready)?))
        })
        .await
        .map_err(Into::into)
    }

    /// One release after the other at a steady pace; from sending each to its first state.
    pub(super) async fn paced(&self, count: usize, pace: Duration, round: i64) -> Result<Vec<Duration>> {
        self.skip().await?;
        let mut tick = tokio::time::interval(pace);
        for number in 0..count {
            tick.tick().await;
            self.deploy(&format!("many-{number}"), round).await?;
        }
        let times = wait_until(LIMIT, "the state of all", || async {
            let traffic = self.traffic().await?;
            ensure!(traffic.sent.len() == count, "{} were sent", traffic.sent.len());
            let mut times = Vec::new();
            for (generation, sent) in &traffic.sent {
                let state = traffic.states.get(generation).context("a state is missing")?;
                times.push(Duration::try_from(state.duration_since(*sent))?);
            }
            Ok::<_, anyhow::Error>(times)
        })
        .await?;
        Ok(times)
    }

    /// What went over the link since the record was last put aside.
    async fn traffic(&self) -> Result<Traffic> {
        let entries = self.record().await?;
        let mut traffic = Traffic::default();
        let mut documents = BTreeMap::new();
        for entry in entries.as_array().context("the record is no list")? {
            let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let number = |pointer: &str| entry.pointer(pointer).and_then(Value::as_i64);
            let at: Timestamp = text("/at").parse()?;
            match (text("/what"), text("/data/type")) {
                ("Sent", "document") => {
                    let generation = number("/data/generation").unwrap_or(0);
                    documents.insert(number("/data/id"), generation);
                    traffic.sent.entry(generation).or_insert(at);
                }
                ("Message", "answer") => {
                    if let Some(generation) = documents.get(&number("/data/to")) {
                        traffic.answered.entry(*generation).or_insert(at);
                    }
                }
                ("Message", "state") => {
                    if let Some(generation) = number("/data/state/observedGeneration") {
                        traffic.states.entry(generation).or_insert(at);
                    }
                }
                ("Message", "fact") if text("/data/fact/kind") == "Ready" => {
                    if let Some(generation) = number("/data/fact/generation") {
                        traffic.ready.entry(generation).or_insert(at);
                    }
                }
                _ => {}
            }
        }
        Ok(traffic)
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

/// Times by generation.
#[derive(Debug, Default)]
struct Traffic {
    sent: BTreeMap<i64, Timestamp>,
    answered: BTreeMap<i64, Timestamp>,
    states: BTreeMap<i64, Timestamp>,
    ready: BTreeMap<i64, Timestamp>,
}
