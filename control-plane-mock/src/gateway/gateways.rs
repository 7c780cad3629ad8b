//! Several processes over one store: each holds the lock of its name, and sees when another one has died.
//!
//! The lock is on a file beside the store and belongs to the process, so that the kernel frees it however the process ends. SQLite's
//! shared memory needs one machine anyway, so a lock says all.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::gateways;
use crate::shared::Shared;

/// How often the others are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Checks between two heartbeats of this gateway.
const BEAT: u32 = 10;

/// How long the lock of a process that is just ending is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// A gateway cannot serve this store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is no name.
    #[error("gateway {name:?} is no name: use 1 to 40 of a-z, 0-9 and -")]
    Name {
        /// As given.
        name: String,
    },
    /// Another process has it.
    #[error("another process serves this store as gateway {name}; stop it, or give this one another --gateway")]
    Taken {
        /// The name.
        name: String,
    },
    /// The file cannot be locked.
    #[error("the lock {} cannot be taken: {source}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        source: std::io::Error,
    },
}

/// The right to be one gateway of a store; ends when it is dropped.
#[derive(Debug)]
pub struct Claim {
    _lock: Option<File>,
}

impl Claim {
    /// Takes the name; a store in memory has no other process.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be made.
    pub async fn take(store: Option<&Path>, name: &str) -> Result<Self, Error> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(fits) {
            return Err(Error::Name { name: name.to_owned() });
        }
        let Some(store) = store else { return Ok(Self { _lock: None }) };
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match lock(store, name)? {
                Some(lock) => return Ok(Self { _lock: Some(lock) }),
                None if tokio::time::Instant::now() >= until => return Err(Error::Taken { name: name.to_owned() }),
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// The lock of a name, unless somebody has it.
fn lock(store: &Path, name: &str) -> Result<Option<File>, Error> {
    let mut file = store.as_os_str().to_owned();
    file.push(format!(".{name}.lock"));
    let path = PathBuf::from(file);
    let failed = |source| Error::Lock { path: path.clone(), source };
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Looks after the others until the server stops.
pub async fn watch(shared: Arc<Shared>) {
    let stop = shared.supervisor.stopping().clone();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let own = shared.config.gateway.clone();
        let beats = round.is_multiple_of(BEAT);
        round = round.wrapping_add(1);
        let seen = shared.store.run(move |c| {
            let enrolled = if beats {
                gateways::beat(c, &own)?;
                Some(gateways::enrolled(c)?)
            } else {
                None
            };
            Ok((gateways::others(c, &own)?, enrolled))
        });
        let (others, enrolled) = match seen.await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "the other gateways cannot be looked at");
                continue;
            }
        };
        if let Some(enrolled) = enrolled {
            shared.enrolled.store(enrolled, Ordering::Relaxed);
        }
        let Some(store) = shared.config.store.as_deref() else { continue };
        let mut alive = false;
        for other in others {
            match lock(store, &other.name) {
                Ok(None) => alive = true,
                Ok(Some(lock)) => {
                    tracing::warn!(gateway = other.name, "another gateway is gone; its sessions are ended");
                    let ended = shared.store.run(move |c| gateways::gone(c, &other.name, "its gateway is gone")).await;
                    if let Err(error) = ended {
                        tracing::warn!(%error, "sessions of a gateway that is gone could not be ended; trying again");
                    }
                    drop(lock);
                }
                Err(error) => tracing::warn!(%error, "another gateway cannot be looked at"),
            }
        }
        shared.store.set_shared(alive);
    }
}
