use proptest::prelude::*;

use super::*;

fn lease(holder: Option<&str>, transitions: i64, renewed: &str) -> Seen {
    Seen {
        uid: "u1".into(),
        holder: holder.map(str::to_owned),
        transitions,
        renewed: Some(renewed.into()),
        duration: Some(LEASE_DURATION),
    }
}

fn s(seconds: u64) -> Tick {
    Duration::from_secs(seconds)
}

fn epoch(transitions: i64) -> Epoch {
    Epoch { lease: "u1".into(), transitions }
}

const TAKE: fn(i64) -> Decision = |transitions| Decision::Write { transitions, acquired: true };
const KEEP: fn(i64) -> Decision = |transitions| Decision::Write { transitions, acquired: false };

#[test]
fn a_lease_is_taken_when_free_or_seen_unchanged_for_its_duration() {
    let wait = |seconds| Decision::Wait { expires: s(seconds) };
    let empty = Seen { uid: "u1".into(), holder: None, transitions: 0, renewed: None, duration: None };
    for (name, reads, last) in [
        ("made by the chart", vec![(0, empty)], TAKE(1)),
        ("released", vec![(0, lease(None, 4, "r1"))], TAKE(5)),
        ("released by client-go", vec![(0, lease(Some(""), 4, "r1"))], TAKE(5)),
        ("held, first sight", vec![(100, lease(Some("b"), 4, "r1"))], wait(112)),
        (
            "held, unchanged for less",
            vec![(100, lease(Some("b"), 4, "r1")), (111, lease(Some("b"), 4, "r1"))],
            wait(112),
        ),
        ("held, expired", vec![(100, lease(Some("b"), 4, "r1")), (112, lease(Some("b"), 4, "r1"))], TAKE(5)),
        (
            "held, renewed meanwhile",
            vec![(100, lease(Some("b"), 4, "r1")), (112, lease(Some("b"), 4, "r2"))],
            wait(124),
        ),
        ("taken by a third", vec![(100, lease(Some("b"), 4, "r1")), (112, lease(Some("c"), 5, "r1"))], wait(124)),
        ("mine by a write whose answer was lost", vec![(0, lease(Some("a"), 7, "r1"))], KEEP(7)),
    ] {
        let mut candidate = Candidate::new("a".into());
        let mut decision = None;
        for (at, seen) in reads {
            decision = Some(candidate.observe(seen, s(at)));
        }
        assert_eq!(decision, Some(last), "{name}");
        assert!(matches!(candidate.state(s(1000)), State::Standby { .. }), "{name}: nobody leads by reading");
    }
}

#[test]
fn an_absurd_duration_locks_nobody_out() {
    let mut candidate = Candidate::new("a".into());
    let seen = Seen { duration: Some(Duration::from_secs(u64::from(u32::MAX))), ..lease(Some("b"), 1, "r") };
    assert_eq!(candidate.observe(seen, s(5)), Decision::Wait { expires: s(65) });
}

#[test]
fn a_leader_is_unconfirmed_after_the_deadline_and_leads_again_under_the_same_epoch() {
    let mut candidate = Candidate::new("a".into());
    assert_eq!(candidate.observe(lease(None, 0, "r0"), s(0)), TAKE(1));
    candidate.written(lease(Some("a"), 1, "r1"), s(0), s(0));
    assert_eq!(candidate.state(s(7)), State::Leading(epoch(1)));
    assert_eq!(candidate.state(s(8)), State::Unconfirmed(epoch(1)));
    assert_eq!(candidate.observe(lease(Some("a"), 1, "r1"), s(60)), KEEP(1));
    assert_eq!(candidate.state(s(60)), State::Unconfirmed(epoch(1)), "a read confirms nothing");
    candidate.written(lease(Some("a"), 1, "r2"), s(60), s(60));
    assert_eq!(candidate.state(s(61)), State::Leading(epoch(1)));
}

#[test]
fn a_leader_that_sees_another_holder_or_another_lease_stands_by_at_once() {
    let other = Seen { uid: "u2".into(), ..lease(Some("a"), 1, "r1") };
    for (name, seen) in [
        ("another holder", lease(Some("b"), 2, "r9")),
        ("a freed lease", lease(None, 1, "r9")),
        ("another lease of the same name", other),
        ("a lease from before", lease(Some("a"), 0, "r0")),
    ] {
        let mut candidate = leader();
        candidate.observe(seen, s(1));
        assert!(matches!(candidate.state(s(1)), State::Standby { .. }), "{name}");
    }
}

fn leader() -> Candidate {
    let mut candidate = Candidate::new("a".into());
    candidate.observe(lease(None, 0, "r0"), s(0));
    candidate.written(lease(Some("a"), 1, "r1"), s(0), s(0));
    assert_eq!(candidate.state(s(0)), State::Leading(epoch(1)));
    candidate
}

#[test]
fn nobody_leads_under_a_lease_that_was_made_again_until_it_has_lasted() {
    let again = |holder| Seen { uid: "u2".into(), ..lease(holder, 1, "r9") };
    let fresh = || Candidate::new("a".into());
    // What the candidate knew, and what it saw before it wrote.
    for (name, mut candidate, sights) in [
        ("made by its leader", leader(), vec![None]),
        ("made by a process that knows no other", fresh(), vec![None]),
        ("made by a write whose answer was lost", fresh(), vec![None, Some(again(Some("a")))]),
        ("made by a write that arrived late", leader(), vec![Some(again(Some("a")))]),
        ("made by somebody else, and free", leader(), vec![None, Some(again(None))]),
    ] {
        for sight in sights {
            match sight {
                Some(seen) => candidate.observe(seen, s(100)),
                None => candidate.missing(),
            };
        }
        for at in [100, 105, 110] {
            candidate.written(again(Some("a")), s(at), s(at));
            assert!(matches!(candidate.state(s(at)), State::Standby { .. }), "{name}, {at} s");
        }
        assert_eq!(candidate.changes(s(110)), Some(s(112)), "{name}");
        assert_eq!(candidate.state(s(112)), State::Leading(Epoch { lease: "u2".into(), transitions: 1 }), "{name}");
    }
}

#[test]
fn a_stop_leaves_what_nobody_has_to_wait_for_longer_than_for_the_lease_itself() {
    let mut candidate = leader();
    assert_eq!(candidate.farewell(s(7)), Farewell::Free);
    assert_eq!(candidate.farewell(s(30)), Farewell::Free, "also when it is not confirmed");
    candidate.missing();
    assert_eq!(candidate.farewell(s(7)), Farewell::Nothing);
    candidate.written(Seen { uid: "u2".into(), ..lease(Some("a"), 1, "r9") }, s(7), s(7));
    assert_eq!(candidate.farewell(s(10)), Farewell::HeldFor(s(9)));
    assert_eq!(candidate.farewell(s(19)), Farewell::Free);
    candidate.observe(Seen { uid: "u2".into(), ..lease(Some("b"), 2, "r10") }, s(20));
    assert_eq!(candidate.farewell(s(20)), Farewell::Nothing);
}

/// A Lease object with compare-and-swap, which people delete, and processes that reach it slowly, lose answers, give up calls that
/// arrive all the same, stall and crash.
struct World {
    /// None: somebody deleted it.
    lease: Option<Seen>,
    version: u64,
    /// Leases that there were.
    leases: u64,
    processes: Vec<Process>,
    /// Writes that were given up and still arrive.
    late: Vec<Write>,
    /// Which Lease, and its transitions, was written for a new holder, in order.
    lineage: Vec<(u64, i64)>,
}

struct Process {
    candidate: Candidate,
    attempt: Option<Attempt>,
    born: u32,
}

/// One read and write under way.
struct Attempt {
    started: Tick,
    read: Option<Read>,
    stored: Option<Seen>,
}

struct Read {
    /// None: there was no Lease.
    version: Option<u64>,
    decision: Decision,
}

/// What the API server is asked for: the precondition, and what to store.
struct Write {
    version: Option<u64>,
    holder: Option<String>,
    duration: Duration,
    transitions: i64,
    acquired: bool,
}

/// What befalls a step.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Nothing,
    Crash,
    AnswerLost,
    GivenUp,
    /// Somebody deletes the Lease.
    Deleted,
    /// What was given up arrives.
    Arrives,
    /// The process stops in order; a new one takes its place.
    Stopped,
    /// The same, and its last write arrives later.
    StoppedLate,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        32 => Just(Fate::Nothing),
        2 => Just(Fate::Crash),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::GivenUp),
        1 => Just(Fate::Deleted),
        1 => Just(Fate::Arrives),
        1 => Just(Fate::Stopped),
        1 => Just(Fate::StoppedLate),
    ]
}

impl World {
    fn new(size: usize) -> Self {
        let processes = (0..size).map(|n| Process::new(n, 0)).collect();
        let lease = Seen { uid: "u1".into(), holder: None, transitions: 0, renewed: None, duration: None };
        Self { lease: Some(lease), version: 0, leases: 1, processes, late: Vec::new(), lineage: vec![(1, 0)] }
    }

    fn leaders(&self, now: Tick) -> Vec<i64> {
        let epochs = self.processes.iter().filter_map(|process| match process.candidate.state(now) {
            State::Leading(epoch) => Some(epoch.transitions),
            State::Standby { .. } | State::Unconfirmed(_) => None,
        });
        epochs.collect()
    }

    fn befall(&mut self, which: usize, now: Tick, fate: Fate) {
        match fate {
            Fate::Crash => {
                let born = self.processes[which].born + 1;
                self.processes[which] = Process::new(which, born);
            }
            Fate::Deleted => {
                self.version += 1;
                self.lease = None;
            }
            Fate::Arrives => {
                if let Some(write) = self.late.pop() {
                    self.store(write);
                }
            }
            Fate::Stopped | Fate::StoppedLate => self.stop(which, now, matches!(fate, Fate::StoppedLate)),
            Fate::Nothing | Fate::AnswerLost | Fate::GivenUp => self.step(which, now, fate),
        }
    }

    fn stop(&mut self, which: usize, now: Tick, late: bool) {
        let Process { candidate, born, .. } = &self.processes[which];
        let (farewell, identity, born) = (candidate.farewell(now), candidate.identity.clone(), born + 1);
        self.processes[which] = Process::new(which, born);
        let Some(lease) = self.lease.as_ref().filter(|lease| lease.holder.as_ref() == Some(&identity)) else { return };
        let (version, transitions, acquired) = (Some(self.version), lease.transitions, false);
        let write = match farewell {
            Farewell::Nothing => return,
            Farewell::Free => Write { version, holder: None, duration: LEASE_DURATION, transitions, acquired },
            Farewell::HeldFor(duration) => Write { version, holder: Some(identity), duration, transitions, acquired },
        };
        if late {
            self.late.push(write);
        } else {
            self.store(write);
        }
    }

    /// One process goes one step: read, then write, then learn the answer.
    fn step(&mut self, which: usize, now: Tick, fate: Fate) {
        let process = &mut self.processes[which];
        let attempt = process.attempt.get_or_insert(Attempt { started: now, read: None, stored: None });
        if let Some(stored) = attempt.stored.take() {
            let started = attempt.started;
            process.attempt = None;
            if !matches!(fate, Fate::AnswerLost) {
                process.candidate.written(stored, started, now);
            }
        } else if let Some(Read { version, decision }) = attempt.read.take() {
            let Decision::Write { transitions, acquired } = decision else {
                process.attempt = None;
                return;
            };
            let holder = Some(process.candidate.identity.clone());
            let write = Write { version, holder, duration: LEASE_DURATION, transitions, acquired };
            let stored = if matches!(fate, Fate::GivenUp) {
                self.late.push(write);
                None
            } else {
                self.store(write)
            };
            let process = &mut self.processes[which];
            match (stored, &mut process.attempt) {
                (Some(stored), Some(attempt)) => attempt.stored = Some(stored),
                _ => process.attempt = None,
            }
        } else {
            let (version, decision) = match &self.lease {
                Some(lease) => (Some(self.version), process.candidate.observe(lease.clone(), now)),
                None => (None, process.candidate.missing()),
            };
            attempt.read = Some(Read { version, decision });
        }
    }

    fn store(&mut self, write: Write) -> Option<Seen> {
        let Write { version, holder, duration, transitions, acquired } = write;
        if version != self.lease.as_ref().map(|_| self.version) {
            return None;
        }
        self.version += 1;
        self.leases += u64::from(self.lease.is_none());
        let stored = Seen {
            holder,
            transitions,
            renewed: Some(self.version.to_string()),
            duration: Some(duration),
            uid: format!("u{}", self.leases),
        };
        self.lease = Some(stored.clone());
        if acquired {
            self.lineage.push((self.leases, transitions));
        }
        Some(stored)
    }
}

impl Process {
    fn new(number: usize, born: u32) -> Self {
        Self { candidate: Candidate::new(format!("p{number}.{born}")), attempt: None, born }
    }
}

/// Milliseconds between two steps: calls mostly take little, and now and then everybody waits about as long as a Lease lasts.
fn pauses() -> impl Strategy<Value = u64> {
    prop_oneof![10 => 0_u64..100, 3 => 0_u64..3000, 1 => 6000_u64..13_000]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_is_never_more_than_one_leader_and_epochs_only_grow(
        size in 1_usize..4,
        moves in prop::collection::vec((0_usize..4, pauses(), fates()), 1..300),
    ) {
        let mut world = World::new(size);
        let mut now = Tick::ZERO;
        for (who, pause, fate) in moves {
            now += Duration::from_millis(pause);
            world.befall(who % size, now, fate);
            let leaders = world.leaders(now);
            prop_assert!(leaders.len() <= 1, "{leaders:?} at {now:?}");
            prop_assert!(world.lineage.is_sorted_by(|a, b| a < b), "{:?}", world.lineage);
        }
    }

    #[test]
    fn a_crashed_leader_is_replaced_within_fifteen_seconds(phase in 0_u64..1000, call in 1_u64..100) {
        let mut world = World::new(2);
        for _ in 0..3 {
            world.step(0, Tick::ZERO, Fate::Nothing);
        }
        prop_assert_eq!(world.leaders(Tick::ZERO), vec![1]);
        // The other one polls as the shell does: every second, and when the lease expires.
        let mut now = Duration::from_millis(phase);
        let replaced = loop {
            for _ in 0..3 {
                world.step(1, now, Fate::Nothing);
                now += Duration::from_millis(call);
            }
            if matches!(world.processes[1].candidate.state(now), State::Leading(_)) {
                break now;
            }
            world.processes[1].attempt = None;
            prop_assert!(now < s(60));
            now += POLL_INTERVAL;
        };
        prop_assert!(replaced <= s(15), "{replaced:?}");
    }
}
