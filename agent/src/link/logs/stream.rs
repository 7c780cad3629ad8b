//! One log stream: finds the pods of a release or a task run, reads each container, takes in those that join.
//!
//! Rights: `pods` (get, list) and `pods/log` in the environment's namespace only, where the customer's policy bound the role.
//! There is no right to watch, so pods are listed again while somebody follows, and never otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use protocol::bulk::{Gap, StreamEnd};
use protocol::message::{EndReason, StreamStart};
use protocol::name::Kind;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::source::{Output, Source, SourceEnd, Views, Wish, note_gap};
use crate::kinds::labels::TASK_RUN;
use crate::kinds::{DataPlanePolicy, Environment, LogMode, Release, TaskRun};
use crate::logs::cursor::Cursor;
use crate::logs::pods::{Instance, instances};
use crate::telemetry::chain;

/// Time between two looks at the pods of a stream that is followed.
const LOOK: Duration = Duration::from_secs(2);

/// Longest time of one call.
const CALL: Duration = Duration::from_secs(10);

/// Looks in a row that may fail before the stream ends.
const TRIES: u32 = 15;

/// Most containers that one stream reads.
const MAX_SOURCES: usize = 64;

/// Where the pods of a stream are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PodSet {
    namespace: String,
    selector: String,
    /// No pods will join any more.
    over: bool,
}

/// What a look-up came to.
enum Look<T> {
    Found(T),
    /// Not there yet.
    NotYet(&'static str),
    End(StreamEnd),
    Failed(String),
}

/// Runs a stream to its end.
pub(super) async fn run(client: Client, own_namespace: String, mut start: StreamStart, output: Output) -> StreamEnd {
    let mut cursors = BTreeMap::new();
    for text in std::mem::take(&mut start.resume) {
        match text.parse::<Cursor>() {
            Ok(cursor) => _ = cursors.insert(cursor.source.clone(), cursor),
            Err(error) => return end(EndReason::BadCursor, error.to_string()),
        }
    }
    let wish = Wish {
        follow: start.follow && !start.previous,
        tail: start.tail,
        since_seconds: start.since_seconds,
        previous: start.previous,
    };
    let resumed = !cursors.is_empty();
    let empty = Views { asked: Instant::now(), containers: Arc::default() };
    let (publish, views) = watch::channel(empty);
    let stream = Streaming { client, own_namespace, start, wish, output, views, wanted: Arc::default() };
    stream.run(cursors, resumed, &publish).await
}

struct Streaming {
    client: Client,
    own_namespace: String,
    start: StreamStart,
    wish: Wish,
    output: Output,
    views: watch::Receiver<Views>,
    /// A source asks for the present state of its pod.
    wanted: Arc<Notify>,
}

impl Streaming {
    async fn run(
        &self,
        mut cursors: BTreeMap<String, Cursor>,
        resumed: bool,
        publish: &watch::Sender<Views>,
    ) -> StreamEnd {
        let mut known = BTreeSet::new();
        let mut sources = JoinSet::new();
        let mut failures = 0;
        let mut first = true;
        let mut last_end = None;
        loop {
            let asked = Instant::now();
            let mut over = false;
            match self.look().await {
                Look::Found((found, target)) => {
                    failures = 0;
                    over = target.over;
                    if found.is_empty() && !self.wish.follow {
                        return end(EndReason::NotFound, "there are no pods; nothing runs, or it was scaled to zero");
                    }
                    // Published before the sources start: a source takes a pod that is not listed for a deleted one.
                    let containers = found.iter().map(|one| ((one.uid.clone(), one.container.clone()), one.clone()));
                    publish.send_replace(Views { asked, containers: Arc::new(containers.collect()) });
                    if self
                        .begin(&found, &target, &mut known, &mut cursors, &mut sources, first && !resumed)
                        .await
                        .is_err()
                    {
                        return gone();
                    }
                    if first {
                        for (_, cursor) in std::mem::take(&mut cursors) {
                            let gap = Gap {
                                source: cursor.source.clone(),
                                from: Some(cursor.to_string()),
                                to: None,
                                reason: "PodDeleted".to_owned(),
                            };
                            if note_gap(&self.output, &gap).await.is_err() {
                                return gone();
                            }
                        }
                    }
                    first = false;
                }
                Look::NotYet(_) if self.wish.follow => failures = 0,
                Look::NotYet(message) => return end(EndReason::NotFound, message),
                Look::End(end) => return end,
                Look::Failed(reason) => {
                    failures += 1;
                    if failures >= TRIES || !self.wish.follow {
                        return end(EndReason::ServerCut, reason);
                    }
                }
            }
            let next = asked + LOOK;
            loop {
                let joined = tokio::select! {
                    joined = sources.join_next(), if !sources.is_empty() => joined,
                    () = sleep_until(next), if self.wish.follow => break,
                    () = self.wanted.notified(), if self.wish.follow => break,
                    else => None,
                };
                match joined {
                    Some(Ok((_, SourceEnd::NotAllowed))) => return not_allowed(),
                    Some(Ok((_, SourceEnd::Gone))) => return gone(),
                    Some(Ok((source, end))) => {
                        if matches!(end, SourceEnd::Failed(_)) {
                            let gap = Gap { source, from: None, to: None, reason: "Unreadable".to_owned() };
                            if note_gap(&self.output, &gap).await.is_err() {
                                return gone();
                            }
                        }
                        last_end = Some(end);
                    }
                    Some(Err(_)) => return end(EndReason::ServerCut, "reading a log failed inside of the agent"),
                    None => break,
                }
            }
            if sources.is_empty() && (over || !self.wish.follow) {
                return finished(last_end);
            }
        }
    }

    /// Starts reading containers that are new.
    async fn begin(
        &self,
        found: &[Instance],
        target: &PodSet,
        known: &mut BTreeSet<(String, String)>,
        cursors: &mut BTreeMap<String, Cursor>,
        sources: &mut JoinSet<(String, SourceEnd)>,
        from_the_end: bool,
    ) -> Result<(), super::flow::Gone> {
        for instance in found {
            let key = (instance.uid.clone(), instance.container.clone());
            if known.contains(&key) {
                continue;
            }
            let output = self.output.clone();
            if sources.len() >= MAX_SOURCES {
                let gap = Gap { source: instance.source.clone(), from: None, to: None, reason: "TooMany".to_owned() };
                note_gap(&output, &gap).await?;
                known.insert(key);
                continue;
            }
            known.insert(key);
            let cursor = match cursors.remove(&instance.source) {
                Some(cursor) if cursor.pod == instance.uid => Some(cursor),
                // The cursor is of another pod with the same name (a StatefulSet's, or made by hand).
                other => {
                    other.into_iter().for_each(|cursor| _ = cursors.insert(cursor.source.clone(), cursor));
                    None
                }
            };
            // `tail` and `since` were chosen for the containers that ran at the start; those that join later are read from their
            // first line.
            let wish = if from_the_end { self.wish } else { Wish { tail: None, since_seconds: None, ..self.wish } };
            let (client, namespace, instance) = (self.client.clone(), target.namespace.clone(), instance.clone());
            let look = self.wanted.clone();
            let source = Source { client, namespace, instance, wish, output, look };
            let (name, views) = (source.instance.source.clone(), self.views.clone());
            sources.spawn(async move { (name, source.run(cursor, views).await) });
        }
        Ok(())
    }

    /// The policy, the target and its pods, as they are now.
    async fn look(&self) -> Look<(Vec<Instance>, PodSet)> {
        match self.policy().await {
            Look::Found(()) => {}
            Look::NotYet(reason) => return Look::NotYet(reason),
            Look::End(end) => return Look::End(end),
            Look::Failed(reason) => return Look::Failed(reason),
        }
        let target = match self.target().await {
            Look::Found(target) => target,
            Look::NotYet(reason) => return Look::NotYet(reason),
            Look::End(end) => return Look::End(end),
            Look::Failed(reason) => return Look::Failed(reason),
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let parameters = ListParams::default().labels(&target.selector).match_any();
        match call(pods.list(&parameters)).await {
            Ok(list) => {
                let found = instances(&list.items);
                Look::Found((found, target))
            }
            Err(Unread::NotAllowed) => Look::End(not_allowed()),
            Err(Unread::NotFound) => Look::NotYet("the namespace of the workloads is gone"),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
        }
    }

    async fn policy(&self) -> Look<()> {
        let policies: Api<DataPlanePolicy> = Api::namespaced(self.client.clone(), &self.own_namespace);
        match call(policies.get("default")).await {
            Ok(policy) => match policy.spec.logs.mode {
                LogMode::ThroughLink => Look::Found(()),
                LogMode::Disabled | LogMode::InCluster => Look::End(not_allowed()),
            },
            Err(Unread::NotFound | Unread::NotAllowed) => Look::End(not_allowed()),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
        }
    }

    async fn target(&self) -> Look<PodSet> {
        let name = &self.start.key.name;
        match self.start.key.kind {
            Kind::Release => {
                let releases: Api<Release> = Api::namespaced(self.client.clone(), &self.own_namespace);
                match call(releases.get(name)).await {
                    Ok(release) => {
                        let over = release.spec.body.state == protocol::document::Desired::Absent;
                        let selector = format!("pdp-agent.dev/release={name}");
                        located(release.status.and_then(|status| status.namespace), Some(selector), over)
                    }
                    Err(error) => missing(error),
                }
            }
            Kind::TaskRun => {
                let runs: Api<TaskRun> = Api::namespaced(self.client.clone(), &self.own_namespace);
                match call(runs.get(name)).await {
                    Ok(run) => {
                        let status = run.status.unwrap_or_default();
                        let selector = status.job.map(|job| format!("batch.kubernetes.io/job-name={job}"));
                        located(status.namespace, selector, status.result.is_some())
                    }
                    Err(Unread::NotFound) => self.forgotten(name).await,
                    Err(error) => missing(error),
                }
            }
            Kind::DataPlane | Kind::Environment => {
                Look::End(end(EndReason::NotFound, "only releases and task runs have logs"))
            }
        }
    }

    /// Finds the pods of a run whose TaskRun is deleted: the control plane forgets it once its end is recorded, while its Job stays
    /// for a while and the pods carry the run's name. They are looked for in the environment that the control plane names, since a
    /// search in all of them would cost one list each for every made-up name.
    async fn forgotten(&self, run: &str) -> Look<PodSet> {
        let Some(environment) = &self.start.environment else {
            return Look::End(end(
                EndReason::NotFound,
                "there is no such run here; name its environment, where its pods may still be",
            ));
        };
        let environments: Api<Environment> = Api::namespaced(self.client.clone(), &self.own_namespace);
        let namespace = match call(environments.get(environment)).await {
            Ok(environment) => environment.status.and_then(|status| status.namespace).unwrap_or_default(),
            Err(error) => return missing(error),
        };
        let selector = format!("{TASK_RUN}={run}");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        match call(pods.list(&ListParams::default().labels(&selector).limit(1).match_any())).await {
            Ok(list) if !list.items.is_empty() => Look::Found(PodSet { namespace, selector, over: true }),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
            // NotFound and NotAllowed: the link's role is not bound there yet, or not any more.
            Ok(_) | Err(Unread::NotFound | Unread::NotAllowed) => Look::End(end(
                EndReason::NotFound,
                "there is no such run here, and no pod of it: pods stay an hour after the end of a run",
            )),
        }
    }
}

fn located(namespace: Option<String>, selector: Option<String>, over: bool) -> Look<PodSet> {
    match (namespace, selector) {
        (Some(namespace), Some(selector)) => Look::Found(PodSet { namespace, selector, over }),
        (_, _) if over => Look::End(end(EndReason::NotFound, "it never ran")),
        (_, _) => Look::NotYet("it has not been started yet"),
    }
}

fn missing(error: Unread) -> Look<PodSet> {
    match error {
        Unread::NotFound => Look::End(end(EndReason::NotFound, "there is no such resource on this data plane")),
        Unread::NotAllowed => Look::Failed("the agent may not read its own resources".to_owned()),
        Unread::Failed(reason) => Look::Failed(reason),
    }
}

enum Unread {
    NotFound,
    NotAllowed,
    Failed(String),
}

async fn call<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Unread> {
    match timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match if let kube::Error::Api(status) = &error { status.code } else { 0 } {
            404 => Unread::NotFound,
            401 | 403 => Unread::NotAllowed,
            _ => Unread::Failed(chain(&error)),
        }),
        Err(_) => Err(Unread::Failed("the API server did not answer in time".to_owned())),
    }
}

pub(super) fn end(reason: EndReason, message: impl Into<String>) -> StreamEnd {
    StreamEnd { reason, message: message.into() }
}

fn not_allowed() -> StreamEnd {
    end(
        EndReason::NotAllowed,
        "the customer's policy does not let logs of this environment through the link (DataPlanePolicy, spec.logs.mode)",
    )
}

fn gone() -> StreamEnd {
    end(EndReason::BulkLost, "the bulk connection was lost; ask again with the cursors of the last chunks")
}

fn finished(last: Option<SourceEnd>) -> StreamEnd {
    match last {
        Some(SourceEnd::Failed(reason)) => end(EndReason::ServerCut, reason),
        Some(SourceEnd::Deleted) => end(EndReason::PodDeleted, "the pods are gone"),
        Some(SourceEnd::Complete | SourceEnd::NotAllowed | SourceEnd::Gone) | None => {
            end(EndReason::ContainerEnded, "that was all of it")
        }
    }
}
