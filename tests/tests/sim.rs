//! The simulation as tests: many seeds, the same trace for the same seed, every fault reached, every bug found.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::{Bug, Fault, Outcome, run};

/// Seeds of one test run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 500;
/// Seeds within which a bug must be found.
const SEEDS_PER_BUG: u64 = 300;

#[test]
fn every_invariant_holds_and_every_fault_is_reached() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run(seed, None);
        println!("{}", outcome.trace.join("\n"));
        assert_eq!(outcome.violations, [], "seed {seed}");
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<(BTreeSet<Fault>, usize)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| hold(&next, seeds))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let reached: BTreeSet<Fault> = found.iter().flat_map(|(reached, _)| reached.iter().copied()).collect();
    let accepted: usize = found.iter().map(|(_, accepted)| accepted).sum();
    assert_eq!(reached, BTreeSet::from(Fault::ALL), "a fault was never reached");
    assert!(accepted > 1_000, "only {accepted} documents were accepted");
}

/// Runs seeds until there are none left; panics with the trace of one that breaks something.
fn hold(next: &AtomicU64, seeds: u64) -> (BTreeSet<Fault>, usize) {
    let mut reached = BTreeSet::new();
    let mut accepted = 0;
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            return (reached, accepted);
        }
        let outcome = run(seed, None);
        assert!(outcome.violations.is_empty(), "{}", told(seed, &outcome));
        reached.extend(outcome.reached);
        accepted += outcome.accepted;
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        assert_eq!(run(seed, None).trace, run(seed, None).trace, "seed {seed}");
    }
    assert_ne!(run(1, None).trace, run(2, None).trace);
}

#[test]
fn every_bug_is_found() {
    for bug in Bug::ALL {
        let found = (0..SEEDS_PER_BUG).find(|seed| !run(*seed, Some(bug)).violations.is_empty());
        println!("{bug:?} found by seed {found:?}");
        assert!(found.is_some(), "{bug:?} was not found within {SEEDS_PER_BUG} seeds");
    }
}

fn told(seed: u64, outcome: &Outcome) -> String {
    let last: Vec<_> = outcome.trace.iter().skip(outcome.trace.len().saturating_sub(200)).cloned().collect();
    format!(
        "seed {seed}: {:?}\n{}\nreplay: SIM_SEED={seed} cargo test -p tests --test sim -- --nocapture",
        outcome.violations,
        last.join("\n")
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
