//! The rules, each a pure function of the [`History`]: what must hold whatever was broken meanwhile.
//!
//! The tests below hand each rule a history that it must not let pass.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{History, Key, Version};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Per accepted (resource, generation) the intake changes the stored object once at most.
    OneChange,
    /// The stored generation never falls.
    NeverFalls,
    /// What was acknowledged is in the API server.
    AcknowledgedIsStored,
    /// The final content is the highest accepted generation.
    FinalContent,
    /// Every wish has its answer at the end, and every run its end.
    Settled,
    /// One Job a run.
    OneJob,
    /// Every fact arrived, and none twice.
    FactOnce,
    /// Every accepted generation has an outcome, or a later one was accepted.
    Outcome,
    /// The control plane's last state is the truth.
    StateIsTruth,
    /// Nothing is left of what was removed.
    LeftOver,
    /// No process ended but by the faults.
    Restart,
    /// Nothing is written by a leader after a newer one wrote.
    Fenced,
    /// Once everything is settled, nothing is written any more.
    Silent,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 13] = [
        Self::OneChange,
        Self::NeverFalls,
        Self::AcknowledgedIsStored,
        Self::FinalContent,
        Self::Settled,
        Self::OneJob,
        Self::FactOnce,
        Self::Outcome,
        Self::StateIsTruth,
        Self::LeftOver,
        Self::Restart,
        Self::Fenced,
        Self::Silent,
    ];

    fn check(self, history: &History) -> Vec<Violation> {
        let found = match self {
            Self::OneChange => one_change(history),
            Self::NeverFalls => never_falls(history),
            Self::AcknowledgedIsStored => acknowledged(history),
            Self::FinalContent => final_content(history),
            Self::Settled => settled(history),
            Self::OneJob => one_job(history),
            Self::FactOnce => fact_once(history),
            Self::Outcome => outcome(history),
            Self::StateIsTruth => state_is_truth(history),
            Self::LeftOver => left_over(history),
            Self::Restart => restart(history),
            Self::Fenced => fenced(history),
            Self::Silent => silent(history),
        };
        found.into_iter().map(|(about, what)| Violation { rule: self, about, what }).collect()
    }
}

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    /// Of which resource, if of one.
    pub about: Option<Key>,
    /// What was seen.
    pub what: String,
}

type Found = Vec<(Option<Key>, String)>;

/// All that does not hold.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    Rule::ALL.into_iter().flat_map(|rule| rule.check(history)).collect()
}

/// Most renderings of one release that stay.
const REVISIONS: usize = 10;

fn one_change(history: &History) -> Found {
    let mut changes: BTreeMap<(&Key, i64), BTreeSet<(&str, i64)>> = BTreeMap::new();
    for version in &history.versions {
        if let Some(generation) = version.document {
            changes.entry((&version.key, generation)).or_default().insert((&version.uid, version.changes));
        }
    }
    let twice = changes.into_iter().filter(|(_, seen)| seen.len() > 1);
    twice
        .map(|((key, generation), seen)| (Some(key.clone()), format!("generation {generation} was stored as {seen:?}")))
        .collect()
}

/// Versions of each object in the order in which they were written.
fn in_order(history: &History) -> BTreeMap<(&Key, &str), Vec<&Version>> {
    let mut objects: BTreeMap<(&Key, &str), Vec<&Version>> = BTreeMap::new();
    for version in &history.versions {
        objects.entry((&version.key, &version.uid)).or_default().push(version);
    }
    for versions in objects.values_mut() {
        versions.sort_by_key(|version| version.resource_version);
    }
    objects
}

fn never_falls(history: &History) -> Found {
    let mut found = Vec::new();
    for ((key, uid), versions) in in_order(history) {
        let mut highest = None;
        for version in versions {
            if version.document < highest {
                let what =
                    format!("{:?} stood after {highest:?} at {} ({uid})", version.document, version.resource_version);
                found.push((Some(key.clone()), what));
            }
            highest = highest.max(version.document);
        }
    }
    found
}

/// Highest generation that was ever seen stored, by resource.
fn highest(history: &History) -> BTreeMap<&Key, i64> {
    let mut highest = BTreeMap::new();
    for version in &history.versions {
        let stored = highest.entry(&version.key).or_insert(0);
        *stored = version.document.unwrap_or(0).max(*stored);
    }
    highest
}

fn acknowledged(history: &History) -> Found {
    let stored = highest(history);
    let lost = history.accepted.iter().filter(|(key, generation)| stored.get(key).is_none_or(|high| high < generation));
    lost.map(|(key, generation)| {
        (Some(key.clone()), format!("generation {generation} was accepted; highest stored: {:?}", stored.get(key)))
    })
    .collect()
}

fn final_content(history: &History) -> Found {
    let mut found = Vec::new();
    for (key, wanted) in history.wanted.iter().filter(|(_, wanted)| wanted.present && wanted.accepted) {
        match history.cluster.get(key) {
            None => {
                found.push((Some(key.clone()), format!("generation {} is accepted and not there", wanted.generation)))
            }
            Some(stored) if stored.document != Some(wanted.generation) || stored.hash != wanted.hash => {
                let what = format!(
                    "wanted {} {}, stored {:?} {}",
                    wanted.generation, wanted.hash, stored.document, stored.hash
                );
                found.push((Some(key.clone()), what));
            }
            Some(_) => {}
        }
    }
    let mut accepted: BTreeMap<&Key, i64> = BTreeMap::new();
    for (key, generation) in &history.accepted {
        let high = accepted.entry(key).or_insert(0);
        *high = (*high).max(*generation);
    }
    for (key, stored) in &history.cluster {
        let Some((document, high)) = stored.document.zip(accepted.get(key)) else { continue };
        if document < *high {
            found.push((Some(key.clone()), format!("{document} is stored, {high} was accepted")));
        }
    }
    found
}

fn settled(history: &History) -> Found {
    let open = history.wanted.iter().filter(|(_, wanted)| !wanted.accepted);
    let mut found: Found = open
        .map(|(key, wanted)| {
            (Some(key.clone()), format!("generation {} ended as {}", wanted.generation, wanted.answer))
        })
        .collect();
    for (run, result) in &history.runs {
        let key = Key::new("TaskRun", run);
        match result.as_deref() {
            None => found.push((Some(key), "the run has no end".to_owned())),
            Some("Unknown") if !history.strangers.contains(&key) => {
                found.push((Some(key), "the run's result is Unknown".to_owned()));
            }
            Some(_) => {}
        }
    }
    found
}

fn one_job(history: &History) -> Found {
    let mut jobs: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for job in &history.jobs {
        jobs.entry(&job.run).or_default().insert((&job.name, &job.uid));
    }
    let several = jobs.iter().filter(|(_, jobs)| jobs.len() > 1);
    let mut found: Found =
        several.map(|(run, jobs)| (Some(Key::new("TaskRun", run)), format!("{} Jobs: {jobs:?}", jobs.len()))).collect();
    let ran = history.runs.iter().filter(|(_, result)| matches!(result.as_deref(), Some("Succeeded" | "Failed")));
    for (run, _) in ran.filter(|(run, _)| !jobs.contains_key(run.as_str())) {
        found.push((Some(Key::new("TaskRun", run)), "it has a result, and no Job was seen".to_owned()));
    }
    found
}

fn fact_once(history: &History) -> Found {
    let mut found = Vec::new();
    let mut told: BTreeMap<(&Key, i64, &str), BTreeSet<&str>> = BTreeMap::new();
    for fact in history.facts.iter().filter(|fact| fact.what != "Modified") {
        told.entry((&fact.key, fact.generation, &fact.what)).or_default().insert(&fact.id);
    }
    for ((key, generation, what), ids) in told.into_iter().filter(|(_, ids)| ids.len() > 1) {
        found.push((Some(key.clone()), format!("{what} of generation {generation} arrived as {ids:?}")));
    }
    let arrived: BTreeSet<&str> = history.facts.iter().map(|fact| fact.id.as_str()).collect();
    let mut missed = BTreeSet::new();
    for version in &history.versions {
        for id in version.facts.iter().filter(|id| !arrived.contains(id.as_str())) {
            if missed.insert(id) {
                found.push((Some(version.key.clone()), format!("fact {id} was in status and never arrived")));
            }
        }
    }
    found
}

fn outcome(history: &History) -> Found {
    let told = |key: &Key, generation: i64| {
        let wanted: &[&str] = match key.kind.as_str() {
            "TaskRun" => &["TaskEnded"],
            _ => &["Ready", "Failed", "RolledBack", "Deleted"],
        };
        let mut facts = history.facts.iter().filter(|fact| fact.key == *key && fact.generation == generation);
        facts.any(|fact| wanted.contains(&fact.what.as_str()))
    };
    let mut last: BTreeMap<&Key, i64> = BTreeMap::new();
    for (key, generation) in history.accepted.iter().filter(|(key, _)| key.kind != "DataPlane") {
        let high = last.entry(key).or_insert(0);
        *high = (*high).max(*generation);
    }
    let open = last.into_iter().filter(|(key, generation)| !told(key, *generation));
    open.map(|(key, generation)| {
        (Some(key.clone()), format!("generation {generation} was accepted and has no outcome"))
    })
    .collect()
}

fn state_is_truth(history: &History) -> Found {
    let mut found = Vec::new();
    for (key, stored) in &history.cluster {
        match history.states.get(key) {
            Some(digest) if *digest == stored.digest => {}
            other => found.push((
                Some(key.clone()),
                format!("the state is {}, the control plane holds {other:?}", stored.digest),
            )),
        }
    }
    let gone = history.states.keys().filter(|key| !history.cluster.contains_key(key));
    found
        .extend(gone.map(|key| (Some(key.clone()), "the control plane holds a state of what is not there".to_owned())));
    found
}

fn left_over(history: &History) -> Found {
    let mut found = Vec::new();
    for key in history.cluster.keys().filter(|key| key.kind != "DataPlane") {
        if !history.wanted.contains_key(key) && !history.strangers.contains(key) {
            found.push((Some(key.clone()), "it is in the cluster and nobody wants it".to_owned()));
        }
    }
    let absent = history.wanted.iter().filter(|(_, wanted)| !wanted.present);
    found.extend(absent.map(|(key, _)| (Some(key.clone()), "it shall be absent and was never forgotten".to_owned())));
    for (release, objects) in &history.objects {
        let key = Key::new("Release", release);
        if !history.cluster.contains_key(&key) {
            found.push((Some(key), format!("it is gone, and left {objects:?}")));
        }
    }
    for (environment, namespace) in &history.namespaces {
        let key = Key::new("Environment", environment);
        if !history.cluster.contains_key(&key) {
            found.push((Some(key), format!("it is gone, and left namespace {namespace}")));
        }
    }
    for (release, count) in history.renderings.iter().filter(|(_, count)| **count > REVISIONS) {
        found.push((
            Some(Key::new("Release", release)),
            format!("{count} renderings are kept, at most {REVISIONS} may be"),
        ));
    }
    found
}

fn restart(history: &History) -> Found {
    let mut found: Found = history.panics.iter().map(|line| (None, format!("a panic: {line}"))).collect();
    // 137: killed; 143 and 0: asked to stop; 139: a failpoint (the kernel's word for an abort of a container's first process).
    let ours = [0, 137, 139, 143];
    for ended in history.ended.iter().filter(|ended| !ours.contains(&ended.code) || ended.reason == "OOMKilled") {
        found.push((None, format!("{} ended with {} ({})", ended.pod, ended.code, ended.reason)));
    }
    let aborted = history.ended.iter().filter(|ended| ended.code == 139).count();
    if aborted > history.failpoints {
        found.push((None, format!("{aborted} processes aborted, and {} were asked to", history.failpoints)));
    }
    found
}

fn fenced(history: &History) -> Found {
    let mut found = Vec::new();
    // A term begins where the holder changes.
    let mut terms: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    let mut held: Vec<_> = history.held.iter().collect();
    held.sort_by_key(|held| held.resource_version);
    for held in held {
        let terms = terms.entry(&held.role).or_default();
        if terms.last().is_none_or(|(_, pod)| *pod != held.pod) {
            terms.push((held.resource_version, &held.pod));
        }
    }
    let mut written: Vec<_> = history.written.iter().collect();
    written.sort_by_key(|written| written.resource_version);
    let mut newest: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for one in written {
        let terms = terms.get(one.role.as_str()).map(Vec::as_slice).unwrap_or_default();
        let term = terms.iter().rposition(|(since, pod)| *since < one.resource_version && *pod == one.pod);
        let Some(term) = term else { continue };
        let before = newest.entry((&one.uid, &one.role)).or_insert((term, &one.pod));
        if before.0 > term {
            let what = format!(
                "{} of {} wrote {} after the newer leader {}",
                one.pod, one.role, one.resource_version, before.1
            );
            found.push((Some(one.key.clone()), what));
        } else {
            *before = (term, &one.pod);
        }
    }
    found
}

/// The DataPlane is excepted: the link writes its own status there, which changes with every certificate.
fn silent(history: &History) -> Found {
    let late = history.late.iter().filter(|version| version.key.kind != "DataPlane");
    late.map(|version| (Some(version.key.clone()), format!("version {} came late", version.resource_version))).collect()
}

#[cfg(test)]
mod tests;
