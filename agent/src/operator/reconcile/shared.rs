//! What all reconcilers share while this process leads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::fights::Fights;
use super::rendering::{self, Rendering};
use crate::kinds::PAUSED_UNTIL;
use crate::kinds::conditions::{Reason, timestamp};
use crate::operator::cluster::Cluster;
use crate::operator::object::{self, LOCAL};
use crate::operator::world::index::{Contents, Index, Mark};
use crate::operator::world::queue::{Key, Queue};
use crate::operator::world::tracked::Place;
use crate::policy::limits::Budget;
use crate::secrets::Sources;
use crate::settings::Settings;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How often Secrets of an environment are looked at: no watch may show them, and without them releases in it do not start.
pub const GLANCE: Duration = Duration::from_secs(25);

pub struct Shared {
    /// The API server.
    pub cluster: Cluster,
    /// What the watches show.
    pub index: Arc<Index>,
    /// What is due.
    pub queue: Arc<Queue>,
    /// Names and namespace of the agent.
    pub settings: Settings,
    /// Id of the data plane.
    pub id: String,
    /// Where secret values are read.
    pub secrets: Sources,
    pass: AtomicU64,
    began: Instant,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    renderings: rendering::Memory,
    fights: Fights,
    refusals: HashMap<Key, Refusal>,
    /// Objects that do not fit their type: which content was marked as such, and until when it is not marked again.
    marked: HashMap<Key, (Mark, Instant)>,
    starts: Budget,
    deletions: Budget,
}

/// What the customer limits over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spending {
    /// The start of a task's run.
    Start,
    /// The removal of a release or an environment.
    Deletion,
}

/// Why something could not be tried, and until when it is not asked again.
struct Refusal {
    about: String,
    until: Instant,
    why: Reason,
}

impl Shared {
    /// Everything a leader starts with.
    #[must_use]
    pub fn new(cluster: Cluster, index: Arc<Index>, queue: Arc<Queue>, settings: Settings, id: String) -> Self {
        Self {
            cluster,
            index,
            queue,
            settings,
            id,
            secrets: Sources::default(),
            pass: AtomicU64::new(0),
            began: Instant::now(),
            memory: Mutex::default(),
        }
    }

    /// Mark of the current full pass: what is not watched is read once in each.
    #[must_use]
    pub fn pass(&self) -> Mark {
        Mark::of(&self.pass.load(Ordering::Relaxed))
    }

    /// Changes every [`GLANCE`].
    #[must_use]
    pub fn glance(&self) -> Mark {
        Mark::of(&(self.pass.load(Ordering::Relaxed), self.began.elapsed().as_secs() / GLANCE.as_secs()))
    }

    /// Begins the next full pass.
    pub fn next_pass(&self) {
        self.pass.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a label of a data plane is ours.
    #[must_use]
    pub fn is_ours(&self, id: Option<&str>) -> bool {
        object::names(id, &self.id) || id == Some(LOCAL)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rendering that was read or made before.
    #[must_use]
    pub fn rendering(&self, namespace: &str, revision: &str) -> Option<Arc<Rendering>> {
        self.memory().renderings.get(namespace, revision)
    }

    /// Remembers a stored rendering.
    pub fn remember_rendering(&self, namespace: &str, revision: &str, rendering: &Rendering) {
        self.memory().renderings.put(namespace, revision, rendering);
    }

    /// Forgets one: what is stored has to be read again.
    pub fn forget_rendering(&self, namespace: &str, revision: &str) {
        self.memory().renderings.forget(namespace, revision);
    }

    /// How often the object was repaired lately.
    #[must_use]
    pub fn repairs(&self, place: &Place) -> usize {
        self.memory().fights.of(place)
    }

    /// Counts a repair of the object.
    pub fn repaired(&self, place: Place) {
        self.memory().fights.repaired(place);
    }

    /// Spends one of the customer's budget for `uid`, once. To be asked before anything is done.
    ///
    /// # Errors
    /// Nothing is left: why, and how long until there is.
    pub fn spend(&self, what: Spending, uid: &str, now: Timestamp) -> Result<(), (Reason, Duration)> {
        let limits =
            self.index.lock().policy.as_ref().and_then(|policy| policy.spec.limits.clone()).unwrap_or_default();
        let mut memory = self.memory();
        let (budget, most, within, sentence, setting) = match what {
            Spending::Start => {
                let most = limits.task_runs_per_minute;
                (&mut memory.starts, most, MINUTE, "runs of tasks to start within a minute", "taskRunsPerMinute")
            }
            Spending::Deletion => {
                let most = limits.deletions_per_hour;
                (
                    &mut memory.deletions,
                    most,
                    HOUR,
                    "releases and environments to be removed within an hour",
                    "deletionsPerHour",
                )
            }
        };
        budget.spend(uid, most, within, now).map_err(|left| {
            // A point in time instead of a duration: the same message again stays equal.
            let until = now.checked_add(left).map_or_else(|_| "later".to_owned(), |at| format!("at {}", timestamp(at)));
            let message = format!(
                "DataPlanePolicy/default allows {} {sentence}, and so many were; it goes on by itself {until}, or at once when the \
                 platform team raises spec.limits.{setting}",
                most.unwrap_or_default(),
            );
            (Reason::new("BudgetSpent", message), left)
        })
    }

    /// The last refusal of the resource, if it was about exactly `about` and it is too early for another try.
    #[must_use]
    pub fn refusal(&self, key: &Key, about: &str) -> Option<(Reason, Duration)> {
        let memory = self.memory();
        let refusal = memory.refusals.get(key).filter(|refusal| refusal.about == about)?;
        let left = refusal.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some((refusal.why.clone(), left))
    }

    /// Remembers a refusal for some time.
    pub fn remember_refusal(&self, key: Key, about: String, why: Reason, wait: Duration) {
        let refusal = Refusal { about, until: Instant::now() + wait, why };
        self.memory().refusals.insert(key, refusal);
    }

    /// Whether the status of an unreadable object says so already: `mark` stands for its uid and generation.
    #[must_use]
    pub fn is_marked(&self, key: &Key, mark: Mark) -> bool {
        self.memory().marked.get(key).is_some_and(|(marked, until)| *marked == mark && *until > Instant::now())
    }

    /// Remembers for an hour that the status says it.
    pub fn remember_marked(&self, key: Key, mark: Mark) {
        self.memory().marked.insert(key, (mark, Instant::now() + HOUR));
    }

    /// The resource was admitted or is gone.
    pub fn forget_refusal(&self, key: &Key) {
        self.memory().refusals.remove(key);
    }
}

/// Who stopped writes and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// For people: where and until when.
    pub message: String,
    /// Time left, where it is known.
    pub left: Option<Duration>,
}

/// Whether `object` carries a pause that is not over.
#[must_use]
pub fn pause_of<K: ResourceExt>(what: &str, object: &K, now: Timestamp) -> Option<Pause> {
    let until = object.annotations().get(PAUSED_UNTIL)?;
    let message = format!("{PAUSED_UNTIL}={until} on {what} {}", object.name_any());
    match until.parse::<Timestamp>() {
        Ok(end) if end <= now => None,
        Ok(end) => Some(Pause { message, left: Some(end.duration_since(now).unsigned_abs()) }),
        // A person wanted a pause; what they wrote is not a time, so it has no end.
        Err(_) => Some(Pause {
            message: format!("{message} (not a time as 2030-01-31T12:00:00Z, so it has no end)"),
            left: None,
        }),
    }
}

/// A pause of the whole installation, or of an environment.
#[must_use]
pub fn pause_above(contents: &Contents, environment: Option<&str>, now: Timestamp) -> Option<Pause> {
    let installation = contents.data_plane.as_ref().and_then(|data_plane| pause_of("DataPlane", data_plane, now));
    let environment =
        environment.and_then(|name| contents.environments.get(name)).and_then(|environment| match environment {
            crate::operator::world::index::Own::Read(environment) => pause_of("Environment", environment.as_ref(), now),
            crate::operator::world::index::Own::Unreadable { .. } => None,
        });
    installation.or(environment)
}
