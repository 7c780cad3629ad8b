//! Creates that had no answer: what the API server began it may still carry out.
//!
//! A removal that sees nothing left is done only when no such create can come any more, or its object would stay for ever: once the
//! control plane has forgotten the resource, nobody looks for it. Pure: times are since any fixed moment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::kinds::conditions::Trouble;
use crate::kinds::labels::{ENVIRONMENT, RELEASE, TASK_RUN};
use crate::operator::object;

/// How long after its caller gave up a create may still be stored. The API server gives up a write after 34 s at most
/// (`requestTimeoutUpperBound` of k8s.io/apiserver).
pub const SETTLED: Duration = Duration::from_secs(40);

#[derive(Debug, Default)]
pub struct Unanswered {
    open: BTreeMap<u64, Open>,
    begun: u64,
    /// Until when creates of an earlier leader may come.
    inherited: Option<Duration>,
}

#[derive(Debug)]
struct Open {
    label: &'static str,
    name: String,
    until: Duration,
}

impl Unanswered {
    /// Another process led before this one: whatever it had under way is not known.
    pub fn took_over(&mut self, now: Duration) {
        self.inherited = Some(now + SETTLED);
    }

    /// A create is about to be sent, and its caller waits for `limit`. Returns what to call it by.
    pub fn begin(&mut self, object: &Value, limit: Duration, now: Duration) -> u64 {
        self.open.retain(|_, open| now < open.until);
        self.begun += 1;
        // The most special one: a run's Job carries the label of its release too.
        let owner =
            [TASK_RUN, RELEASE, ENVIRONMENT].into_iter().find_map(|label| Some((label, object::label(object, label)?)));
        if let Some((label, name)) = owner {
            self.open.insert(self.begun, Open { label, name: name.to_owned(), until: now + limit + SETTLED });
        }
        self.begun
    }

    /// The API server has said what became of it.
    pub fn answered(&mut self, create: u64) {
        self.open.remove(&create);
    }

    /// How long creates for the owner that `label` names may still be carried out, if any may.
    #[must_use]
    pub fn left(&self, label: &str, name: &str, now: Duration) -> Option<Duration> {
        let open = self.open.values().filter(|open| open.label == label && open.name == name).map(|open| open.until);
        let left = open.chain(self.inherited).max()?.checked_sub(now)?;
        (!left.is_zero()).then_some(left)
    }
}

/// Why a removal waits though nothing is left to see.
#[must_use]
pub fn settling() -> Trouble {
    let message = "nothing is left; a create that had no answer may still be carried out, which is waited for";
    Trouble::new("Settling", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn of(label: &str, name: &str) -> Value {
        json!({"metadata": {"labels": {label: name, ENVIRONMENT: "dev"}}})
    }

    #[test]
    fn a_create_without_an_answer_counts_until_the_api_server_has_given_it_up() {
        let mut unanswered = Unanswered::default();
        let first = unanswered.begin(&of(RELEASE, "web"), LIMIT, at(0));
        let second = unanswered.begin(&of(RELEASE, "web"), LIMIT, at(5));
        assert_eq!(unanswered.left(RELEASE, "web", at(10)), Some(at(55)));
        unanswered.answered(second);
        assert_eq!(
            unanswered.left(RELEASE, "web", at(10)),
            Some(at(50)),
            "an answer says nothing of an earlier create"
        );
        assert_eq!(unanswered.left(RELEASE, "other", at(10)), None);
        assert_eq!(unanswered.left(ENVIRONMENT, "dev", at(10)), None, "it is the release's");
        assert_eq!(unanswered.left(RELEASE, "web", at(60)), None);
        unanswered.answered(first);
        assert_eq!(unanswered.left(RELEASE, "web", at(10)), None);
    }

    #[test]
    fn after_a_takeover_everything_may_be_under_way() {
        let mut unanswered = Unanswered::default();
        assert_eq!(unanswered.left(TASK_RUN, "r", at(0)), None);
        unanswered.took_over(at(100));
        assert_eq!(unanswered.left(TASK_RUN, "r", at(101)), Some(at(39)));
        assert_eq!(unanswered.left(TASK_RUN, "r", at(140)), None);
    }
}
