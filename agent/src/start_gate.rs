//! The start gate: holds a new pod back until the network plugin has closed it.
//!
//! The network plugin applies NetworkPolicies a moment after a pod has begun. The gate runs in a pod before its program does, and
//! ends with success only once an address is refused that policies close. A refusal alone proves nothing, since the pod's network
//! may not be up yet: so each round first connects to what policies leave open, the cluster's DNS over TCP, and then tries the
//! address.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::doctor::first_second::reaches;

/// How long one try may take: what is in the same cluster answers within this, or is taken as closed.
const TRY: Duration = Duration::from_millis(250);

/// Time between two rounds. Not shorter, because the API server logs each connection that ends without a request.
const STEP: Duration = Duration::from_millis(100);

/// Rounds in a row that have to find the pod closed: one may be a packet that was lost.
const ENOUGH: u32 = 2;

/// What one round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The network is up, and the address cannot be reached.
    Closed,
    /// The address can be reached.
    Open,
    /// Nothing can be reached.
    NoProof,
}

impl Round {
    /// `control`: whether the address that policies leave open could be reached; `forbidden`: whether the closed one could.
    const fn of(control: bool, forbidden: bool) -> Self {
        match (control, forbidden) {
            (_, true) => Self::Open,
            (true, false) => Self::Closed,
            (false, false) => Self::NoProof,
        }
    }
}

/// The rounds so far, as far as they matter.
#[derive(Debug, Default)]
struct Rounds {
    closed: u32,
}

impl Rounds {
    /// Counts one more round; returns whether the pod may start.
    const fn take(&mut self, round: Round) -> bool {
        self.closed = match round {
            Round::Closed => self.closed + 1,
            Round::Open | Round::NoProof => 0,
        };
        self.closed >= ENOUGH
    }
}

/// Why the gate stays shut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    /// The address could be reached to the end.
    #[error(
        "{address} can still be reached after {seconds} s, so this pod is not closed: the network plugin does not carry out \
         NetworkPolicies, or they leave this address open (egress and reachableRanges of DataPlanePolicy/default, or a plugin that never \
         closes the pod's own node). Take a plugin that closes pods, name the address in internalRanges, or give another \
         one that is closed as startGate.address; see docs/install.md, \"A pod's first second\""
    )]
    Open {
        /// Of the last try.
        address: SocketAddr,
        /// How long it was tried.
        seconds: u64,
    },
    /// Nothing could be reached to the end.
    #[error(
        "neither {address} nor the nameserver {nameserver} (TCP) can be reached after {seconds} s, so nothing shows whether this pod is \
         closed or has no network: check that the cluster's DNS runs, that its Service has TCP port 53, and that dns of \
         DataPlanePolicy/default says where its pods listen"
    )]
    NoProof {
        /// Of the last try.
        address: SocketAddr,
        /// Of the last try.
        nameserver: SocketAddr,
        /// How long it was tried.
        seconds: u64,
    },
}

/// Waits until `address` cannot be reached while `nameserver` can.
///
/// # Errors
/// That is not so after `deadline`.
pub async fn pass(address: SocketAddr, nameserver: SocketAddr, deadline: Duration) -> Result<(), Shut> {
    let begun = Instant::now();
    let mut rounds = Rounds::default();
    loop {
        // In this order: once the nameserver has answered, the network cannot be why the address does not.
        let control = reaches(nameserver, TRY).await;
        let round = Round::of(control, reaches(address, TRY).await);
        if rounds.take(round) {
            return Ok(());
        }
        let seconds = deadline.as_secs();
        match round {
            Round::Open if begun.elapsed() >= deadline => return Err(Shut::Open { address, seconds }),
            Round::NoProof if begun.elapsed() >= deadline => {
                return Err(Shut::NoProof { address, nameserver, seconds });
            }
            // The next round decides.
            Round::Closed | Round::Open | Round::NoProof => sleep(STEP).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_pod_starts_after_two_rounds_in_a_row_that_prove_it_closed() {
        let starts = |tries: &[(bool, bool)]| {
            let mut rounds = Rounds::default();
            tries.iter().position(|(control, forbidden)| rounds.take(Round::of(*control, *forbidden)))
        };
        let (closed, open, no_proof, only_forbidden) = ((true, false), (true, true), (false, false), (false, true));
        for (tries, at) in [
            (&[closed, closed][..], Some(1)),
            (&[open, open, closed, closed], Some(3)),
            (&[closed, open, closed, no_proof, closed], None),
            (&[closed, no_proof, closed, closed], Some(3)),
            (&[no_proof, no_proof, no_proof], None),
            (&[only_forbidden, closed], None),
        ] {
            assert_eq!(starts(tries), at, "{tries:?}");
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn the_gate_opens_once_the_address_is_refused_while_the_nameserver_answers() {
        let (_dns, nameserver) = listener().await;
        let (forbidden, address) = listener().await;
        let begun = Instant::now();
        let closes = async {
            sleep(Duration::from_millis(400)).await;
            drop(forbidden);
        };
        let (passed, ()) = tokio::join!(pass(address, nameserver, Duration::from_secs(30)), closes);
        assert_eq!(passed, Ok(()));
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_gate_that_stays_shut_says_what_it_found() {
        let (dns, nameserver) = listener().await;
        let (forbidden, address) = listener().await;
        let shut = pass(address, nameserver, Duration::ZERO).await.unwrap_err();
        assert_eq!(shut, Shut::Open { address, seconds: 0 });
        assert!(shut.to_string().contains(&format!("{address} can still be reached")), "{shut}");
        drop((dns, forbidden));
        let shut = pass(address, nameserver, Duration::ZERO).await.unwrap_err();
        assert_eq!(shut, Shut::NoProof { address, nameserver, seconds: 0 });
        assert!(shut.to_string().contains("cluster's DNS"), "{shut}");
    }
}
