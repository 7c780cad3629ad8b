//! How long a new pod can reach what its NetworkPolicies close.
//!
//! A policy is carried out by the network plugin, and most do so a moment after a pod has begun: until then everything is open. This is run
//! in a pod that a policy closes, and tries from its first moment on. It touches nothing but the address that it is given.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Time between two tries.
const STEP: Duration = Duration::from_millis(20);

/// How long one try may take: an address in the same cluster answers within this, or does not.
const TRY: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No try went through.
    Closed,
    /// The last try that could connect was this long after the start.
    OpenUntil(Duration),
    /// Even the last try could connect.
    Open,
}

impl Found {
    /// `last_open`: when a try could connect for the last time; `last_try`: when the last try of all was made.
    fn of(last_open: Option<Duration>, last_try: Duration) -> Self {
        match last_open {
            None => Self::Closed,
            Some(open) if open >= last_try => Self::Open,
            Some(open) => Self::OpenUntil(open),
        }
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self, address: SocketAddr) -> String {
        match self {
            Self::Closed => format!("closed: {address} could not be reached from the first try on"),
            Self::OpenUntil(open) => format!(
                "open for {:.2} s: until then a new pod reached {address}, which its NetworkPolicy closes. Your network plugin carries \
                 policies out after a pod has begun. Whoever chooses what a pod runs has that time, unless you switch on the start gate; see docs/install.md, \"A pod's first \
                 second\"",
                open.as_secs_f64()
            ),
            Self::Open => format!(
                "open all the time: a pod reaches {address}, which its NetworkPolicy closes. This cluster has no network plugin that \
                 carries NetworkPolicies out; environments are not kept apart on it"
            ),
        }
    }
}

/// Whether a connection to `address` is accepted within this time.
pub async fn reaches(address: SocketAddr, within: Duration) -> bool {
    matches!(timeout(within, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Tries `address` for so long.
pub async fn measure(address: SocketAddr, time: Duration) -> Found {
    let begun = Instant::now();
    let mut last_open = None;
    let mut last_try = Duration::ZERO;
    while begun.elapsed() < time {
        last_try = begun.elapsed();
        if reaches(address, TRY).await {
            last_open = Some(last_try);
        }
        sleep(STEP).await;
    }
    Found::of(last_open, last_try)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_open_at_the_last_try_is_open() {
        let at = Duration::from_millis;
        for (last_open, last_try, found, word) in [
            (None, at(900), Found::Closed, "closed: "),
            (Some(at(840)), at(900), Found::OpenUntil(at(840)), "open for 0.84 s"),
            (Some(at(900)), at(900), Found::Open, "open all the time"),
        ] {
            assert_eq!(Found::of(last_open, last_try), found);
            let sentence = found.sentence("10.96.0.1:443".parse().unwrap());
            assert!(sentence.contains(word) && sentence.contains("10.96.0.1:443"), "{sentence}");
        }
    }

    #[tokio::test]
    async fn what_listens_is_open_and_what_does_not_is_closed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(measure(address, Duration::from_millis(100)).await, Found::Open);
        drop(listener);
        assert_eq!(measure(address, Duration::from_millis(100)).await, Found::Closed);
    }
}
