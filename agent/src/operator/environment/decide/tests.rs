use serde_json::json;

use super::*;

const NAMESPACE: &str = "dp-a";

fn live(ours: bool, drift: &[&str]) -> Live {
    Live {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        ours,
        terminating: false,
        drift: drift.iter().map(|&path| path.to_owned()).collect(),
        was_equal: false,
        repairs: 0,
        rival: None,
        autoscaled: None,
    }
}

fn observed<'a>(status: &'a EnvironmentStatus, live: &'a BTreeMap<ObjectRef, Live>) -> Observed<'a> {
    Observed {
        uid: "e",
        generation: 4,
        fact_generation: 4,
        modified: None,
        status,
        namespace: NAMESPACE,
        holder: None,
        paused: None,
        settles: None,
        live,
    }
}

fn wanted() -> Wanted {
    Wanted {
        present: vec![
            json!({"kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({"kind": "LimitRange", "metadata": {"name": "l"}}),
        ],
        absent: vec![ObjectKind::ResourceQuota.named("q")],
    }
}

fn ready(decision: &Decision<EnvironmentStatus>) -> Option<(String, String, usize)> {
    let Some(Write::Status(status)) = decision.writes.last() else { return None };
    let condition = status.conditions.iter().find(|condition| condition.condition_type == "Ready").unwrap();
    Some((condition.status.clone(), condition.reason.clone(), status.facts.len()))
}

#[test]
fn a_new_environment_is_made_and_then_nothing_is_written() {
    let now = Timestamp::UNIX_EPOCH;
    let mut cluster = BTreeMap::new();
    let mut status = EnvironmentStatus::default();
    let first = decide(&observed(&status, &cluster), Ok(&wanted()), None, now);
    assert_eq!(format!("{:?}", first.writes), "[status, create Namespace/dp-a, create LimitRange/l]");
    let Some(Write::Status(next)) = first.writes.first() else { panic!() };
    status = (**next).clone();
    assert_eq!(status.namespace.as_deref(), Some(NAMESPACE), "a crash after the create would lose it");
    cluster.insert(ObjectKind::Namespace.named(NAMESPACE), live(true, &[]));
    cluster.insert(ObjectKind::LimitRange.named("l"), live(true, &[]));
    let second = decide(&observed(&status, &cluster), Ok(&wanted()), None, now);
    assert_eq!(ready(&second), Some(("True".to_owned(), "Prepared".to_owned(), 1)));
    let Some(Write::Status(next)) = second.writes.last() else { panic!() };
    status = (**next).clone();
    assert!(decide(&observed(&status, &cluster), Ok(&wanted()), None, now).writes.is_empty());
    cluster.insert(ObjectKind::LimitRange.named("l"), live(true, &["/spec"]));
    cluster.insert(ObjectKind::ResourceQuota.named("q"), live(true, &[]));
    let repair = decide(&observed(&status, &cluster), Ok(&wanted()), None, now);
    assert_eq!(format!("{:?}", repair.writes), "[apply LimitRange/l, delete ResourceQuota/q]");
}

#[test]
fn who_insists_on_a_change_of_an_environment_is_named_and_left_alone() {
    let now = Timestamp::UNIX_EPOCH;
    let status = EnvironmentStatus::default();
    let cluster = |repairs| {
        let policy =
            Live { was_equal: true, repairs, rival: Some("kubectl-edit".to_owned()), ..live(true, &["/spec"]) };
        BTreeMap::from([
            (ObjectKind::Namespace.named(NAMESPACE), live(true, &[])),
            (ObjectKind::LimitRange.named("l"), policy),
        ])
    };
    let again = decide(&observed(&status, &cluster(fights::MAX - 1)), Ok(&wanted()), None, now);
    assert_eq!(format!("{:?}", again.writes), "[status, apply LimitRange/l]");
    let left = decide(&observed(&status, &cluster(fights::MAX)), Ok(&wanted()), None, now);
    let [Write::Status(status)] = left.writes.as_slice() else { panic!("{:?}", left.writes) };
    let said: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| format!("{}={}", condition.condition_type, condition.status))
        .collect();
    assert_eq!(said, ["Contested=True", "Prepared=True", "Ready=True"]);
    assert!(status.conditions[0].message.contains("kubectl-edit"), "{}", status.conditions[0].message);
}

#[test]
fn a_namespace_that_goes_and_comes_back_is_no_second_outcome() {
    let now = Timestamp::UNIX_EPOCH;
    let whole = |terminating| {
        let namespace = Live { terminating, ..live(true, &[]) };
        BTreeMap::from([
            (ObjectKind::Namespace.named(NAMESPACE), namespace),
            (ObjectKind::LimitRange.named("l"), live(true, &[])),
        ])
    };
    let mut status = EnvironmentStatus::default();
    for (cluster, is_ready) in [(whole(false), "True"), (whole(true), "False"), (whole(false), "True")] {
        let decision = decide(&observed(&status, &cluster), Ok(&wanted()), None, now);
        let (said, _, facts) = ready(&decision).unwrap();
        assert_eq!((said.as_str(), facts), (is_ready, 1));
        let Some(Write::Status(next)) = decision.writes.last() else { panic!() };
        status = (**next).clone();
    }
}

#[test]
fn a_foreign_namespace_is_never_adopted() {
    let cluster = BTreeMap::from([(ObjectKind::Namespace.named(NAMESPACE), live(false, &["/metadata"]))]);
    let status = EnvironmentStatus::default();
    let decision = decide(&observed(&status, &cluster), Ok(&wanted()), None, Timestamp::UNIX_EPOCH);
    assert_eq!(format!("{:?}", decision.writes), "[status]");
    assert_eq!(ready(&decision).unwrap().1, "NamespaceTaken");
    let removal = remove(&observed(&status, &cluster), &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!(format!("{:?}", removal.writes), "[status]", "and never deleted");
}

#[test]
fn a_namespace_of_another_agent_is_called_by_its_name_and_left_alone() {
    let cluster = BTreeMap::from([(ObjectKind::Namespace.named(NAMESPACE), live(false, &["metadata"]))]);
    let status = EnvironmentStatus::default();
    let theirs = Observed { holder: Some("north.pdp"), ..observed(&status, &cluster) };
    let decision = decide(&theirs, Ok(&wanted()), None, Timestamp::UNIX_EPOCH);
    let Some(Write::Status(said)) = decision.writes.last() else { panic!() };
    let stalled = said.conditions.iter().find(|condition| condition.condition_type == "Stalled").unwrap();
    assert!(stalled.message.contains("belongs to the agent north.pdp"), "{}", stalled.message);
    assert_eq!((decision.writes.len(), said.namespace.as_deref()), (1, None));
}

#[test]
fn an_environment_is_removed_only_when_it_is_empty() {
    let cluster = BTreeMap::from([(ObjectKind::Namespace.named(NAMESPACE), live(true, &[]))]);
    let status = EnvironmentStatus::default();
    for (obstacle, writes, reason) in [
        (Obstacle::Releases(vec!["web".to_owned()]), "[status]", "NotEmpty"),
        (Obstacle::Foreign(vec!["Pod/x".to_owned()]), "[status]", "NotEmpty"),
        (Obstacle::Kept(Reason::new("NotAdopted", "it says not whose it is")), "[status]", "NotAdopted"),
        (Obstacle::None, "[delete Namespace/dp-a, status]", "Removing"),
    ] {
        let decision = remove(&observed(&status, &cluster), &obstacle, Timestamp::UNIX_EPOCH);
        assert_eq!(format!("{:?}", decision.writes), writes, "{obstacle:?}");
        assert_eq!(ready(&decision).unwrap().1, reason);
    }
    let gone = remove(&observed(&status, &BTreeMap::new()), &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!(ready(&gone), Some(("False".to_owned(), "Deleted".to_owned(), 1)));
}

#[test]
fn a_namespace_whose_create_had_no_answer_is_waited_for() {
    let (none, left) = (BTreeMap::new(), Duration::from_secs(7));
    let recorded = EnvironmentStatus { namespace: Some(NAMESPACE.to_owned()), ..EnvironmentStatus::default() };
    let waits = Observed { settles: Some(left), ..observed(&recorded, &none) };
    let decision = remove(&waits, &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!((ready(&decision).unwrap().1.as_str(), decision.wake), ("Settling", Some(left)));
    let Some(Write::Status(status)) = decision.writes.last() else { panic!() };
    assert_eq!((status.namespace.as_deref(), status.facts.len()), (Some(NAMESPACE), 0), "it may still come");
    let late = BTreeMap::from([(ObjectKind::Namespace.named(NAMESPACE), live(true, &[]))]);
    let decision = remove(&observed(status, &late), &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!(format!("{:?}", decision.writes), "[delete Namespace/dp-a, status]");
    let done = remove(&observed(status, &none), &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!(ready(&done).unwrap().1, "Deleted");
    let never = EnvironmentStatus::default();
    let nothing = Observed { settles: Some(left), ..observed(&never, &none) };
    let decision = remove(&nothing, &Obstacle::None, Timestamp::UNIX_EPOCH);
    assert_eq!(ready(&decision).unwrap().1, "Deleted", "a name is recorded before anything is made");
}

#[test]
fn a_namespace_that_is_going_is_not_asked_what_is_in_it() {
    let with = |live| BTreeMap::from([(ObjectKind::Namespace.named(NAMESPACE), live)]);
    assert!(exists_and_ours(NAMESPACE, &with(live(true, &[]))));
    assert!(!exists_and_ours(NAMESPACE, &with(live(false, &[]))));
    assert!(!exists_and_ours(NAMESPACE, &with(Live { terminating: true, ..live(true, &[]) })));
    assert!(!exists_and_ours(NAMESPACE, &BTreeMap::new()));
}

#[test]
fn a_pause_stops_writes_and_is_said() {
    let status = EnvironmentStatus::default();
    let cluster = BTreeMap::new();
    let paused = Observed { paused: Some("2030-01-01T00:00:00Z"), ..observed(&status, &cluster) };
    let decision = decide(&paused, Ok(&wanted()), None, Timestamp::UNIX_EPOCH);
    assert_eq!(format!("{:?}", decision.writes), "[status]");
}
