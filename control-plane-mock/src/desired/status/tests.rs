use super::*;

fn wish(answer: Option<Verdict>) -> Stored {
    Stored {
        key: ResourceKey { kind: Kind::Release, name: "r".into() },
        generation: 7,
        hash: String::new(),
        state: Desired::Present,
        body: String::new(),
        provenance: None,
        answer,
        answer_schema: Some(1),
        accepted: false,
        quarantined: false,
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        condition_type: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: Some(7),
        last_transition_time: String::new(),
    }
}

#[test]
fn a_wish_for_an_absent_data_plane_waits_and_says_so() {
    let (phase, message) = explain(&wish(None), None, &[], &Link::default(), None);
    assert_eq!(phase, "Waiting");
    assert!(message.contains("never connected"), "{message}");
}

#[test]
fn a_refusal_carries_the_policys_own_words() {
    let reasons = vec![FieldError { field: "/image".into(), message: "registry evil.test is not allowed".into() }];
    let answer = Verdict::Refused { class: RefusalClass::Policy, reasons };
    let (phase, message) = explain(&wish(Some(answer)), None, &[], &Link::default(), None);
    assert_eq!(phase, "Refused");
    assert!(
        message.starts_with("the customer's policy forbids it: /image: registry evil.test is not allowed"),
        "{message}"
    );
}

#[test]
fn ready_counts_only_at_the_wanted_generation() {
    let link = Link { connected: true, ..Link::default() };
    let mut state = State {
        observed_generation: Some(6),
        conditions: vec![condition("Ready", "True", "Serving", "")],
        ..State::default()
    };
    assert_eq!(explain(&wish(Some(Verdict::Already)), Some(&state), &[], &link, None).0, "Progressing");
    state.observed_generation = Some(7);
    assert_eq!(explain(&wish(Some(Verdict::Already)), Some(&state), &[], &link, None).0, "Ready");
}

#[test]
fn what_an_edit_in_the_cluster_made_of_a_generation_counts_and_is_said() {
    let link = Link { connected: true, ..Link::default() };
    let fact = |kind: protocol::report::FactKind| Fact {
        id: format!("u/7/{}/1", kind.as_str()),
        kind,
        generation: 7,
        at: String::new(),
        reason: "R".into(),
        message: "no such image".into(),
        exit_code: None,
        count: None,
    };
    let modified = condition("Modified", "True", "ChangedInCluster", "spec.image is not as generation 7 came");
    let explained = |more: &[Condition], facts: &[Fact]| {
        let conditions = more.iter().chain([&modified]).cloned().collect();
        let state = State { observed_generation: Some(7), conditions, ..State::default() };
        explain(&wish(Some(Verdict::Already)), Some(&state), facts, &link, None)
    };
    let failed = [fact(FactKind::Failed), fact(FactKind::RolledBack)];
    let (phase, message) = explained(&[condition("Ready", "True", "Serving", "all pods serve")], &failed);
    assert_eq!((phase, message.as_str()), ("Ready", "all pods serve; spec.image is not as generation 7 came"));
    let image = condition("ImageRewritten", "True", "ChangedInCluster", "pods run another image");
    let (_, message) = explained(&[condition("Ready", "True", "Serving", "all pods serve"), image], &[]);
    assert_eq!(message, "all pods serve; spec.image is not as generation 7 came; pods run another image");
    assert_eq!(explained(&[condition("Ready", "False", "Failed", "")], &failed).0, "RolledBack");
    let now =
        [condition("Failed", "True", "CrashLoop", "it ends with 1"), condition("RolledBack", "True", "R", "back")];
    let (phase, message) = explained(&now, &[fact(FactKind::Ready)]);
    assert_eq!(phase, "RolledBack");
    assert!(message.starts_with("it failed (CrashLoop: it ends with 1)"), "{message}");
    assert_eq!(explained(&now[..1], &[fact(FactKind::Ready)]).0, "Failed");
}

#[test]
fn what_stalls_is_told_rather_than_that_it_is_not_ready() {
    let link = Link { connected: true, ..Link::default() };
    let state = State {
        observed_generation: Some(7),
        conditions: vec![
            condition("Ready", "False", "Rollout", "waiting"),
            condition("Stalled", "True", "ImagePull", "image not found; check the name"),
        ],
        ..State::default()
    };
    let (phase, message) = explain(&wish(Some(Verdict::Already)), Some(&state), &[], &link, None);
    assert_eq!((phase, message.as_str()), ("Stalled", "ImagePull: image not found; check the name"));
}

#[test]
fn a_failure_says_whether_an_earlier_release_serves() {
    let link = Link { connected: true, ..Link::default() };
    let failed = condition("Failed", "True", "RootImage", "the image runs as root");
    let back = condition("RolledBack", "True", "RolloutFailed", "the last good revision serves again");
    let said = |effective: Option<i64>, serving: Option<&str>, back: Option<&Condition>| {
        let effective = effective.map(|generation| protocol::report::Effective {
            generation: Some(generation),
            revision: "r".into(),
            image: "i".into(),
        });
        let conditions = std::iter::once(&failed).chain(back).cloned().collect();
        let state = State { observed_generation: Some(7), conditions, effective, ..State::default() };
        explain(&wish(Some(Verdict::Already)), Some(&state), &[], &link, serving)
    };
    let words = "RootImage: the image runs as root";
    assert_eq!(said(Some(5), Some("v1.0/3"), None), ("Failed", format!("{words}; v1.0/3 serves on")));
    assert_eq!(said(Some(5), None, None), ("Failed", format!("{words}; the last good release serves on")));
    assert_eq!(said(None, None, None), ("Failed", format!("{words}; there is no earlier release to go back to")));
    let rolled = said(Some(5), Some("v1.0/3"), Some(&back));
    assert_eq!(rolled, ("RolledBack", format!("it failed ({words}); v1.0/3 serves again")));
}

#[test]
fn the_state_of_an_older_generation_is_no_reason_for_a_removal() {
    let link = Link { connected: true, ..Link::default() };
    let wish = Stored { state: Desired::Absent, ..wish(Some(Verdict::Already)) };
    let conditions = vec![condition("Ready", "True", "Serving", "all pods serve on every endpoint")];
    let mut state = State { observed_generation: Some(6), conditions, ..State::default() };
    let said = |state: &State| explain(&wish, Some(state), &[], &link, None);
    assert_eq!(said(&state), ("Removing", "its objects are being removed".to_owned()));
    state.observed_generation = Some(7);
    state.conditions = vec![condition("Ready", "False", "Removing", "pods are being stopped")];
    assert_eq!(said(&state), ("Removing", "Removing: pods are being stopped".to_owned()));
}

#[test]
fn a_run_is_running_and_not_rolled_out() {
    let link = Link { connected: true, ..Link::default() };
    let key = ResourceKey { kind: Kind::TaskRun, name: "r".into() };
    let wish = Stored { key, ..wish(Some(Verdict::Already)) };
    let mut state = State { observed_generation: Some(7), ..State::default() };
    assert_eq!(explain(&wish, Some(&state), &[], &link, None), ("Progressing", "running".to_owned()));
    state.conditions = vec![condition("Ended", "False", "Running", "the task runs")];
    assert_eq!(explain(&wish, Some(&state), &[], &link, None), ("Progressing", "Running: the task runs".to_owned()));
}
