//! How much the control plane may have here: in number, in bytes and over time. Pure.
//!
//! A number is limited by rank, so that several reconcilers need not agree on an order: of the resources that exist, the oldest
//! stay. What is limited over time has a [`Budget`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use protocol::mutant::{self, Mutant};

/// What is stored beside one document, as far as the customer limits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Other documents of its kind that are present.
    pub of_kind: usize,
    /// Of them those in the same environment.
    pub in_environment: usize,
    /// Bytes of all other documents.
    pub bytes: u64,
    /// Bytes of the document of the same name.
    pub replaced: u64,
}

/// Whether one more fits beside `there` under `most`.
///
/// # Errors
/// It does not: a sentence with what to do. `what` is the plural, `setting` where the limit stands.
pub fn one_more(there: usize, most: Option<u32>, what: &str, setting: &str) -> Result<(), String> {
    match most {
        Some(most) if u32::try_from(there).is_ok_and(|there| there < most) => Ok(()),
        None => Ok(()),
        Some(most) => Err(format!(
            "DataPlanePolicy/default allows {most} {what} and {there} are there before this one; remove one that is not needed or \
             ask the platform team to raise {setting}"
        )),
    }
}

/// Whether a document of `bytes` fits beside what is stored. A document no larger than the one it replaces always fits: a lowered limit
/// does not block edits.
///
/// # Errors
/// It does not: a sentence with what to do.
pub fn bytes(beside: &Beside, bytes: u64, most: Option<u64>) -> Result<(), String> {
    let Beside { bytes: stored, replaced, .. } = *beside;
    match most.filter(|most| bytes > replaced && stored.saturating_add(bytes) > *most) {
        None => Ok(()),
        Some(most) => Err(format!(
            "DataPlanePolicy/default allows {most} bytes of documents, {stored} are stored beside this one, which has {bytes}; remove \
             what is not needed or ask the platform team to raise spec.limits.storedBytes"
        )),
    }
}

/// Limits how often something may happen within some time. Each event has a name and counts once, however often it is asked for.
///
/// It lives as long as its leader: the next leader starts with nothing spent.
#[derive(Debug, Default)]
pub struct Budget {
    spent: BTreeMap<String, Timestamp>,
}

impl Budget {
    /// Spends one for `name`, unless it was spent before.
    ///
    /// # Errors
    /// Nothing is left: how long until there is. Nothing is spent then.
    pub fn spend(&mut self, name: &str, most: Option<u32>, within: Duration, now: Timestamp) -> Result<(), Duration> {
        self.spent.retain(|_, at| now.duration_since(*at).unsigned_abs() < within);
        let Some(most) = most else { return Ok(()) };
        if self.spent.contains_key(name) {
            return Ok(());
        }
        if u32::try_from(self.spent.len()).is_ok_and(|spent| spent < most) {
            if !mutant::is(Mutant::BudgetCountedLate) {
                self.spent.insert(name.to_owned(), now);
            }
            return Ok(());
        }
        let oldest = self.spent.values().min();
        Err(oldest.map_or(within, |oldest| within.saturating_sub(now.duration_since(*oldest).unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn a_number_is_full_when_so_many_are_there_before() {
        assert_eq!(one_more(2, Some(3), "releases", "x"), Ok(()));
        assert!(one_more(3, Some(3), "releases", "spec.limits.releases").unwrap_err().contains("spec.limits.releases"));
        assert!(one_more(0, Some(0), "releases", "x").is_err());
        assert_eq!(one_more(1_000_000, None, "releases", "x"), Ok(()));
        let beside = |bytes, replaced| Beside { bytes, replaced, ..Beside::default() };
        assert_eq!(bytes(&beside(90, 0), 10, Some(100)), Ok(()));
        assert!(bytes(&beside(91, 0), 10, Some(100)).unwrap_err().contains("91 are stored"));
        assert!(bytes(&beside(u64::MAX, 0), 1, Some(u64::MAX - 1)).is_err());
        assert_eq!(bytes(&beside(500, 10), 10, Some(100)), Ok(()), "the limit was lowered below what is there");
        assert!(bytes(&beside(500, 10), 11, Some(100)).is_err());
    }

    #[test]
    fn a_budget_counts_before_it_lets_go_and_each_name_once() {
        let mut budget = Budget::default();
        assert_eq!(budget.spend("a", Some(2), HOUR, at(0)), Ok(()));
        assert_eq!(budget.spend("a", Some(2), HOUR, at(1)), Ok(()), "the same removal goes on");
        assert_eq!(budget.spend("b", Some(2), HOUR, at(600)), Ok(()));
        assert_eq!(budget.spend("c", Some(2), HOUR, at(601)), Err(Duration::from_secs(2999)));
        assert_eq!(budget.spend("a", Some(2), HOUR, at(602)), Ok(()));
        assert_eq!(budget.spend("c", Some(2), HOUR, at(3600)), Ok(()), "the first is an hour ago");
        assert_eq!(budget.spend("d", Some(2), HOUR, at(3601)), Err(Duration::from_secs(599)));
        assert_eq!(budget.spend("d", None, HOUR, at(3601)), Ok(()), "no limit is said");
        assert_eq!(budget.spend("d", Some(0), HOUR, at(9999)), Err(HOUR));
    }

    #[test]
    fn a_budget_that_counts_late_is_found() {
        let begun = || {
            let mut budget = Budget::default();
            (0..10).filter(|at_once| budget.spend(&at_once.to_string(), Some(2), HOUR, at(0)).is_ok()).count()
        };
        mutant::choose(Some(Mutant::BudgetCountedLate));
        let mistaken = begun();
        mutant::choose(None);
        assert_eq!((mistaken, begun()), (10, 2));
    }
}
