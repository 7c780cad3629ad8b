//! One log stream for one reader, started again where it was lost.
//!
//! Cursors stay here: after a lost connection the stream goes on behind the last chunk that came. What the log API does not
//! serve any more is told as a gap, never skipped silently. A session that another gateway holds is read through that one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::bulk::StreamEnd;
use tokio::sync::mpsc;

use super::carry::{LogLine, Piece, Wish, noted, pass};
use super::forward;
use crate::desired::sessions;
use crate::domain::gateways;
use crate::gateway::hub::Handle;
use crate::shared::Shared;

/// How long a reader who follows waits for a data plane that is away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long to look for a session that the store has as live: it may be moving to another gateway.
const ONE_LOOK: Duration = Duration::from_secs(2);

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
pub async fn run(shared: Arc<Shared>, wish: Wish, out: mpsc::Sender<LogLine>) {
    let mut cursors = Cursors::default();
    let mut first = true;
    loop {
        let Some(held) = held(&shared, &wish, first).await else {
            note(
                &wish,
                &out,
                "End",
                "NotConnected: the data plane is not connected; its logs are there when it is back",
            )
            .await;
            return;
        };
        let (pieces, coming) = mpsc::channel(PIECES);
        let resume = cursors.newest();
        let carry = async {
            match held {
                Held::Here(handle) => pass(&handle, &wish, &resume, pieces).await,
                Held::There(address) => forward::ask(&shared, &address, &wish, resume, pieces).await,
            }
        };
        let ((), end) = tokio::join!(carry, take(coming, &out, &mut cursors));
        if out.is_closed() {
            return;
        }
        let lost = end.as_ref().is_none_or(|end| end.reason.is_interruption());
        if !lost || !wish.follow || shared.supervisor.stopping().is_cancelled() {
            let end = end.map_or_else(
                || "the stream was lost".to_owned(),
                |end| format!("{}: {}", end.reason.as_str(), end.message),
            );
            note(&wish, &out, "End", &end).await;
            return;
        }
        note(&wish, &out, "Interrupted", "the data plane is away; the log goes on where it was when it is back").await;
        first = false;
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

/// The live session, here or at another gateway; a reader who follows waits for it.
async fn held(shared: &Shared, wish: &Wish, first: bool) -> Option<Held> {
    let mut links = shared.hub.watch_links();
    // When a session opens at another gateway, this gateway sees an event in the store.
    let mut events = shared.hub.watch_events();
    let wait = async {
        loop {
            if let Some(handle) = shared.hub.link(&wish.data_plane) {
                return Some(Held::Here(Box::new(handle)));
            }
            let (id, own) = (wish.data_plane.clone(), shared.config.gateway.clone());
            if let Ok(Some(other)) = shared.store.run(move |c| gateways::holding(c, &id, &own)).await {
                return Some(Held::There(other.address));
            }
            tokio::select! {
                changed = links.changed() => changed.ok()?,
                changed = events.changed() => changed.ok()?,
            }
        }
    };
    // A first attempt only waits for the store; a reader who follows and was connected waits longer.
    let patience = if first || !wish.follow { ONE_LOOK } else { PATIENCE };
    let there = async {
        if first || !wish.follow {
            let id = wish.data_plane.clone();
            let live = move |c: &rusqlite::Connection| sessions::is_live(c, &id);
            if !shared.store.run(live).await.unwrap_or(false) {
                return None;
            }
        }
        tokio::time::timeout(patience, wait).await.ok().flatten()
    };
    tokio::select! {
        found = there => found,
        () = shared.supervisor.stopping().cancelled() => None,
    }
}

async fn note(wish: &Wish, out: &mpsc::Sender<LogLine>, what: &str, text: &str) {
    drop(out.send(noted(wish, what, text)).await);
}

#[cfg(test)]
mod tests {
    use super::*;

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
