//! The last lines of pods that are being stopped, kept in memory for whoever asks for them later.
//!
//! A version that is taken back and a run that is cancelled take their pods' logs with them, and these say why. The operator sets the
//! condition `Stopping` and waits for a moment before it stops the pods; this module reads their logs meanwhile and until they end. It reads
//! what streams may read, only while the customer lets logs through the link, and writes nothing: a restart of the process loses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::LogParams;
use protocol::bulk::StreamEnd;
use protocol::message::EndReason;
use protocol::name::ResourceKey;
use protocol::report::State;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::flow::Gone;
use super::source::{Output, open, send};
use super::target::{Look, Lookup, bulk_lost, end};
use crate::kinds::conditions::STOPPING;
use crate::logs::cursor::Cursor;
use crate::logs::pods::{Instance, instances};
use crate::logs::reading::Reading;

/// How long lines are kept: as long as the pods of a run that has ended.
const KEPT: Duration = Duration::from_secs(3600);
/// Bytes of one container's run that are kept, with the times of its lines.
const BYTES: usize = 8 * 1024;
/// Lines that are asked for to begin with.
const LINES: i64 = 100;
/// Containers of one resource, each counted once more where it was started again.
const RUNS: usize = 16;
/// Resources; the oldest makes way.
const RESOURCES: usize = 32;
/// Resources that are read at the same time; further ones are left out.
const AT_ONCE: usize = 8;
/// Longest time of reading: pods may take a while to stop.
const LONGEST: Duration = Duration::from_secs(120);

/// Last lines by resource.
#[derive(Clone)]
pub struct LastLines {
    kept: Arc<Mutex<HashMap<ResourceKey, Entry>>>,
    readers: Arc<Semaphore>,
}

impl Default for LastLines {
    fn default() -> Self {
        Self { kept: Arc::default(), readers: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

struct Entry {
    /// Since when its pods are being stopped, as the condition says it.
    since: String,
    at: Instant,
    runs: Vec<Run>,
}

/// The end of the log of one run of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// At its beginning.
    cursor: Cursor,
    /// Lines as the log API gives them with times; a line at the end may not be whole.
    bytes: Vec<u8>,
}

/// Since when the pods of a resource are being stopped, if they are.
pub fn stopping(state: &State) -> Option<&str> {
    let stopping =
        |condition: &&protocol::report::Condition| condition.condition_type == STOPPING && condition.status == "True";
    state.conditions.iter().find(stopping).map(|condition| condition.last_transition_time.as_str())
}

impl LastLines {
    /// Reads the logs of the pods that are being stopped until they end. Does nothing for what is read already.
    pub(super) async fn read(&self, lookup: Lookup, since: String) {
        let Ok(_reader) = self.readers.try_acquire() else {
            return debug!(resource = %lookup.key, "its last lines are not read: too many are being stopped at once");
        };
        if !self.begin(&lookup.key, &since) {
            return;
        }
        let (pods, namespace) = match lookup.pods().await {
            Look::Found((pods, target)) => (pods, target.namespace),
            Look::NotYet(why) => return debug!(resource = %lookup.key, why, "its last lines are not read"),
            Look::End(end) => {
                return debug!(resource = %lookup.key, why = end.message, "its last lines are not read");
            }
            Look::Failed(why) => return debug!(resource = %lookup.key, why, "its last lines are not read"),
        };
        let mut readers = JoinSet::new();
        for instance in instances(&in_doubt(pods)).into_iter().rev().take(RUNS / 2) {
            let (lines, client) = (self.clone(), lookup.client.clone());
            let (key, since, namespace) = (lookup.key.clone(), since.clone(), namespace.clone());
            readers.spawn(async move { lines.read_instance(&client, &namespace, &instance, (&key, &since)).await });
        }
        if timeout(LONGEST, readers.join_all()).await.is_err() {
            debug!(resource = %lookup.key, "its pods take long to stop; later lines are not kept");
        }
    }

    async fn read_instance(
        &self,
        client: &Client,
        namespace: &str,
        instance: &Instance,
        (key, since): (&ResourceKey, &str),
    ) {
        let before = instance.previous.iter().map(|id| (id, true));
        for (id, previous) in before.chain(instance.current.iter().map(|id| (id, false))) {
            let parameters = LogParams {
                container: Some(instance.container.clone()),
                follow: instance.running && !previous,
                previous,
                timestamps: true,
                tail_lines: Some(LINES),
                ..LogParams::default()
            };
            let Ok(mut body) = open(client, namespace, &instance.pod, &parameters).await else { continue };
            let cursor = Cursor {
                source: instance.source.clone(),
                pod: instance.uid.clone(),
                container: id.clone(),
                position: None,
            };
            while let Some(Ok(frame)) = body.frame().await {
                self.push(key, since, &cursor, &frame.into_data().unwrap_or_default());
            }
        }
    }

    fn begin(&self, key: &ResourceKey, since: &str) -> bool {
        let mut kept = self.lock();
        kept.retain(|_, entry| entry.at.elapsed() < KEPT);
        if kept.get(key).is_some_and(|entry| entry.since == since) {
            return false;
        }
        kept.insert(key.clone(), Entry { since: since.to_owned(), at: Instant::now(), runs: Vec::new() });
        if kept.len() > RESOURCES
            && let Some(oldest) = kept.iter().min_by_key(|(_, entry)| entry.at).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        true
    }

    fn push(&self, key: &ResourceKey, since: &str, cursor: &Cursor, bytes: &[u8]) {
        let mut kept = self.lock();
        let Some(entry) = kept.get_mut(key).filter(|entry| entry.since == since) else { return };
        let known = entry.runs.iter().position(|run| run.cursor == *cursor);
        let run = match known {
            Some(index) => entry.runs.get_mut(index),
            None if entry.runs.len() < RUNS => {
                entry.runs.push(Run { cursor: cursor.clone(), bytes: Vec::new() });
                entry.runs.last_mut()
            }
            None => None,
        };
        let Some(run) = run else { return };
        run.bytes.extend_from_slice(bytes);
        if let Some(more) = run.bytes.len().checked_sub(BYTES).filter(|more| *more > 0) {
            // A line that has lost its beginning has no time any more.
            let cut =
                run.bytes.iter().skip(more).position(|byte| *byte == b'\n').map_or(run.bytes.len(), |at| more + at + 1);
            run.bytes.drain(..cut);
        }
    }

    fn of(&self, key: &ResourceKey) -> Vec<Run> {
        let kept = self.lock();
        kept.get(key).filter(|entry| entry.at.elapsed() < KEPT).map(|entry| entry.runs.clone()).unwrap_or_default()
    }

    /// Sends what is kept of a resource, the last `tail` lines of each container's run. None if nothing is.
    pub(super) async fn send(&self, key: &ResourceKey, tail: Option<u32>, output: &Output) -> Option<StreamEnd> {
        let mut runs = self.of(key);
        if runs.is_empty() {
            return None;
        }
        runs.sort_by(|one, other| one.cursor.source.cmp(&other.cursor.source));
        for Run { mut cursor, bytes } in runs {
            let mut reading = Reading::new(cursor.clone());
            reading.bytes(last(&bytes, tail));
            reading.end();
            if let Err(Gone) = send(output, &mut reading, &mut cursor).await {
                return Some(bulk_lost());
            }
        }
        Some(end(EndReason::ContainerEnded, "these were its last lines; its pods are gone"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ResourceKey, Entry>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said where nothing is kept.
pub(super) fn nothing_kept() -> StreamEnd {
    end(
        EndReason::NotFound,
        "no last lines of it are kept: the agent keeps those of a version that was taken back and of a run that was cancelled, for an \
         hour and until it is restarted",
    )
}

/// The pods that something is wrong with, or all where nothing can be seen: those of a good version beside them serve on.
fn in_doubt(pods: Vec<Pod>) -> Vec<Pod> {
    let (wrong, fine): (Vec<_>, Vec<_>) = pods.into_iter().partition(|pod| {
        let status = pod.status.as_ref();
        let ready = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let ready = ready.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let mut containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
        !ready || containers.any(|container| container.restart_count > 0)
    });
    if wrong.is_empty() { fine } else { wrong }
}

/// The last `tail` lines; all where it is none.
fn last(bytes: &[u8], tail: Option<u32>) -> &[u8] {
    let Some(tail) = tail.and_then(|tail| usize::try_from(tail).ok()) else { return bytes };
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let from = if tail == 0 { bytes.len() } else { ends.clone().nth(tail - 1).unwrap_or(0) };
    bytes.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let bytes = b"1\n2\n3\n";
        for (tail, expected) in [(None, "1\n2\n3\n"), (Some(2), "2\n3\n"), (Some(9), "1\n2\n3\n"), (Some(0), "")] {
            assert_eq!(last(bytes, tail), expected.as_bytes(), "{tail:?}");
        }
        assert_eq!(last(b"1\n2", Some(1)), b"2", "a line that is not whole yet is one");
        assert_eq!(last(b"", Some(1)), b"");
    }

    #[test]
    fn of_pods_that_are_fine_beside_others_nothing_is_read() {
        let pod = |name: &str, ready: &str, restarts: i32| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": name},
                "status": {
                    "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": restarts}],
                },
            }))
            .unwrap()
        };
        let names = |pods: Vec<Pod>| -> Vec<String> {
            in_doubt(pods).into_iter().filter_map(|pod| pod.metadata.name).collect()
        };
        assert_eq!(
            names(vec![pod("good", "True", 0), pod("slow", "False", 0), pod("died", "True", 1)]),
            ["slow", "died"]
        );
        assert_eq!(names(vec![pod("good", "True", 0)]), ["good"], "a run that is cancelled is fine");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_goes_after_an_hour() {
        let lines = LastLines::default();
        let key = |number: usize| ResourceKey { kind: protocol::name::Kind::Release, name: format!("r{number}") };
        let line = [vec![b'x'; 999], vec![b'\n']].concat();
        let cursor = |source: usize| Cursor {
            source: format!("{source}/main"),
            pod: String::new(),
            container: String::new(),
            position: None,
        };
        for number in 0..100 {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(lines.begin(&key(number), "t"));
            assert!(!lines.begin(&key(number), "t"), "it is read already");
            for source in 0..40 {
                for _ in 0..20 {
                    lines.push(&key(number), "t", &cursor(source), &line);
                }
            }
        }
        let bytes: usize = lines.lock().values().flat_map(|entry| &entry.runs).map(|run| run.bytes.len()).sum();
        assert!(bytes <= RESOURCES * RUNS * BYTES, "{bytes}");
        let run = lines.of(&key(99)).remove(0);
        assert_eq!(run.bytes.len(), 8000, "whole lines only");
        assert_eq!(lines.of(&key(0)), [], "the oldest made way");
        lines.push(&key(99), "an earlier time", &cursor(0), b"late\n");
        assert_eq!(lines.of(&key(99)).remove(0), run, "what is late of an earlier failure does not count");
        tokio::time::advance(KEPT).await;
        assert_eq!(lines.of(&key(99)), []);
    }
}
