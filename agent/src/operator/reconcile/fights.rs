//! Fights over an object: how often a change by somebody else was undone, and from when on it is left alone.
//!
//! A repair counts once its write is done, and only if the object had been as wanted before. In memory: a new leader counts anew.

use std::collections::HashMap;
use std::time::Duration;

use protocol::mutant::{self, Mutant};
use tokio::time::Instant;

use super::write::Live;
use crate::kinds::conditions::Reason;
use crate::operator::object::ObjectKind;
use crate::operator::world::tracked::Place;

/// Repairs of one object within [`WINDOW`] after which it is left to whoever changes it.
pub const MAX: usize = 3;

/// See [`MAX`].
pub const WINDOW: Duration = Duration::from_secs(600);

/// Recent repairs.
#[derive(Debug, Default)]
pub struct Fights {
    repairs: HashMap<Place, Vec<Instant>>,
}

impl Fights {
    /// Repairs of `place` within the window.
    #[must_use]
    pub fn of(&self, place: &Place) -> usize {
        self.repairs.get(place).map_or(0, |times| times.iter().filter(|at| at.elapsed() < WINDOW).count())
    }

    /// Counts a repair of `place`.
    pub fn repaired(&mut self, place: Place) {
        self.repairs.retain(|_, times| {
            times.retain(|at| at.elapsed() < WINDOW);
            !times.is_empty()
        });
        self.repairs.entry(place).or_default().push(Instant::now());
    }
}

/// Why `live` is left as it is, if somebody keeps changing it.
#[must_use]
pub fn contested(kind: ObjectKind, name: &str, live: &Live) -> Option<Reason> {
    if !live.was_equal || live.drift.is_empty() || live.repairs < MAX {
        return None;
    }
    if kind == ObjectKind::NetworkPolicy && mutant::is(Mutant::EnvironmentFoughtForEver) {
        return None;
    }
    let rival = live.rival.as_deref().unwrap_or("an unnamed field manager");
    // The customer chose the keys of a Secret that is copied, and this goes to the control plane.
    let places = if kind == ObjectKind::Secret { "it".to_owned() } else { live.drift.join(", ") };
    Some(Reason::new(
        "Contested",
        format!(
            "{} {name} was changed back by {rival} three times within ten minutes, so repair has stopped; stop {rival} from writing {places}",
            kind.names().1,
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repairs_of_each_object_count_for_ten_minutes() {
        let place = |name: &str| Place::new(ObjectKind::Service, "dp-a", name);
        let mut fights = Fights::default();
        for minutes in [0, 4, 4] {
            tokio::time::advance(Duration::from_secs(minutes * 60)).await;
            fights.repaired(place("a"));
        }
        assert_eq!((fights.of(&place("a")), fights.of(&place("b"))), (3, 0));
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(fights.of(&place("a")), 2, "the first one is over");
        tokio::time::advance(WINDOW).await;
        fights.repaired(place("b"));
        assert_eq!(fights.repairs.len(), 1, "what is over is not kept");
    }

    #[test]
    fn what_the_customer_calls_the_values_of_a_secret_is_not_said() {
        let live = Live {
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            ours: true,
            terminating: false,
            drift: vec!["/data/key-of-the-customer".to_owned()],
            was_equal: true,
            repairs: MAX,
            rival: Some("kubectl-edit".to_owned()),
            autoscaled: None,
        };
        let said = contested(ObjectKind::Secret, "pdp-pull-1", &live).unwrap().message;
        assert!(said.contains("kubectl-edit") && !said.contains("key-of-the-customer"), "{said}");
        let said = contested(ObjectKind::Service, "web", &live).unwrap().message;
        assert!(said.ends_with("from writing /data/key-of-the-customer"), "{said}");
    }
}
