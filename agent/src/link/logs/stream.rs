//! One log stream: finds the pods of a release or a task run, reads each container, takes in those that join.
//!
//! Rights: those of `target`, and `pods/log` in the environment's namespace. There is no right to watch, so pods are listed again while
//! somebody follows, and never otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::bulk::{Gap, StreamEnd};
use protocol::message::{EndReason, StreamStart};
use protocol::name::Kind;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::last::{LastLines, nothing_kept};
use super::source::{Output, ReadRequest, Source, SourceEnd, Views, note_gap};
use super::target::{Look, Lookup, PodSet, bulk_lost, end, not_allowed};
use crate::logs::cursor::Cursor;
use crate::logs::pods::{Instance, instances};

/// Time between two looks at the pods of a stream that is followed.
const LOOK: Duration = Duration::from_secs(2);

/// Looks in a row that may fail before the stream ends.
const TRIES: u32 = 15;

/// Most containers that one stream reads.
const MAX_SOURCES: usize = 64;

/// Runs a stream to its end.
pub(super) async fn run(lookup: Lookup, kept: LastLines, mut start: StreamStart, output: Output) -> StreamEnd {
    if start.stopped {
        match lookup.policy().await {
            Look::Found(()) => {}
            Look::End(end) => return end,
            Look::NotYet(reason) => return end(EndReason::ServerCut, reason),
            Look::Failed(reason) => return end(EndReason::ServerCut, reason),
        }
        if let Some(end) = kept.send(&lookup.key, start.tail, &output).await {
            return end;
        }
        if !lookup.failed_pods_stay().await {
            return nothing_kept();
        }
        (start.follow, start.previous, start.since_seconds) = (false, false, None);
    }
    let mut cursors = BTreeMap::new();
    for text in std::mem::take(&mut start.resume) {
        match text.parse::<Cursor>() {
            Ok(cursor) => _ = cursors.insert(cursor.source.clone(), cursor),
            Err(error) => return end(EndReason::BadCursor, error.to_string()),
        }
    }
    let request = ReadRequest {
        follow: start.follow && !start.previous,
        tail: start.tail,
        since_seconds: start.since_seconds,
        previous: start.previous,
    };
    let resumed = !cursors.is_empty();
    let empty = Views { asked: Instant::now(), containers: Arc::default() };
    let (publish, views) = watch::channel(empty);
    let stream = Streaming { lookup, kept, request, output, views, wanted: Arc::default() };
    stream.run(cursors, resumed, &publish).await
}

struct Streaming {
    lookup: Lookup,
    kept: LastLines,
    request: ReadRequest,
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
            match self.lookup.pods().await {
                Look::Found((pods, target)) => {
                    failures = 0;
                    over = target.over;
                    let found = instances(&pods);
                    if found.is_empty()
                        && over
                        && known.is_empty()
                        && let Some(end) = self.of_a_run().await
                    {
                        return end;
                    }
                    if found.is_empty() && !self.request.follow {
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
                        return bulk_lost();
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
                                return bulk_lost();
                            }
                        }
                    }
                    first = false;
                }
                Look::NotYet(_) if self.request.follow => failures = 0,
                Look::NotYet(message) => return end(EndReason::NotFound, message),
                Look::End(end) if end.reason == EndReason::NotFound && known.is_empty() => {
                    return self.of_a_run().await.unwrap_or(end);
                }
                Look::End(end) => return end,
                Look::Failed(reason) => {
                    failures += 1;
                    if failures >= TRIES || !self.request.follow {
                        return end(EndReason::ServerCut, reason);
                    }
                }
            }
            let next = asked + LOOK;
            loop {
                let joined = tokio::select! {
                    joined = sources.join_next(), if !sources.is_empty() => joined,
                    () = sleep_until(next), if self.request.follow => break,
                    () = self.wanted.notified(), if self.request.follow => break,
                    else => None,
                };
                match joined {
                    Some(Ok((_, SourceEnd::NotAllowed))) => return not_allowed(),
                    Some(Ok((_, SourceEnd::Gone))) => return bulk_lost(),
                    Some(Ok((source, end))) => {
                        if matches!(end, SourceEnd::Failed(_)) {
                            let gap = Gap { source, from: None, to: None, reason: "Unreadable".to_owned() };
                            if note_gap(&self.output, &gap).await.is_err() {
                                return bulk_lost();
                            }
                        }
                        last_end = Some(end);
                    }
                    Some(Err(_)) => return end(EndReason::ServerCut, "reading a log failed inside of the agent"),
                    None => break,
                }
            }
            if sources.is_empty() && (over || !self.request.follow) {
                return finished(last_end);
            }
        }
    }

    /// A run that was cancelled has no pods; what it said last is kept for a while.
    async fn of_a_run(&self) -> Option<StreamEnd> {
        if self.lookup.key.kind != Kind::TaskRun {
            return None;
        }
        self.kept.send(&self.lookup.key, self.request.tail, &self.output).await
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
            let request = if from_the_end {
                self.request
            } else {
                ReadRequest { tail: None, since_seconds: None, ..self.request }
            };
            let (client, namespace, instance) =
                (self.lookup.client.clone(), target.namespace.clone(), instance.clone());
            let look = self.wanted.clone();
            let source = Source { client, namespace, instance, request, output, look };
            let (name, views) = (source.instance.source.clone(), self.views.clone());
            sources.spawn(async move { (name, source.run(cursor, views).await) });
        }
        Ok(())
    }
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
