//! Scripted faults: what a test or a curious person lets go wrong, and where the server asks whether it shall.
//!
//! A fault stays until its count is used up or it is cleared.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "fault", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Fault {
    /// Upgrades of control connections are answered with this status.
    RefuseUpgrade {
        /// 401, 403, 404, 429, 503, …
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Enrolments and renewals are answered with this status.
    RefuseEnrolment {
        /// Status of the answer.
        status: u16,
    },
    /// Enrolments and renewals are carried out, and the connection is cut before the answer.
    LoseEnrolmentAnswer,
    /// Accepted connections are closed before TLS.
    RefuseConnections,
    /// Messages from agents are not read.
    Stall,
    /// Answers, states or facts of agents are dropped unread, as if they were lost.
    DropIncoming {
        /// `answer`, `state`, `fact`, …; any when left out.
        #[serde(default)]
        message: Option<String>,
    },
    /// States and facts are recorded, and not acknowledged.
    WithholdAcks,
    /// Messages to agents are delayed by this time.
    DelayOutgoing {
        /// Milliseconds.
        millis: u64,
    },
    /// The control connection is closed with this code.
    Close {
        /// WebSocket close code.
        code: u16,
    },
    /// The control connection is dropped without a close.
    Kill,
    /// The control connection is pinged once; the record tells how long the pong took. Nothing goes wrong.
    Ping,
    /// One frame is sent of which no message can be made.
    SendFrame {
        /// Binary instead of text.
        binary: bool,
        /// Its length.
        bytes: usize,
    },
    /// A message is sent again and again, and nothing is read meanwhile.
    Flood {
        /// The message, JSON.
        message: String,
        /// How often.
        times: u32,
    },
    /// No documents are sent.
    Pause,
    /// The agent is told this address for its bulk connections: a control plane that wants to know what listens there.
    LieAboutBulk {
        /// `wss://host:port`.
        address: String,
    },
    /// An enrolment is answered with this id: a control plane that wants what belongs to another data plane.
    LieAboutId {
        /// Id.
        id: String,
    },
    /// The agent is asked to dial again.
    Drain {
        /// After this time, in milliseconds.
        millis: u64,
    },
}

/// A fault with whom it meets and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scripted {
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// Id of the only data plane that it meets; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane: Option<String>,
    /// How often it still happens; until cleared when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// The script.
#[derive(Debug)]
pub struct Faults {
    script: Mutex<Vec<Scripted>>,
    changed: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { script: Mutex::new(Vec::new()), changed: watch::Sender::new(0) }
    }
}

impl Faults {
    /// Adds a fault.
    pub fn add(&self, fault: Scripted) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changed.send_modify(|count| *count += 1);
    }

    /// What is scripted now.
    #[must_use]
    pub fn list(&self) -> Vec<Scripted> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notified whenever the script changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes one occurrence of the first fault that `pick` wants.
    pub fn take<T>(&self, data_plane: Option<&str>, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let meets = |fault: &Scripted| fault.data_plane.is_none() || fault.data_plane.as_deref() == data_plane;
        let (index, value) = script
            .iter()
            .enumerate()
            .filter(|(_, fault)| meets(fault))
            .find_map(|(index, fault)| pick(&fault.fault).map(|value| (index, value)))?;
        if let Some(times) = script.get_mut(index).and_then(|fault| fault.times.as_mut()) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                script.remove(index);
            }
        }
        Some(value)
    }

    /// Whether a fault holds, without using it up.
    #[must_use]
    pub fn holds(&self, data_plane: &str, pick: impl Fn(&Fault) -> bool) -> bool {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.iter().any(|fault| {
            (fault.data_plane.is_none() || fault.data_plane.as_deref() == Some(data_plane)) && pick(&fault.fault)
        })
    }
}
