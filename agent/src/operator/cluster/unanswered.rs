//! Creates without an answer, which the API server may still carry out.
//!
//! A removal that finds no object is done only when no such create can come any more. Otherwise its object would stay for ever:
//! once the control plane has forgotten the resource, nobody looks for it. Pure: times are since any fixed moment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::kinds::conditions::Reason;
use crate::operator::object::owner::{Owner, OwnerKind};

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
    kind: OwnerKind,
    name: String,
    until: Duration,
}

impl Unanswered {
    /// Another process led before this one: it may have left creates of any owner under way.
    pub fn leadership_acquired(&mut self, now: Duration) {
        self.inherited = Some(now + SETTLED);
    }

    /// A create is about to be sent, and its caller waits for `limit`. Returns its number, for [`Self::answered`].
    pub fn begin(&mut self, object: &Value, limit: Duration, now: Duration) -> u64 {
        self.open.retain(|_, open| now < open.until);
        self.begun += 1;
        if let Some(Owner { kind, name }) = Owner::of(object) {
            self.open.insert(self.begun, Open { kind, name: name.to_owned(), until: now + limit + SETTLED });
        }
        self.begun
    }

    /// The API server has answered the create.
    pub fn answered(&mut self, create: u64) {
        self.open.remove(&create);
    }

    /// How long creates for `owner` may still be carried out, if any may.
    #[must_use]
    pub fn left(&self, owner: Owner<'_>, now: Duration) -> Option<Duration> {
        let of_owner = self.open.values().filter(|open| open.kind.named(&open.name) == owner);
        let open = of_owner.map(|open| open.until);
        let left = open.chain(self.inherited).max()?.checked_sub(now)?;
        (!left.is_zero()).then_some(left)
    }
}

/// Why a removal waits though nothing is left to see.
#[must_use]
pub fn settling() -> Reason {
    let message = "nothing is left; a create that had no answer may still be carried out, which is waited for";
    Reason::new("Settling", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds::labels::{ENVIRONMENT, RELEASE};

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
        assert_eq!(unanswered.left(OwnerKind::Release.named("web"), at(10)), Some(at(55)));
        unanswered.answered(second);
        assert_eq!(
            unanswered.left(OwnerKind::Release.named("web"), at(10)),
            Some(at(50)),
            "an answer says nothing of an earlier create"
        );
        assert_eq!(unanswered.left(OwnerKind::Release.named("other"), at(10)), None);
        assert_eq!(unanswered.left(OwnerKind::Environment.named("dev"), at(10)), None, "it is the release's");
        assert_eq!(unanswered.left(OwnerKind::Release.named("web"), at(60)), None);
        unanswered.answered(first);
        assert_eq!(unanswered.left(OwnerKind::Release.named("web"), at(10)), None);
    }

    #[test]
    fn after_a_takeover_everything_may_be_under_way() {
        let mut unanswered = Unanswered::default();
        assert_eq!(unanswered.left(OwnerKind::TaskRun.named("r"), at(0)), None);
        unanswered.leadership_acquired(at(100));
        assert_eq!(unanswered.left(OwnerKind::TaskRun.named("r"), at(101)), Some(at(39)));
        assert_eq!(unanswered.left(OwnerKind::TaskRun.named("r"), at(140)), None);
    }
}
