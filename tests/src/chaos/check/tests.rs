//! One good history, and for each rule what it must not let pass.

use super::super::history::{Ended, Fact, Held, Job, Resource, Wanted, Written};
use super::*;

fn key() -> Key {
    Key::new("Release", "shop")
}

fn run() -> Key {
    Key::new("TaskRun", "run-1")
}

fn version(resource_version: u64, changes: i64, document: i64) -> Version {
    Version {
        key: key(),
        uid: "u".to_owned(),
        resource_version,
        changes,
        document: Some(document),
        facts: vec![format!("u/{document}/Ready/{changes}")],
    }
}

fn fact(key: Key, generation: i64, what: &str, ordinal: i64) -> Fact {
    Fact { id: format!("u/{generation}/{what}/{ordinal}"), key, generation, what: what.to_owned() }
}

fn written(resource_version: u64, pod: &str) -> Written {
    let (uid, role, pod) = ("u".to_owned(), "link".to_owned(), pod.to_owned());
    Written { key: key(), uid, resource_version, role, pod }
}

fn held(resource_version: u64, pod: &str) -> Held {
    Held { role: "link".to_owned(), resource_version, pod: pod.to_owned() }
}

fn good() -> History {
    let text = str::to_owned;
    let wanted = Wanted { generation: 5, hash: text("h"), present: true, accepted: true, answer: text("accepted") };
    let of_run = Version { key: run(), uid: text("r"), facts: Vec::new(), ..version(15, 1, 4) };
    History {
        versions: [version(10, 1, 3), version(11, 1, 3), version(20, 2, 5), of_run].into(),
        late: BTreeSet::new(),
        written: [written(10, "a"), written(20, "b")].into(),
        held: [held(1, "a"), held(2, "a"), held(15, "b")].into(),
        jobs: [Job { uid: text("j"), name: text("run-1"), run: text("run-1") }].into(),
        ended: [Ended { pod: text("a"), container: text("c"), code: 139, reason: text("Error") }].into(),
        failpoints: 1,
        panics: BTreeSet::new(),
        accepted: [(key(), 3), (key(), 5), (run(), 4)].into(),
        facts: [fact(key(), 3, "Ready", 1), fact(key(), 5, "Ready", 2), fact(run(), 4, "TaskEnded", 1)].into(),
        cluster: [(key(), Resource { document: Some(5), hash: text("h"), digest: text("d") })].into(),
        wanted: [(key(), wanted)].into(),
        states: [(key(), text("d"))].into(),
        runs: [(text("run-1"), Some(text("Succeeded")))].into(),
        objects: [(text("shop"), [text("Deployment/shop")].into())].into(),
        renderings: [(text("shop"), 10)].into(),
        namespaces: BTreeMap::new(),
        strangers: BTreeSet::new(),
    }
}

fn stored() -> History {
    let mut history = good();
    history.versions.retain(|version| version.document != Some(5));
    history
}

/// A change that must break this rule and no other.
fn breaks<R>(rule: Rule, change: impl FnOnce(&mut History) -> R) {
    let mut history = good();
    change(&mut history);
    let found = check(&history);
    assert!(!found.is_empty(), "{rule:?} let it pass");
    assert!(found.iter().all(|violation| violation.rule == rule), "{found:?}");
}

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&good()), []);
}

#[test]
fn the_same_generation_stored_twice_is_found() {
    breaks(Rule::OneChange, |history| {
        history.versions.insert(Version { changes: 3, facts: Vec::new(), ..version(21, 3, 5) });
    });
    breaks(Rule::OneChange, |history| {
        history.versions.insert(Version { uid: "w".to_owned(), facts: Vec::new(), ..version(30, 1, 5) });
    });
}

#[test]
fn a_fallen_generation_is_found() {
    breaks(Rule::NeverFalls, |history| {
        history.versions.insert(Version { facts: Vec::new(), ..version(25, 3, 4) });
    });
}

#[test]
fn a_lost_acknowledged_document_is_found() {
    let found = check(&stored());
    assert!(found.iter().any(|violation| violation.rule == Rule::AcknowledgedIsStored), "{found:?}");
    breaks(Rule::FinalContent, |history| {
        history.cluster.insert(key(), Resource { document: Some(5), hash: "x".to_owned(), digest: "d".to_owned() });
    });
    let mut old = good();
    old.cluster.insert(key(), Resource { document: Some(3), hash: "h".to_owned(), digest: "d".to_owned() });
    assert_eq!(check(&old).iter().filter(|violation| violation.rule == Rule::FinalContent).count(), 2);
}

#[test]
fn what_never_settled_is_found() {
    breaks(Rule::Settled, |history| {
        for wanted in history.wanted.values_mut() {
            wanted.accepted = false;
        }
    });
    breaks(Rule::Settled, |history| history.runs.insert("run-1".to_owned(), Some("Unknown".to_owned())));
    breaks(Rule::Settled, |history| history.runs.insert("run-2".to_owned(), None));
}

#[test]
fn a_second_job_or_none_is_found() {
    breaks(Rule::OneJob, |history| {
        history.jobs.insert(Job { uid: "k".to_owned(), name: "run-1".to_owned(), run: "run-1".to_owned() });
    });
    breaks(Rule::OneJob, |history| history.jobs.clear());
}

#[test]
fn a_fact_that_came_twice_or_never_is_found() {
    breaks(Rule::FactOnce, |history| history.facts.insert(fact(key(), 5, "Ready", 7)));
    breaks(Rule::FactOnce, |history| {
        history.versions.insert(Version { facts: vec!["u/5/Failed/9".to_owned()], ..version(22, 2, 5) });
    });
    breaks(Rule::Outcome, |history| history.facts.retain(|fact| fact.what != "TaskEnded"));
}

#[test]
fn a_state_that_is_not_the_truth_is_found() {
    breaks(Rule::StateIsTruth, |history| history.states.insert(key(), "e".to_owned()));
    breaks(Rule::StateIsTruth, |history| history.states.clear());
    breaks(Rule::StateIsTruth, |history| history.states.insert(Key::new("Release", "gone"), "d".to_owned()));
}

#[test]
fn leftovers_are_found() {
    breaks(Rule::LeftOver, |history| history.objects.insert("gone".to_owned(), ["Service/gone".to_owned()].into()));
    breaks(Rule::LeftOver, |history| history.renderings.insert("shop".to_owned(), 11));
    breaks(Rule::LeftOver, |history| history.namespaces.insert("gone".to_owned(), "dp-gone".to_owned()));
    breaks(Rule::LeftOver, |history| history.wanted.clear());
    breaks(Rule::LeftOver, |history| {
        for wanted in history.wanted.values_mut() {
            wanted.present = false;
        }
    });
}

#[test]
fn a_restart_for_another_reason_is_found() {
    let ended = |code, reason: &str| Ended {
        pod: "a".to_owned(),
        container: "other".to_owned(),
        code,
        reason: reason.to_owned(),
    };
    breaks(Rule::Restart, |history| history.ended.insert(ended(101, "Error")));
    breaks(Rule::Restart, |history| history.ended.insert(ended(137, "OOMKilled")));
    breaks(Rule::Restart, |history| history.ended.insert(ended(139, "Error")));
    breaks(Rule::Restart, |history| history.panics.insert("thread 'main' panicked at x".to_owned()));
}

#[test]
fn a_write_of_an_older_leader_is_found() {
    breaks(Rule::Fenced, |history| history.written.insert(written(21, "a")));
}

#[test]
fn a_write_after_everything_was_settled_is_found() {
    breaks(Rule::Silent, |history| history.late.insert(version(20, 2, 5)));
}
