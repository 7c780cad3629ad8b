//! One term of leadership: watches, the queue, and up to a fixed number of resources at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use protocol::document::LogLevel;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::cluster::{ApiError, Class, Cluster, Path};
use super::context::{BEAT, OperatorContext, Pulse};
use super::installation::{self, Clearance, Facts};
use super::object::{self, LOCAL, ObjectKind};
use super::reconcile::round::round;
use super::reconcile::shared::Shared;
use super::world::index::Index;
use super::world::queue::{CONFLICT_WAIT, Cause, FIRST_WAIT, Key, Queue};
use super::world::watch::{self, Source, Watches};
use crate::kinds::labels::{AGENT, DATA_PLANE};
use crate::kinds::{Environment, Release, TaskRun, is_data_plane_id};
use crate::settings::Settings;
use crate::supervisor::joined;
use crate::telemetry::LevelHandle;

/// Resources that are worked on at once.
const WORKERS: usize = 16;

/// How often everything is looked at again: for Secrets of releases, which no watch follows.
const FULL_PASS: Duration = Duration::from_secs(600);

/// How often the installation is asked again while the operator may not work.
const HELD_RETRY: Duration = Duration::from_secs(5);

/// Longest round of one resource.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// Why a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Leadership is lost or the process stops.
    Over,
    /// The data plane got another id: labels and watches change.
    Renamed,
}

/// Runs until `stop`. Cancel safe: each write is complete by itself.
pub(super) async fn lead<S: Source>(
    context: &OperatorContext<S>,
    cluster: &Cluster,
    pulse: &Pulse,
    stop: &CancellationToken,
) -> End {
    let index = Arc::new(Index::default());
    let queue = Arc::new(Queue::default());
    let id = tokio::select! {
        biased;
        () = stop.cancelled() => return End::Over,
        id = pulse.during(data_plane_id(cluster, &context.settings)) => id,
    };
    let mut watches =
        Watches::start(&context.source, &context.settings.namespace, &id, Arc::clone(&index), Arc::clone(&queue));
    pulse.check.not_ready("waiting for the first lists of the API server");
    tokio::select! {
        biased;
        () = stop.cancelled() => return End::Over,
        () = pulse.during(watches.synced()) => {}
    }
    pulse.check.ready();
    tracing::info!(data_plane = id, "the operator has seen every list and begins");
    let shared = Arc::new(Shared::new(cluster.clone(), index, queue, context.settings.clone(), id));
    let (level, clock) = (&context.level, context.clock);
    let term = Term { level, clock, shared, pulse, good: Arc::new(AtomicBool::new(false)) };
    tokio::select! {
        biased;
        end = term.run(stop) => end,
        never = watches.broken() => match never {},
    }
}

/// The id that labels carry. Waits until the API server can be asked, and while the id is missing with which namespaces were made: an
/// operator without it would see nothing of what runs in them. It is ready meanwhile: after a new installation the chart makes
/// `DataPlane/default` once both roles are, and only then can the link write the id.
async fn data_plane_id(cluster: &Cluster, settings: &Settings) -> String {
    loop {
        match written_id(cluster, &settings.namespace).await {
            Ok(Some(id)) if is_data_plane_id(&id) => return id,
            Ok(Some(id)) => tracing::warn!(
                id,
                "the id in the status of DataPlane/default is no DNS label or is reserved, and would select what belongs to \
                 others; the operator does not begin until the data plane is enrolled again"
            ),
            Ok(None) => match enrolled_before(cluster, &settings.agent).await {
                Ok(None) => return LOCAL.to_owned(),
                Ok(Some((namespace, id))) => tracing::warn!(
                    namespace,
                    id,
                    "the status of DataPlane/default has no id, and a namespace of this agent carries one; the operator begins once the \
                     link has written the id again (docs/troubleshooting.md says how to write it by hand)"
                ),
                Err(error) => tracing::warn!(error = %error, "the namespaces cannot be read; trying again"),
            },
            Err(error) => tracing::warn!(error = %error, "the data plane cannot be read; trying again"),
        }
        tokio::time::sleep(HELD_RETRY).await;
    }
}

/// The id in the status of `DataPlane/default`.
async fn written_id(cluster: &Cluster, namespace: &str) -> Result<Option<String>, ApiError> {
    match cluster.get_path(&Path::own("dataplanes", namespace, "default")?).await {
        Ok(found) => Ok(found.pointer("/status/id").and_then(serde_json::Value::as_str).map(str::to_owned)),
        Err(error) if error.class() == Class::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// A namespace of this agent that was made under an id, and that id.
async fn enrolled_before(cluster: &Cluster, agent: &str) -> Result<Option<(String, String)>, ApiError> {
    let namespaces = cluster.list(ObjectKind::Namespace, "", &format!("{AGENT}={agent}")).await?;
    Ok(namespaces.iter().find_map(|namespace| {
        let id = object::label(namespace, DATA_PLANE).filter(|id| *id != LOCAL)?;
        let name = namespace.pointer("/metadata/name").and_then(serde_json::Value::as_str)?;
        Some((name.to_owned(), id.to_owned()))
    }))
}

struct Term<'a> {
    level: &'a LevelHandle,
    clock: Clock,
    shared: Arc<Shared>,
    pulse: &'a Pulse,
    /// Whether the installation is the one that may be worked on.
    good: Arc<AtomicBool>,
}

impl Term<'_> {
    async fn run(&self, stop: &CancellationToken) -> End {
        let mut running: JoinSet<(Key, Result<Option<Duration>, ApiError>)> = JoinSet::new();
        let mut pass = interval_at(Instant::now() + FULL_PASS, FULL_PASS);
        pass.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = tokio::time::interval(BEAT);
        self.shared.queue.add(Key::DataPlane, Cause::Wanted);
        let end = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break End::Over,
                _ = beat.tick() => self.pulse.heart.beat(),
                // Every resource once more, with what is not watched.
                _ = pass.tick() => {
                    self.shared.next_pass();
                    for key in watch::all(&self.shared.index.lock()) {
                        self.shared.queue.add(key, Cause::Observed);
                    }
                }
                Some(done) = running.join_next() => {
                    if let Some((key, result)) = joined(done) {
                        self.finished(key, result);
                    }
                }
                key = self.shared.queue.next(), if running.len() < WORKERS => {
                    if key == Key::DataPlane {
                        if self.renamed() {
                            break End::Renamed;
                        }
                        self.level();
                    }
                    let (shared, good) = (Arc::clone(&self.shared), Arc::clone(&self.good));
                    running.spawn(limited(shared, good, key, self.clock.now()));
                }
            }
        };
        running.shutdown().await;
        end
    }

    fn finished(&self, key: Key, result: Result<Option<Duration>, ApiError>) {
        match result {
            Ok(wake) => self.shared.queue.done(key, wake),
            Err(error) => {
                let class = error.class();
                let first = if class == Class::Conflict { CONFLICT_WAIT } else { FIRST_WAIT };
                let wait = self.shared.queue.failed(key.clone(), first);
                if class == Class::Conflict {
                    tracing::debug!(resource = ?key, error = %error, "something changed meanwhile; looking again");
                } else {
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(resource = ?key, error = %error, class = ?class, wait_ms, "a round failed");
                }
            }
        }
    }

    fn renamed(&self) -> bool {
        let contents = self.shared.index.lock();
        let id = contents.data_plane.as_ref().and_then(|data_plane| data_plane.status.as_ref()?.id.clone());
        id.is_some_and(|id| id != self.shared.id)
    }

    fn level(&self) {
        let contents = self.shared.index.lock();
        let level = contents.data_plane.as_ref().and_then(|data_plane| data_plane.spec.body.log_level);
        drop(contents);
        if let Some(level) = level {
            let level: LogLevel = level;
            self.level.set_level(level);
        }
    }
}

/// One round of one resource, within its limit.
async fn limited(
    shared: Arc<Shared>,
    good: Arc<AtomicBool>,
    key: Key,
    now: Timestamp,
) -> (Key, Result<Option<Duration>, ApiError>) {
    let work = async {
        if key != Key::DataPlane && !good.load(Ordering::Relaxed) {
            // It is looked at again when the installation is found good.
            return Ok(None);
        }
        match &key {
            Key::DataPlane => installation(&shared, &good, now).await,
            Key::Environment(name) => round::<Environment>(&shared, name, now).await,
            Key::Release(name) => round::<Release>(&shared, name, now).await,
            Key::TaskRun(name) => round::<TaskRun>(&shared, name, now).await,
        }
    };
    let result = match tokio::time::timeout(ROUND_LIMIT, Box::pin(work)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::NoAnswer {
            doing: format!("a round of {key:?}"),
            cause: format!("not done within {} s", ROUND_LIMIT.as_secs()),
        }),
    };
    (key, result)
}

async fn installation(shared: &Shared, good: &AtomicBool, now: Timestamp) -> Result<Option<Duration>, ApiError> {
    let facts: Facts = installation::facts(&shared.cluster, &shared.settings).await?;
    let data_plane = shared.index.lock().data_plane.clone();
    let clearance = installation::clearance(data_plane.as_ref(), &facts);
    let works = clearance == Clearance::Good;
    // Before anything that may fail: what may not be worked on is left at once.
    let changed = works != good.swap(works, Ordering::Relaxed);
    if let Clearance::Held(why) = &clearance {
        tracing::warn!(reason = why.reason, message = why.message, "the operator may not work");
    }
    if changed && works {
        for key in watch::all(&shared.index.lock()).into_iter().filter(|key| *key != Key::DataPlane) {
            shared.queue.add(key, Cause::Wanted);
        }
    }
    if let Some(data_plane) = &data_plane {
        installation::record(&shared.cluster, &shared.settings.namespace, data_plane, &facts, &clearance, now).await?;
    }
    Ok((!works).then_some(HELD_RETRY))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::operator::fixture::server::{self, Server};

    const DATA_PLANE_PATH: &str = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp/dataplanes/default";

    /// The object was deleted and made anew, without its status.
    #[tokio::test(start_paused = true)]
    async fn an_id_that_is_lost_is_waited_for_while_a_namespace_carries_it() {
        let server: Arc<Mutex<Server>> = Arc::default();
        let shared = server::shared(&server);
        let id = || tokio::time::timeout(10 * HELD_RETRY, data_plane_id(&shared.cluster, &shared.settings));
        let namespace = |id: &str| {
            let labels = json!({AGENT: "pdp.pdp-agent", DATA_PLANE: id});
            let object = json!({"kind": "Namespace", "metadata": {"name": "dp-a", "labels": labels}});
            server.lock().unwrap().objects.insert("/api/v1/namespaces/dp-a".to_owned(), object);
        };
        assert_eq!(id().await.unwrap(), LOCAL, "nothing was ever made");
        namespace(LOCAL);
        assert_eq!(id().await.unwrap(), LOCAL, "never enrolled");
        namespace("dp1");
        id().await.unwrap_err();
        server.lock().unwrap().objects.insert(DATA_PLANE_PATH.to_owned(), json!({"kind": "DataPlane"}));
        id().await.unwrap_err();
        let written = json!({"kind": "DataPlane", "status": {"id": "dp1"}});
        server.lock().unwrap().objects.insert(DATA_PLANE_PATH.to_owned(), written);
        assert_eq!(id().await.unwrap(), "dp1");
    }
}
