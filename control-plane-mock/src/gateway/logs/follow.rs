//! One log stream for one reader, started again where it was lost.
//!
//! Cursors stay here: after a lost connection the stream goes on behind the last chunk that came. What the log API does not serve any
//! more is told as a gap, never skipped silently. A session that another gateway holds is read through that one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control_plane_model::LogLine;
use protocol::bulk::StreamEnd;
use protocol::message::EndReason;
use tokio::sync::mpsc;

use super::carry::{Piece, StreamRequest, noted, pass};
use super::forward;
use crate::desired::sessions;
use crate::domain::gateways;
use crate::gateway::hub::Handle;
use crate::shared::Shared;

/// How long a reader who follows waits for a data plane that is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long any other waits for one that was here a moment ago: within that an agent has dialled again after its certificate, its
/// process or its gateway changed.
const MOMENT: Duration = Duration::from_secs(10);

/// Pause after a stream that brought nothing, and how many of them in a row one who does not follow sees.
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

/// How many tries in a row one who follows sees refused for what may pass.
const LATER: u32 = 30;

/// Pieces buffered within one stream. While the buffer is full no credit is granted, which slows the sender down.
const PIECES: usize = 256;

/// Cursors that are kept: as many as an agent takes. Containers come and go while somebody follows.
const CURSORS: usize = 256;

/// The last cursor of each source; the ones that were heard of last where there are too many.
#[derive(Debug, Default)]
struct Cursors {
    heard: u64,
    of: BTreeMap<String, (u64, String)>,
}

impl Cursors {
    fn keep(&mut self, source: String, cursor: String) {
        self.heard += 1;
        self.of.insert(source, (self.heard, cursor));
        if self.of.len() > CURSORS
            && let Some(oldest) = self.of.iter().min_by_key(|(_, (heard, _))| *heard).map(|(source, _)| source.clone())
        {
            self.of.remove(&oldest);
        }
    }

    fn newest(&self) -> BTreeMap<String, String> {
        self.of.iter().map(|(source, (_, cursor))| (source.clone(), cursor.clone())).collect()
    }
}

/// Where the session of a data plane is.
enum Held {
    Here(Box<Handle>),
    /// At another gateway, with its address.
    There(String),
}

/// Carries lines to `out` until the stream ends, its reader goes, or the server stops.
pub async fn run(shared: Arc<Shared>, request: StreamRequest, out: mpsc::Sender<LogLine>) {
    let mut cursors = Cursors::default();
    let mut fruitless = 0;
    if request.follow && now_at(&shared, &request).await.is_none() {
        note(&request, &out, "Waiting", "the data plane is not connected; its log comes when it is").await;
    }
    loop {
        let Some(held) = held(&shared, &request, &out).await else {
            note(
                &request,
                &out,
                "End",
                "NotConnected: the data plane is not connected; its logs are there when it is back",
            )
            .await;
            return;
        };
        let (pieces, coming) = mpsc::channel(PIECES);
        let (resume, heard) = (cursors.newest(), cursors.heard);
        let carry = async {
            match held {
                Held::Here(handle) => pass(&handle, &request, &resume, pieces).await,
                Held::There(address) => forward::ask(&shared, &address, &request, resume, pieces).await,
            }
        };
        let ((), end) = tokio::join!(carry, take(coming, &out, &mut cursors));
        if out.is_closed() {
            return;
        }
        fruitless = if cursors.heard > heard { 0 } else { fruitless + 1 };
        let reason = end.as_ref().map(|end| end.reason);
        if shared.supervisor.stopping().is_cancelled() || !goes_on(&request, reason, cursors.heard > 0, fruitless) {
            let end = end.map_or_else(
                || "the stream was lost".to_owned(),
                |end| format!("{}: {}", end.reason.as_str(), end.message),
            );
            note(&request, &out, "End", &end).await;
            return;
        }
        if fruitless <= 1 {
            let text = match reason {
                Some(EndReason::Busy | EndReason::TooMany | EndReason::BulkUnavailable) => {
                    "the data plane cannot serve the log now; it is asked again"
                }
                _ => "the data plane is away; the log goes on where it was when it is back",
            };
            note(&request, &out, "Interrupted", text).await;
        }
        if fruitless > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether a stream that ended for this reason is asked for again; none is a connection that was lost on the way. `began`: some of it
/// came; `fruitless`: ends in a row that brought nothing.
fn goes_on(request: &StreamRequest, reason: Option<EndReason>, began: bool, fruitless: u32) -> bool {
    // Lines of what has ended come whole: there is no going on within them.
    if began && (request.previous || request.stopped) {
        return false;
    }
    match reason {
        None | Some(EndReason::BulkLost | EndReason::AgentStopping) => request.follow || fruitless <= TRIES,
        // Who does not follow is told what the data plane itself cannot do.
        Some(EndReason::ServerCut) => request.follow,
        // After a lost connection all followers ask at once.
        Some(EndReason::Busy | EndReason::TooMany | EndReason::BulkUnavailable) => request.follow && fruitless <= LATER,
        Some(
            EndReason::ContainerEnded
            | EndReason::PodDeleted
            | EndReason::Stopped
            | EndReason::NotFound
            | EndReason::NotAllowed
            | EndReason::BadCursor
            | EndReason::BadStream
            | EndReason::Other,
        ) => false,
    }
}

/// Hands lines on and keeps the cursors, until no more comes or the reader is gone. Returns the end record, if one came.
async fn take(
    mut coming: mpsc::Receiver<Piece>,
    out: &mpsc::Sender<LogLine>,
    cursors: &mut Cursors,
) -> Option<StreamEnd> {
    let mut end = None;
    loop {
        let piece = tokio::select! {
            piece = coming.recv() => piece?,
            () = out.closed() => return end,
        };
        match piece {
            Piece::Line(line) => {
                if out.send(line).await.is_err() {
                    return end;
                }
            }
            Piece::Cursor { source, cursor } => cursors.keep(source, cursor),
            Piece::End(told) => {
                end = Some(told);
                // Nothing comes after an end record, and the other side may fail to close the channel.
                return end;
            }
        }
    }
}

/// The live session, here or at another gateway; nothing where it does not come in time, or nobody waits any more.
async fn held(shared: &Shared, request: &StreamRequest, out: &mpsc::Sender<LogLine>) -> Option<Held> {
    let mut links = shared.hub.watch_links();
    // When a session opens at another gateway, this gateway sees an event in the store.
    let mut events = shared.hub.watch_events();
    let there = async {
        if let Some(held) = now_at(shared, request).await {
            return Some(held);
        }
        let patience = if request.follow {
            PATIENCE
        } else {
            let id = request.data_plane.clone();
            let recently = move |c: &rusqlite::Connection| sessions::was_live_within(c, &id, MOMENT);
            shared.store.run(recently).await.unwrap_or(false).then_some(MOMENT)?
        };
        let wait = async {
            loop {
                // A session that came in between is in one of both.
                if let Some(held) = now_at(shared, request).await {
                    return Some(held);
                }
                tokio::select! {
                    changed = links.changed() => changed.ok()?,
                    changed = events.changed() => changed.ok()?,
                }
            }
        };
        tokio::time::timeout(patience, wait).await.ok().flatten()
    };
    tokio::select! {
        found = there => found,
        () = out.closed() => None,
        () = shared.supervisor.stopping().cancelled() => None,
    }
}

/// Where the session is at the moment.
async fn now_at(shared: &Shared, request: &StreamRequest) -> Option<Held> {
    if let Some(handle) = shared.hub.link(&request.data_plane) {
        return Some(Held::Here(Box::new(handle)));
    }
    let (id, own) = (request.data_plane.clone(), shared.config.gateway.clone());
    let other = shared.store.run(move |c| gateways::holding(c, &id, &own)).await.ok().flatten()?;
    Some(Held::There(other.address))
}

async fn note(request: &StreamRequest, out: &mpsc::Sender<LogLine>, what: &str, text: &str) {
    drop(out.send(noted(request, what, text)).await);
}

#[cfg(test)]
mod tests {
    use protocol::name::{Kind, ResourceKey};

    use super::*;

    #[test]
    fn a_log_goes_on_over_another_connection_and_ends_where_the_data_plane_says_why() {
        let request = |follow| StreamRequest {
            data_plane: "dp-1".to_owned(),
            data_plane_name: "home".to_owned(),
            key: ResourceKey { kind: Kind::Release, name: "web".to_owned() },
            environment: None,
            follow,
            tail: None,
            since_seconds: None,
            previous: false,
            stopped: false,
        };
        let (once, follow) = (request(false), request(true));
        let last = StreamRequest { stopped: true, ..request(false) };
        for lost in [None, Some(EndReason::BulkLost), Some(EndReason::AgentStopping)] {
            assert!(goes_on(&once, lost, true, 0) && goes_on(&once, lost, false, TRIES));
            assert!(!goes_on(&once, lost, true, TRIES + 1) && goes_on(&follow, lost, true, TRIES + 1));
            assert!(goes_on(&last, lost, false, 1) && !goes_on(&last, lost, true, 0));
        }
        assert!(
            goes_on(&follow, Some(EndReason::ServerCut), false, 9)
                && !goes_on(&once, Some(EndReason::ServerCut), false, 1)
        );
        assert!(!goes_on(&follow, Some(EndReason::NotAllowed), false, 0));
        for later in [EndReason::Busy, EndReason::TooMany, EndReason::BulkUnavailable] {
            assert!(goes_on(&follow, Some(later), true, LATER) && !goes_on(&follow, Some(later), true, LATER + 1));
            assert!(!goes_on(&once, Some(later), false, 1));
        }
    }

    #[test]
    fn of_too_many_sources_the_cursors_that_were_heard_of_last_are_kept() {
        let mut cursors = Cursors::default();
        for number in 0..CURSORS {
            cursors.keep(format!("p{number}/c"), "1".to_owned());
        }
        cursors.keep("p0/c".to_owned(), "2".to_owned());
        cursors.keep("new/c".to_owned(), "1".to_owned());
        let kept = cursors.newest();
        assert_eq!(kept.len(), CURSORS);
        assert_eq!(kept.get("p0/c").map(String::as_str), Some("2"));
        assert!(kept.contains_key("new/c") && !kept.contains_key("p1/c"));
    }
}
