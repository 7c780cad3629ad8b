//! Whether one more environment or release has room under the customer's limits. Pure.
//!
//! A resource that was begun stays, whatever the limit becomes. Of the others the oldest begin first, by time of creation and then
//! by name. That a resource got room is recorded at once ([`Contents::claim`]), under the same lock: its status says so only later,
//! and the next decision must count it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::Resource;
use protocol::document::Desired;

use super::{denied, find_owner, rule};
use crate::kinds::conditions::Reason;
use crate::kinds::{DataPlanePolicySpec, Environment, Release};
use crate::operator::world::index::{Contents, Own};
use crate::policy::limits;

/// Whether the release `name` has room, everywhere and in its environment.
///
/// # Errors
/// The limit is reached by those that come before it.
pub fn for_release(
    contents: &Contents,
    policy: &DataPlanePolicySpec,
    name: &str,
    environment: &str,
) -> Result<(), Reason> {
    let here = find_owner(contents, environment).and_then(|owner| rule(policy, &owner).ok()?.max_releases);
    let everywhere = policy.limits.as_ref().and_then(|limits| limits.releases);
    let begun = |release: &Release| {
        let recorded = release.status.as_ref().is_some_and(|status| status.namespace.is_some());
        recorded || contents.has_claimed(release.metadata.uid.as_ref())
    };
    let present = |release: &Release| release.spec.body.state == Desired::Present;
    if everywhere.is_some() {
        let there = before(&contents.releases, name, present, begun);
        limits::one_more(there, everywhere, "releases", "spec.limits.releases").map_err(denied)?;
    }
    if here.is_some() {
        let within =
            |release: &Release| present(release) && release.spec.body.environment.as_deref() == Some(environment);
        let there = before(&contents.releases, name, within, begun);
        let setting = "maxReleases of this environment";
        limits::one_more(there, here, "releases in this environment", setting).map_err(denied)?;
    }
    Ok(())
}

/// Whether the environment `name` has room.
///
/// # Errors
/// The limit is reached by those that come before it.
pub fn for_environment(contents: &Contents, policy: &DataPlanePolicySpec, name: &str) -> Result<(), Reason> {
    let Some(most) = policy.limits.as_ref().and_then(|limits| limits.environments) else { return Ok(()) };
    let present = |environment: &Environment| environment.spec.body.state == Desired::Present;
    let begun = |environment: &Environment| {
        let recorded = environment.status.as_ref().is_some_and(|status| status.namespace.is_some());
        recorded || contents.has_claimed(environment.metadata.uid.as_ref())
    };
    let there = before(&contents.environments, name, present, begun);
    limits::one_more(there, Some(most), "environments", "spec.limits.environments").map_err(denied)
}

/// How many of those that count come before `name`: none if it was begun itself, else those that were begun or created before it.
fn before<K: Resource>(
    all: &BTreeMap<String, Own<K>>,
    name: &str,
    counts: impl Fn(&K) -> bool,
    begun: impl Fn(&K) -> bool,
) -> usize {
    if let Some(Own::Read(own)) = all.get(name)
        && begun(own)
    {
        return 0;
    }
    let created =
        |own: &Own<K>| -> Option<Timestamp> { own.metadata().creation_timestamp.as_ref().map(|created| created.0) };
    let own = (all.get(name).and_then(created), name);
    let older = all.iter().filter(|(other, found)| match found {
        Own::Read(read) => {
            other.as_str() != name && counts(read) && (begun(read) || (created(found), other.as_str()) < own)
        }
        Own::Unreadable { .. } => false,
    });
    older.count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn release(name: &str, second: u32, environment: &str, state: &str) -> Own<Release> {
        let made = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": name, "uid": format!("uid-{name}"),
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"state": state, "environment": environment},
        });
        Own::Read(Arc::new(serde_json::from_value(made).unwrap()))
    }

    fn environment(name: &str, second: u32) -> Own<Environment> {
        let made = json!({
            "apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Environment",
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"state": "Present", "organization": "acme", "project": "shop", "environment": name},
        });
        Own::Read(Arc::new(serde_json::from_value(made).unwrap()))
    }

    fn policy(more: Value) -> DataPlanePolicySpec {
        let mut spec = json!({"registries": [], "logs": {"mode": "Disabled"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_oldest_releases_stay_and_what_is_absent_takes_no_room() {
        let mut contents = Contents::default();
        for (name, second, environment, state) in [
            ("d", 1, "dev", "Present"),
            ("c", 2, "dev", "Absent"),
            ("b", 3, "prod", "Present"),
            ("a", 4, "dev", "Present"),
            ("z", 4, "dev", "Present"),
        ] {
            contents.releases.insert(name.to_owned(), release(name, second, environment, state));
        }
        for (name, second) in [("dev", 2), ("prod", 1)] {
            contents.environments.insert(name.to_owned(), environment(name, second));
        }
        let allowed = |policy: &DataPlanePolicySpec| -> Vec<String> {
            let has_room = |(name, environment): &(&str, &str)| {
                let found = for_release(&contents, policy, name, environment);
                assert!(found.as_ref().err().is_none_or(|why| why.reason == "PolicyDenied"), "{found:?}");
                found.is_ok()
            };
            let all = [("a", "dev"), ("b", "prod"), ("d", "dev"), ("z", "dev")];
            all.into_iter().filter(has_room).map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(allowed(&policy(json!({}))), ["a", "b", "d", "z"]);
        assert_eq!(
            allowed(&policy(json!({"limits": {"releases": 3}}))),
            ["a", "b", "d"],
            "by name where times are equal"
        );
        assert_eq!(allowed(&policy(json!({"limits": {"releases": 0}}))), Vec::<String>::new());
        let here = json!({"environments": [{"environment": "dev", "maxReleases": 1}, {"environment": "prod"}]});
        assert_eq!(allowed(&policy(here)), ["b", "d"]);
        let one = policy(json!({"limits": {"environments": 1}}));
        assert_eq!(for_environment(&contents, &one, "prod"), Ok(()));
        assert!(for_environment(&contents, &one, "dev").unwrap_err().message.contains("spec.limits.environments"));
    }

    #[test]
    fn who_was_given_room_keeps_it_though_older_ones_are_seen_later() {
        let two = policy(json!({"limits": {"releases": 2}}));
        let mut contents = Contents::default();
        // Those with the earlier names come last to the watch, all of the same second.
        for name in ["d", "c", "b", "a"] {
            contents.releases.insert(name.to_owned(), release(name, 1, "dev", "Present"));
            let has_room = for_release(&contents, &two, name, "dev").is_ok();
            assert_eq!(has_room, ["d", "c"].contains(&name), "{name}");
            if has_room {
                let uid = contents.releases[name].metadata().uid.clone();
                contents.claim(uid.as_ref());
            }
        }
        assert_eq!(for_release(&contents, &two, "d", "dev"), Ok(()), "asked again it has it still");
        // A deleted resource frees its room, and its claim does not pass to a new one of the same name.
        contents.releases.remove("d");
        assert_eq!(for_release(&contents, &two, "a", "dev"), Ok(()));
        contents.claim(None);
        assert!(!contents.has_claimed(Some(&"uid-d".to_owned())));
    }
}
