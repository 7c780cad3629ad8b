//! The simulation as tests: many seeds, the same trace for the same seed, every fault reached, every mistake found.
//!
//! `SIM_SEEDS=10000` says how many seeds, `SIM_SEED=17` runs one and prints its trace, and with `SIM_MISTAKE=FloorIgnored` with that
//! mistake built in.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use simulation::{Fault, Mistake, Outcome, broken_by, run, traced};

/// A run takes and gives back memory all the time, mostly of JSON.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of one test run, unless `SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_500;
/// Seeds within which a mistake must be found.
const SEEDS_PER_MISTAKE: u64 = 4_000;

#[test]
fn every_invariant_holds_and_every_fault_is_reached() {
    if let Some(seed) = number("SIM_SEED") {
        let mistake = std::env::var("SIM_MISTAKE").ok().map(|name| named(&name));
        let outcome = traced(seed, mistake);
        println!("{}", outcome.trace.join("\n"));
        assert_eq!(outcome.violations, [], "seed {seed}");
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let reached: Mutex<BTreeMap<Fault, u64>> = Mutex::default();
    let accepted = AtomicU64::new(0);
    let broken: Mutex<BTreeMap<u64, Outcome>> = Mutex::default();
    on_all_cores(seeds, |seed| {
        let outcome = run(seed);
        if !outcome.violations.is_empty() {
            // The same seed gives the same run: now with its trace.
            let again = traced(seed, None);
            assert_eq!(again.violations, outcome.violations, "seed {seed} breaks something else the second time");
            broken.lock().unwrap().insert(seed, again);
            return;
        }
        let mut reached = reached.lock().unwrap();
        outcome.reached.iter().for_each(|fault| *reached.entry(*fault).or_default() += 1);
        accepted.fetch_add(u64::try_from(outcome.accepted).unwrap(), Ordering::Relaxed);
    });
    let broken = broken.into_inner().unwrap();
    if let Some((first, outcome)) = broken.iter().next() {
        for (seed, outcome) in &broken {
            println!("seed {seed}: {:?}", outcome.violations);
        }
        panic!("{} of {seeds} seeds broke something; the first:\n{}", broken.len(), told(*first, outcome));
    }
    let reached = reached.into_inner().unwrap();
    println!("{seeds} seeds, {} documents accepted; seeds that reached each fault:", accepted.load(Ordering::Relaxed));
    for fault in Fault::ALL {
        println!("  {:<18} {}", format!("{fault:?}"), reached.get(&fault).unwrap_or(&0));
    }
    let never: Vec<_> = Fault::ALL.into_iter().filter(|fault| !reached.contains_key(fault)).collect();
    assert_eq!(never, [], "these faults were never reached");
    assert!(accepted.into_inner() > 2 * seeds, "too few documents were accepted");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..5 {
        let (once, again) = (traced(seed, None), traced(seed, None));
        assert!(once.trace.len() > 50, "seed {seed} has a trace of {} lines", once.trace.len());
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.accepted, run(seed).accepted, "a run without trace is the same run");
    }
    assert_ne!(traced(1, None).trace, traced(2, None).trace);
}

#[test]
fn every_mistake_is_found() {
    let chosen = std::env::var("SIM_MISTAKE").ok();
    let mistakes: Vec<_> = chosen.as_deref().map_or_else(|| Mistake::all().collect(), |name| vec![named(name)]);
    let seeds = chosen.and_then(|_| number("SIM_SEEDS")).unwrap_or(SEEDS_PER_MISTAKE);
    let found: Mutex<BTreeMap<usize, (u64, String)>> = Mutex::default();
    on_all_cores(u64::try_from(mistakes.len()).unwrap(), |at| {
        let at = usize::try_from(at).unwrap();
        let first = (0..seeds).find_map(|seed| {
            let broken = broken_by(seed, mistakes[at])?;
            Some((seed + 1, format!("{:<5} {}", broken.invariant, broken.what)))
        });
        if let Some(first) = first {
            found.lock().unwrap().insert(at, first);
        }
    });
    let found = found.into_inner().unwrap();
    println!("{:<28} {:>5}  found by", "mistake", "seeds");
    for (at, mistake) in mistakes.iter().enumerate() {
        let (seeds, what) =
            found.get(&at).map_or(("-".to_owned(), "nothing"), |(seeds, what)| (seeds.to_string(), what));
        println!("{:<28} {seeds:>5}  {what}", name(*mistake));
    }
    let missed: Vec<_> = (0..mistakes.len()).filter(|at| !found.contains_key(at)).map(|at| mistakes[at]).collect();
    assert_eq!(missed, [], "these mistakes were not found within {seeds} seeds");
}

/// Runs `work` for every number below `end`.
fn on_all_cores(end: u64, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

fn name(mistake: Mistake) -> String {
    match mistake {
        Mistake::Product(mutant) => format!("{mutant:?}"),
        Mistake::Around(bug) => format!("{bug:?} (around)"),
    }
}

fn named(wanted: &str) -> Mistake {
    Mistake::all()
        .find(|mistake| name(*mistake).split(' ').next() == Some(wanted))
        .unwrap_or_else(|| unreachable!("SIM_MISTAKE={wanted} names no mistake"))
}

fn told(seed: u64, outcome: &Outcome) -> String {
    let last: Vec<_> = outcome.trace.iter().skip(outcome.trace.len().saturating_sub(200)).cloned().collect();
    format!(
        "seed {seed}: {:?}\n{}\nseed {seed}: {:?}\nreplay: SIM_SEED={seed} cargo test -p simulation --test sim every_invariant -- --nocapture",
        outcome.violations,
        last.join("\n"),
        outcome.violations,
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
