//! Status: conditions that change on transitions only, and facts that are appended once (`modified` merges those of edits).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use protocol::report::{Condition, Fact, FactKind};

use super::PENDING_FACTS;

/// Most unacknowledged facts. The link defers documents for the resource from [`PENDING_FACTS`] on; 8 more leave room for the facts of
/// the generation that was accepted last.
pub const MAX_FACTS: usize = PENDING_FACTS + 8;

/// Condition that says that pods are about to be stopped, and that their last lines are read first.
pub const STOPPING: &str = "Stopping";

/// How long the last lines of pods are waited for before they are stopped.
const LAST_LINES: SignedDuration = SignedDuration::from_secs(2);

/// Reason and message of a condition, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// One word in PascalCase.
    pub reason: String,
    /// What, where, why, what to do. Never a secret value.
    pub message: String,
}

impl Reason {
    /// A reason and its sentence.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// Conditions being put together; types that are not set are absent afterwards.
#[derive(Debug)]
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    next: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts from what stands in status; conditions that a later [`Conditions::set`] does not name are dropped.
    #[must_use]
    pub const fn new(previous: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self { previous, generation, now, next: Vec::new() }
    }

    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether status says just this of the generation already.
    #[must_use]
    pub fn is_set(&self, condition_type: &str, why: &Reason) -> bool {
        self.previous.iter().any(|before| {
            before.condition_type == condition_type
                && before.status == "True"
                && before.observed_generation == Some(self.generation)
                && before.message == bounded(&why.message)
        })
    }

    /// Says that a person stopped writes to workloads, where one did: `until` says where and until when.
    pub fn paused(&mut self, until: Option<&str>) {
        if let Some(until) = until {
            let why = Reason::new("AskedFor", format!("a person stopped writes to workloads: {until}"));
            self.set("Paused", true, &why);
        }
    }

    /// Sets one condition. The time changes only when the status does.
    pub fn set(&mut self, condition_type: &str, status: bool, why: &Reason) {
        let status = if status { "True" } else { "False" };
        let before = self.previous.iter().find(|condition| condition.condition_type == condition_type);
        let since = before
            .filter(|condition| condition.status == status)
            .map_or_else(|| timestamp(self.now), |condition| condition.last_transition_time.clone());
        self.next.push(Condition {
            condition_type: condition_type.to_owned(),
            status: status.to_owned(),
            reason: why.reason.clone(),
            message: bounded(&why.message),
            observed_generation: Some(self.generation),
            last_transition_time: since,
        });
    }

    /// All of them, sorted by type.
    #[must_use]
    pub fn finish(mut self) -> Vec<Condition> {
        self.next.sort_by(|a, b| a.condition_type.cmp(&b.condition_type));
        self.next
    }
}

/// Whether the condition stands and is true.
#[must_use]
pub fn is_true(conditions: &[Condition], condition_type: &str) -> bool {
    conditions.iter().any(|condition| condition.condition_type == condition_type && condition.status == "True")
}

/// How long the last lines of pods are still waited for before they are stopped, by what status says. None: long enough.
#[must_use]
pub fn last_lines_wait(conditions: &[Condition], now: Timestamp) -> Option<Duration> {
    let stopping = |condition: &&Condition| condition.condition_type == STOPPING && condition.status == "True";
    let since = conditions.iter().find(stopping).and_then(|stopping| parse_time(&stopping.last_transition_time));
    let passed = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    let left = LAST_LINES - passed;
    // Status has whole seconds, and another process that leads meanwhile may have another clock.
    left.is_positive().then(|| left.min(LAST_LINES).unsigned_abs() + Duration::from_millis(100))
}

/// What one fact says.
#[derive(Debug, Clone)]
pub struct NewFact {
    /// What happened.
    pub kind: FactKind,
    /// Reason and sentence.
    pub what: Reason,
    /// Exit code of an ended task.
    pub exit_code: Option<i32>,
}

/// Appends a fact with the next id. At [`MAX_FACTS`] nothing is appended: the number in the id tells that some are missing.
pub fn append(
    facts: &mut Vec<Fact>,
    last: &mut Option<i64>,
    uid: &str,
    generation: i64,
    fact: NewFact,
    now: Timestamp,
) {
    let ordinal = last.unwrap_or(0) + 1;
    *last = Some(ordinal);
    if facts.len() >= MAX_FACTS {
        return;
    }
    let NewFact { kind, what, exit_code } = fact;
    facts.push(Fact {
        id: format!("{uid}/{generation}/{}/{ordinal}", kind.as_str()),
        kind,
        generation,
        at: timestamp(now),
        reason: what.reason,
        message: bounded(&what.message),
        exit_code,
        count: None,
    });
}

/// RFC 3339, UTC, seconds.
#[must_use]
pub fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads what [`timestamp`] wrote; none if somebody else did.
#[must_use]
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Longest message in status.
const MAX_MESSAGE: usize = 1024;

fn bounded(message: &str) -> String {
    if message.chars().count() <= MAX_MESSAGE {
        return message.to_owned();
    }
    message.chars().take(MAX_MESSAGE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let set = |previous: &[Condition], status, reason, now| {
            let mut conditions = Conditions::new(previous, 3, now);
            conditions.set("Ready", status, &Reason::new(reason, ""));
            conditions.finish()
        };
        let first = set(&[], false, "A", at("2026-01-01T00:00:00Z"));
        let second = set(&first, false, "B", at("2026-01-01T00:00:05Z"));
        assert_eq!(second[0].last_transition_time, "2026-01-01T00:00:00Z");
        assert_eq!(second[0].reason, "B");
        let third = set(&second, true, "C", at("2026-01-01T00:00:09Z"));
        assert_eq!(third[0].last_transition_time, "2026-01-01T00:00:09Z");
    }

    #[test]
    fn fact_ids_are_never_reused() {
        let (mut facts, mut last) = (Vec::new(), None);
        let fact = |kind| NewFact { kind, what: Reason::new("R", "m"), exit_code: None };
        append(&mut facts, &mut last, "u", 4, fact(FactKind::Ready), Timestamp::UNIX_EPOCH);
        facts.clear();
        append(&mut facts, &mut last, "u", 4, fact(FactKind::Ready), Timestamp::UNIX_EPOCH);
        assert_eq!(facts[0].id, "u/4/Ready/2");
        for _ in 0..50 {
            append(&mut facts, &mut last, "u", 4, fact(FactKind::Ready), Timestamp::UNIX_EPOCH);
        }
        assert_eq!((facts.len(), last), (MAX_FACTS, Some(52)));
    }
}
