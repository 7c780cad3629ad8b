//! The schedule of faults: made from a seed and the list of failpoints, before anything is broken. Pure.
//!
//! Every fault of the plan comes; the seed decides in which order, and how long what has a length lasts.

use std::time::Duration;

use crate::testbed::{Cut, Part};

/// A role of the agent, with its Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Talks to the control plane.
    Link,
    /// Talks to workloads.
    Operator,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Link, Self::Operator];

    /// As in command lines, labels and names of Leases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Operator => "operator",
        }
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Leaders end at these points, one of each role at the same time.
    Points(Vec<(Role, String)>),
    /// `kill -9` of the leader.
    KillLeader(Role),
    /// `kill -9` of whichever replica.
    KillAny(Role),
    /// The leader is asked to stop.
    Stop(Role),
    /// The leader is frozen so long, which is longer than its Lease, and woken.
    Freeze(Role, Duration),
    /// The Lease is deleted; the agent makes it again.
    Lease(Role),
    /// `kill -9` of a part of the cluster, started again after a while.
    Part(Part, Duration),
    /// The link is broken in this way for so long.
    Cut(Cut, Duration),
    /// The link is slow for so long, by a proxy.
    Slow(Duration),
    /// `kill -9` of the control plane, started again on its store after a while.
    ControlPlane(Duration),
    /// The control plane loses what it wrote lately, and is adopted.
    Restored,
}

impl Fault {
    /// Row of the table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Points(_) => "kill at failpoints".to_owned(),
            Self::KillLeader(role) => format!("kill -9 of the leading {}", role.name()),
            Self::KillAny(role) => format!("kill -9 of a random {}", role.name()),
            Self::Stop(role) => format!("orderly stop of the leading {}", role.name()),
            Self::Freeze(role, _) => format!("SIGSTOP of the leading {} beyond its lease", role.name()),
            Self::Lease(role) => format!("Lease of {} deleted", role.name()),
            Self::Part(part, _) => format!("{} killed", part.name()),
            Self::Cut(how, length) if *length >= CERTIFICATE => format!("{how:?}, longer than certificates live"),
            Self::Cut(how, _) => format!("link: {how:?}"),
            Self::Slow(_) => "link: Slow (toxiproxy)".to_owned(),
            Self::ControlPlane(_) => "control plane killed".to_owned(),
            Self::Restored => "control plane restored from an older store".to_owned(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Points(points) => {
                let points: Vec<_> = points.iter().map(|(role, name)| format!("{} {name}", role.name())).collect();
                write!(f, "kill at {}", points.join(" and "))
            }
            Self::Freeze(_, length)
            | Self::Part(_, length)
            | Self::Cut(_, length)
            | Self::Slow(length)
            | Self::ControlPlane(length) => write!(f, "{} for {:.1} s", self.name(), length.as_secs_f64()),
            Self::KillLeader(_) | Self::KillAny(_) | Self::Stop(_) | Self::Lease(_) | Self::Restored => {
                f.write_str(&self.name())
            }
        }
    }
}

/// Longer than the agent's certificates live here.
pub const CERTIFICATE: Duration = Duration::from_secs(135);

/// How much is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Some of it, for every run of all tests.
    Short,
    /// All of it.
    Full,
}

/// Who can reach which failpoint, as the agent lists them: `link`, `operator` or `elector`, and the name.
pub type Points = Vec<(String, String)>;

/// The schedule of a seed.
#[must_use]
pub fn schedule(seed: u64, form: Form, points: &Points) -> Vec<Fault> {
    let mut dice = Dice(seed);
    let mut faults = at_points(form, points, &mut dice);
    match form {
        Form::Short => short(&mut faults, &mut dice),
        Form::Full => full(&mut faults, &mut dice),
    }
    dice.shuffle(&mut faults);
    faults
}

/// Every failpoint once in the full form; those around what must not be lost or done twice in the short one.
fn at_points(form: Form, points: &Points, dice: &mut Dice) -> Vec<Fault> {
    const SHORT: [&str; 4] = ["AfterUpdate", "AfterForget", "AfterJob", "AfterFact"];
    let wanted = |name: &String| form == Form::Full || SHORT.contains(&name.as_str());
    let of = |who: &str| -> Vec<String> {
        points.iter().filter(|(role, name)| role == who && wanted(name)).map(|(_, name)| name.clone()).collect()
    };
    let (mut link, mut operator) = (of("link"), of("operator"));
    dice.shuffle(&mut link);
    dice.shuffle(&mut operator);
    let mut faults = Vec::new();
    for index in 0..link.len().max(operator.len()) {
        let both = [(Role::Link, link.get(index)), (Role::Operator, operator.get(index))];
        faults.push(Fault::Points(both.into_iter().filter_map(|(role, name)| Some((role, name?.clone()))).collect()));
    }
    faults.extend(
        of("elector").into_iter().map(|name| Fault::Points(Role::ALL.map(|role| (role, name.clone())).to_vec())),
    );
    faults
}

fn short(faults: &mut Vec<Fault>, dice: &mut Dice) {
    faults.extend([
        Fault::KillLeader(Role::Link),
        Fault::Stop(Role::Operator),
        Fault::Part(Part::Apiserver, dice.seconds(1, 3)),
        Fault::Cut(Cut::Drop, dice.seconds(1, 4)),
        Fault::Cut(Cut::Down, dice.seconds(1, 3)),
        Fault::ControlPlane(dice.seconds(1, 3)),
    ]);
}

fn full(faults: &mut Vec<Fault>, dice: &mut Dice) {
    for role in Role::ALL {
        faults.extend([Fault::KillLeader(role), Fault::KillLeader(role), Fault::Stop(role), Fault::Stop(role)]);
        faults.extend([Fault::KillAny(role), Fault::KillAny(role), Fault::Lease(role)]);
        faults.push(Fault::Freeze(role, dice.seconds(16, 22)));
    }
    for part in [Part::Apiserver, Part::Etcd, Part::Containerd, Part::Kubelet] {
        faults.extend([Fault::Part(part, dice.seconds(1, 3)), Fault::Part(part, dice.seconds(8, 20))]);
    }
    let broken = [Cut::Down, Cut::PeerDown, Cut::Drop, Cut::Reject, Cut::DropOut, Cut::DropIn];
    for how in broken {
        faults.extend([Fault::Cut(how, dice.seconds(1, 2)), Fault::Cut(how, dice.seconds(20, 45))]);
    }
    for how in [Cut::Lossy, Cut::Narrow] {
        faults.push(Fault::Cut(how, dice.seconds(25, 40)));
    }
    faults.push(Fault::Cut(Cut::Drop, dice.seconds(150, 180)));
    faults.push(Fault::Cut(Cut::PeerDown, Duration::from_secs(600)));
    faults.push(Fault::Slow(dice.seconds(30, 45)));
    for (low, high) in [(1, 2), (5, 10), (20, 30)] {
        faults.push(Fault::ControlPlane(dice.seconds(low, high)));
    }
    faults.push(Fault::Restored);
}

/// Chance from a seed: splitmix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    #[must_use]
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    /// From `low` to `high` seconds, in tenths.
    fn seconds(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low * 1000 + 100 * (self.draw() % ((high - low) * 10 + 1)))
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Points {
        let all =
            [("link", "Update"), ("link", "Forget"), ("operator", "Job"), ("operator", "Fact"), ("elector", "Renew")];
        let named = |edge: &str| all.map(|(role, name)| (role.to_owned(), format!("{edge}{name}")));
        [named("Before"), named("After")].concat()
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(schedule(7, Form::Full, &points()), schedule(7, Form::Full, &points()));
        assert_ne!(schedule(7, Form::Full, &points()), schedule(8, Form::Full, &points()));
    }

    #[test]
    fn the_full_form_has_every_point_for_who_can_reach_it() {
        let faults = schedule(1, Form::Full, &points());
        let mut reached: Vec<_> = faults
            .iter()
            .filter_map(|fault| if let Fault::Points(points) = fault { Some(points.clone()) } else { None })
            .flatten()
            .map(|(role, name)| format!("{} {name}", role.name()))
            .collect();
        reached.sort_unstable();
        let mut expected: Vec<_> = points()
            .into_iter()
            .flat_map(|(role, name)| match role.as_str() {
                "elector" => vec![format!("link {name}"), format!("operator {name}")],
                _ => vec![format!("{role} {name}")],
            })
            .collect();
        expected.sort_unstable();
        assert_eq!(reached, expected);
    }

    #[test]
    fn the_short_form_has_the_points_around_what_must_not_be_lost() {
        let faults = schedule(1, Form::Short, &points());
        let named = faults.iter().filter(|fault| matches!(fault, Fault::Points(points) if points.len() == 2));
        assert_eq!(named.count(), 2, "{faults:?}");
    }
}
