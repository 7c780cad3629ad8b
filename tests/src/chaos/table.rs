//! The table at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::Violation;
use super::faults::After;
use super::history::{History, Key};
use super::plan::Role;

/// One fault as it was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// Row of the table.
    pub name: String,
    /// In full.
    pub what: String,
    /// Since the start of the run.
    pub at: Duration,
    /// How long it took, with what followed.
    pub took: Duration,
    /// Latest write of the cluster before it, as far as the observer had seen.
    pub from: u64,
    /// Latest write at its end.
    pub to: u64,
    /// Times that were taken.
    pub times: Vec<(After, Duration)>,
}

/// Faults with how often they were made and what followed.
pub fn faults(made: &[Made]) {
    let mut rows: BTreeMap<(&str, After), Vec<Duration>> = BTreeMap::new();
    for one in made {
        for (after, took) in &one.times {
            rows.entry((&one.name, *after)).or_default().push(*took);
        }
    }
    println!("\n{:<48} {:>5}  {:<28} {:>8} {:>8} {:>8}", "fault", "times", "until", "least", "median", "most");
    for ((name, after), mut times) in rows {
        times.sort_unstable();
        let at = |index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
        let (least, median, most) = (at(0), at(times.len() / 2), at(times.len().saturating_sub(1)));
        println!("{name:<48} {:>5}  {:<28} {least:>6.1} s {median:>6.1} s {most:>6.1} s", times.len(), after.name());
    }
}

/// Every failpoint and whether it was reached.
pub fn points(planned: &[(Role, String)], reached: &[(Role, String)]) {
    println!("\nfailpoints, reached of {}: {}", planned.len(), reached.len());
    for role in Role::ALL {
        let told: Vec<_> = planned
            .iter()
            .filter(|(of, _)| *of == role)
            .map(|point| if reached.contains(point) { point.1.clone() } else { format!("NEVER REACHED: {}", point.1) })
            .collect();
        println!("  {:<9} {}", role.name(), told.join(" "));
    }
}

/// What was checked.
pub fn counts(history: &History, wishes: usize, repeated: usize, visits: usize, broken: usize) {
    let resources: std::collections::BTreeSet<_> = history.accepted.iter().map(|(key, _)| key).collect();
    let runs = history.runs.values().filter(|result| result.is_some()).count();
    println!("\nwishes taken by the control plane      {wishes} ({repeated} requests repeated)");
    println!("accepted (resource, generation)        {} on {} resources", history.accepted.len(), resources.len());
    println!("environments that came and went        {visits}");
    println!("runs of tasks that ended               {runs}, with {} Jobs", history.jobs.len());
    println!("facts recorded                         {}", history.facts.len());
    println!("versions of stored resources           {}", history.versions.len());
    println!("writes with their writer               {}", history.written.len());
    println!("containers that ended                  {}", history.ended.len());
    println!("times that a watch of the observer was broken  {broken}");
}

/// A violation with what happened to its resource, and which faults there were around.
pub fn violation(violation: &Violation, history: &History, made: &[Made]) {
    let Violation { rule, about, what } = violation;
    let about_text = about.as_ref().map_or_else(String::new, Key::to_string);
    println!("\nVIOLATION {rule:?} {about_text}: {what}");
    let Some(key) = about else { return };
    println!("  wanted  {:?}", history.wanted.get(key));
    println!("  stored  {:?}", history.cluster.get(key));
    let accepted: Vec<_> =
        history.accepted.iter().filter(|(of, _)| of == key).map(|(_, generation)| generation).collect();
    println!("  accepted generations {accepted:?}");
    for fact in history.facts.iter().filter(|fact| fact.key == *key) {
        println!("  fact    {}", fact.id);
    }
    for job in history.jobs.iter().filter(|job| job.run == key.name) {
        println!("  job     {job:?}");
    }
    let mut versions: Vec<_> = history.versions.iter().filter(|version| version.key == *key).collect();
    versions.sort_by_key(|version| version.resource_version);
    let recent = versions.len().saturating_sub(12);
    let mut around = std::collections::BTreeSet::new();
    for version in versions.into_iter().skip(recent) {
        let by = history.written.iter().find(|written| written.resource_version == version.resource_version);
        let by = by.map_or_else(String::new, |written| format!("by {} of {}", written.pod, written.role));
        println!(
            "  version {} document {:?} change {} uid {} facts {:?} {by}",
            version.resource_version, version.document, version.changes, version.uid, version.facts
        );
        let faults =
            made.iter().filter(|one| one.from <= version.resource_version && version.resource_version <= one.to);
        around.extend(faults.map(|one| {
            format!(
                "  fault   at {:.0} s, for {:.0} s with what followed: {}",
                one.at.as_secs_f64(),
                one.took.as_secs_f64(),
                one.what
            )
        }));
    }
    for line in around {
        println!("{line}");
    }
}
