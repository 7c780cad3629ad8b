//! The decisions of a gateway about one link, without IO but a connection to the store.
//!
//! What came in and what changed goes in as [`Happened`], with how the session stands; what the session is to do comes out as
//! [`Say`]. Every input is one transaction of its owner, and fails with `Superseded` if this is not the data plane's current
//! session any more. The shell around it runs that in the store's thread; the simulation calls it as it is.

use std::collections::{HashMap, HashSet};

use protocol::inventory::Inventory;
use protocol::message::{Adopted, Hello, Welcome};
use protocol::mutant::{self, Mutant};
use protocol::name::{Kind, ResourceKey};
use protocol::session::{CloseCode, ControlEvent, ControlSession, Offer};
use rusqlite::Connection;

use crate::desired::documents;
use crate::desired::sessions::{self, Opened};
use crate::domain::keys::{self, Presented};
use crate::store::{Error, Result};

mod compare;
mod offers;
#[cfg(test)]
mod tests;
mod write;

/// Whose client certificate it is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// Id of the data plane.
    pub data_plane: &'a str,
    /// Digest of its key.
    pub key: &'a str,
    /// Generation of the key.
    pub generation: i64,
}

/// How the protocol's session stands, and whether offers flow at all.
#[derive(Debug, Clone, Copy)]
pub struct SessionState {
    /// The comparison is over.
    pub open: bool,
    /// A person has to decide.
    pub held: bool,
    /// Nothing is offered now: a scripted fault.
    pub paused: bool,
}

impl SessionState {
    /// That of a session.
    #[must_use]
    pub const fn of(session: &ControlSession) -> Self {
        Self { open: session.is_open(), held: session.is_held(), paused: false }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Happened {
    /// Events of the session. `Hello` is not among them: see [`Core::open`].
    Events(Vec<ControlEvent>),
    /// Something may have changed in the store.
    StoreChanged,
    /// Time to ask again what the customer's policy refused.
    AskAgain,
}

/// What the session is to do.
#[derive(Debug)]
pub enum Say {
    /// Compare the inventory with these wanted resources.
    Compare(Inventory),
    /// The comparison is over.
    FinishComparison {
        /// It found what was never issued here.
        held: bool,
    },
    /// Deliver this.
    Offer(Offer),
    /// A person has adopted the data plane.
    Adopt(Adopted),
    /// A state is recorded.
    AcknowledgeState {
        /// Of which resource.
        key: ResourceKey,
        digest: String,
    },
    /// A fact is recorded.
    AcknowledgeFact {
        /// Of which resource.
        key: ResourceKey,
        id: String,
    },
    /// End the connection.
    Close {
        /// Why, for the agent.
        code: CloseCode,
        /// Why, for people.
        reason: &'static str,
    },
}

impl Say {
    /// Applies this to the session.
    pub fn to(self, session: &mut ControlSession) {
        match self {
            Self::Compare(desired) => session.compare(desired),
            Self::FinishComparison { held } => session.finish_comparison(held),
            Self::Offer(offer) => session.offer(offer),
            Self::Adopt(adopted) => session.adopt(adopted),
            Self::AcknowledgeState { key, digest } => session.acknowledge_state(key, digest),
            Self::AcknowledgeFact { key, id } => session.acknowledge_fact(key, id),
            Self::Close { code, reason } => session.close(code, reason),
        }
    }
}

/// How a connection ends after the store has failed.
#[must_use]
pub const fn closing(error: &Error) -> Say {
    match error {
        Error::Superseded => Say::Close { code: CloseCode::Superseded, reason: "another session has taken over" },
        Error::Problem(_) | Error::Sqlite(_) | Error::Json(_) | Error::TooNew { .. } | Error::Closed => {
            Say::Close { code: CloseCode::Overloaded, reason: "the store does not answer" }
        }
    }
}

/// What became of a hello.
#[derive(Debug)]
pub enum Opening {
    /// The session is the data plane's current one.
    Current {
        /// Its decisions from now on.
        core: Box<Core>,
        /// Highest generation drawn.
        counter: i64,
        /// Why the session is held, if it is.
        held: Option<String>,
    },
    /// Not accepted.
    Refused {
        /// Why, for the agent.
        code: CloseCode,
        /// Why, for people.
        reason: &'static str,
    },
}

/// The last offer for a resource that is not answered. The forget of a generation may be due before its document is answered, so the two
/// are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Document(i64),
    Forget(i64),
}

/// One session's decisions, and what they remember.
#[derive(Debug)]
pub struct Core {
    data_plane: String,
    session: String,
    store_id: String,
    /// Offers that are not answered yet.
    offered: HashMap<ResourceKey, Offered>,
    /// The agent's schema revisions, from its hello.
    schema: HashMap<Kind, u32>,
    /// Highest generation that the comparison knew; later ones were not compared.
    compared_upto: i64,
    /// What was told to be gone before the comparison was over. What is compared may be older, and still list it.
    gone: HashSet<ResourceKey>,
}

impl Core {
    /// Judges a hello, and makes `session` the data plane's session at this gateway.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(
        c: &Connection,
        identity: Identity<'_>,
        hello: &Hello,
        session: &str,
        gateway: &str,
        store_id: &str,
    ) -> Result<Opening> {
        let presented = keys::judge(c, identity.data_plane, identity.key, Some(identity.generation))?;
        let opened = match (keys::allowed(c, identity.data_plane)?, presented) {
            (Ok(()), Presented::Active(_) | Presented::Pending(_) | Presented::Ahead(_)) => {
                sessions::open(c, identity.data_plane, session, hello, gateway)?
            }
            (Ok(()), Presented::Replaced) => {
                keys::lock(c, identity.data_plane, "a session was asked for")?;
                return Ok(Opening::Refused { code: CloseCode::Revoked, reason: LOCKED });
            }
            (Err(_), _) | (Ok(()), Presented::Unknown) => Opened::Revoked,
        };
        let (code, reason) = match opened {
            Opened::Current { counter, held } => {
                keys::activate(c, identity.data_plane, identity.key, presented)?;
                let core = Self {
                    data_plane: identity.data_plane.to_owned(),
                    session: session.to_owned(),
                    store_id: store_id.to_owned(),
                    offered: HashMap::new(),
                    schema: hello.schema.iter().map(|(kind, revision)| (*kind, *revision)).collect(),
                    compared_upto: 0,
                    gone: HashSet::new(),
                };
                return Ok(Opening::Current { core: Box::new(core), counter, held });
            }
            Opened::Superseded => {
                (CloseCode::Superseded, "a session with a higher epoch, or of another lease, is alive")
            }
            Opened::OtherCluster => (
                CloseCode::ForeignCluster,
                "this identity belongs to another cluster; revoke it and enrol again if the cluster was replaced",
            ),
            Opened::Revoked => (CloseCode::Revoked, REVOKED),
        };
        Ok(Opening::Refused { code, reason })
    }

    /// Welcomes an agent whose hello opened this session; tells it too if a person adopted it while it was away.
    pub fn welcome(&self, session: &mut ControlSession, hello: &Hello, welcome: Welcome, held: bool) {
        let counter = welcome.counter;
        if session.welcome(hello, welcome) && !held {
            session.adopt(self.adopted(counter));
        }
    }

    /// Decides about `input`, in the transaction that is open.
    ///
    /// # Errors
    /// `Superseded`, SQLite's: then nothing of it takes effect, and the connection is to be closed ([`closing`]).
    pub fn handle(&mut self, c: &Connection, input: Happened, mut session_state: SessionState) -> Result<Vec<Say>> {
        if !mutant::is(Mutant::UnfencedWrites) {
            sessions::require(c, &self.data_plane, &self.session)?;
        }
        let mut say = Vec::new();
        match input {
            Happened::Events(events) => self.handle_events(c, events, &mut session_state, &mut say)?,
            Happened::StoreChanged => self.look(c, &mut session_state, &mut say)?,
            Happened::AskAgain if session_state.open && !session_state.held => {
                documents::ask_policy_again(c, &self.data_plane)?;
            }
            Happened::AskAgain => {}
        }
        Ok(say)
    }

    fn handle_events(
        &mut self,
        c: &Connection,
        events: Vec<ControlEvent>,
        session_state: &mut SessionState,
        say: &mut Vec<Say>,
    ) -> Result<()> {
        let mut look = false;
        for event in events {
            match event {
                ControlEvent::InventoryReceived { task_runs, cut, .. } => {
                    let (desired, upto) = compare::desired(c, &self.data_plane, &task_runs, cut)?;
                    self.compared_upto = upto;
                    say.push(Say::Compare(desired));
                }
                ControlEvent::Compared { differences } => {
                    let gone = std::mem::take(&mut self.gone);
                    let held = compare::settle(c, &self.data_plane, &differences, self.compared_upto, &gone)?;
                    say.push(Say::FinishComparison { held });
                    (session_state.open, session_state.held) = (true, session_state.held || held);
                    self.look(c, session_state, say)?;
                }
                ControlEvent::Answered { key, generation, hash, verdict } => {
                    self.answered(c, &key, generation, hash.is_none(), &verdict)?;
                }
                ControlEvent::RetryDue { key } => {
                    self.retry(c, &key, say)?;
                    look = true;
                }
                ControlEvent::State(report) => {
                    look |= report.state.is_none();
                    if report.state.is_none()
                        && !session_state.open
                        && documents::find(c, &self.data_plane, &report.key)?.is_some()
                    {
                        self.gone.insert(report.key.clone());
                    }
                    say.push(write::state(c, &self.data_plane, report)?);
                }
                ControlEvent::Fact(report) => say.push(write::fact(c, &self.data_plane, report)?),
                ControlEvent::Ended { cause, unanswered, .. } => {
                    write::ended(c, &self.data_plane, cause, unanswered)?;
                }
                // These change nothing in the store.
                ControlEvent::Hello(_)
                | ControlEvent::Renew(_)
                | ControlEvent::StreamEnded(_)
                | ControlEvent::Unsupported { .. } => {}
            }
        }
        if look {
            self.look(c, session_state, say)?;
        }
        Ok(())
    }

    fn adopted(&self, counter: i64) -> Adopted {
        Adopted { store_id: self.store_id.clone(), counter }
    }
}

const LOCKED: &str = "the identity is locked, since a key of it that has been replaced was used";
const REVOKED: &str = "access was revoked; enrol again with a new token";
