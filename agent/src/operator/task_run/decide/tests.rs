use super::*;
use crate::operator::world::cluster_words::ClusterWords;

mod ends;

const NOW: &str = "2026-01-01T00:01:00Z";

fn blueprint() -> Result<Blueprint, Reason> {
    let job = json!({"kind": "Job", "metadata": {"name": "j", "namespace": "ns"}});
    Ok(Blueprint { namespace: "ns".to_owned(), revision: "r".to_owned(), job })
}

fn recorded() -> TaskRunStatus {
    TaskRunStatus {
        namespace: Some("ns".to_owned()),
        job: Some("j".to_owned()),
        revision: Some("r".to_owned()),
        ..TaskRunStatus::default()
    }
}

fn found(job: JobView, pods: Vec<PodView>) -> JobSeen {
    JobSeen::Found { uid: "u".to_owned(), resource_version: "1".to_owned(), terminating: false, job, pods }
}

fn round(status: &TaskRunStatus, job: &JobSeen, cancel: bool) -> (String, TaskRunStatus) {
    round_while(status, job, cancel, None)
}

fn round_while(
    status: &TaskRunStatus,
    job: &JobSeen,
    cancel: bool,
    settles: Option<Duration>,
) -> (String, TaskRunStatus) {
    round_under(None, status, job, cancel, settles)
}

fn round_under(
    denied: Option<&Reason>,
    status: &TaskRunStatus,
    job: &JobSeen,
    cancel: bool,
    settles: Option<Duration>,
) -> (String, TaskRunStatus) {
    round_at(NOW, denied, status, job, cancel, settles, false)
}

fn round_at(
    now: &str,
    denied: Option<&Reason>,
    status: &TaskRunStatus,
    job: &JobSeen,
    cancel: bool,
    settles: Option<Duration>,
    last_lines: bool,
) -> (String, TaskRunStatus) {
    let blueprint = blueprint();
    let again = json!({"kind": "Job", "metadata": {"name": "j"}, "spec": {}});
    let observed = observed(status, job, cancel, &blueprint);
    let observed = Observed { denied, recorded: Some(&again), settles, last_lines, ..observed };
    let decision = decide(&observed, now.parse().unwrap());
    let last = decision.writes.iter().find_map(Write::status).cloned();
    (format!("{:?}", decision.writes), last.unwrap_or_else(|| status.clone()))
}

fn observed<'a>(
    status: &'a TaskRunStatus,
    job: &'a JobSeen,
    cancel: bool,
    blueprint: &'a Result<Blueprint, Reason>,
) -> Observed<'a> {
    Observed {
        name: "run",
        uid: "t",
        generation: 3,
        fact_generation: 3,
        modified: None,
        cancel,
        status,
        blueprint: status.job.is_none().then_some(blueprint),
        denied: None,
        recorded: None,
        job,
        paused: None,
        settles: None,
        last_lines: false,
    }
}

#[test]
fn the_name_is_recorded_before_the_job_is_created() {
    let (writes, status) = round(&TaskRunStatus::default(), &JobSeen::Missing, false);
    assert_eq!(writes, "[status, create Job/j]");
    assert_eq!(status.job.as_deref(), Some("j"));
    let (writes, _) = round(&status, &JobSeen::Missing, false);
    assert_eq!(writes, "[create Job/j]", "it was recorded and never created");
}

#[test]
fn a_job_that_was_seen_and_is_gone_is_never_made_again() {
    let (_, status) = round(&recorded(), &found(JobView::default(), vec![]), false);
    assert_eq!(status.conditions[0].reason, "Pending");
    let (writes, status) = round(&status, &JobSeen::Missing, false);
    assert_eq!((writes.as_str(), status.result.as_deref()), ("[status]", Some("Unknown")));
}

#[test]
fn start_and_end_are_facts_with_the_exit_code() {
    let running = PodView { started: Some("2026-01-01T00:00:10Z".to_owned()), ..PodView::default() };
    let (_, status) =
        round(&recorded(), &found(JobView { active: 1, ..JobView::default() }, vec![running.clone()]), false);
    assert_eq!(status.facts[0].kind, FactKind::TaskStarted);
    let job = JobView {
        failed: Some(ClusterWords::new("BackoffLimitExceeded")),
        ended: Some("2026-01-01T00:00:59Z".to_owned()),
        ..JobView::default()
    };
    let (writes, waiting) = round(&status, &found(job.clone(), vec![running.clone()]), false);
    assert_eq!((writes.as_str(), waiting.result), ("[]", None), "the exit code is waited for");
    let ended = PodView { terminated: Some((ClusterWords::new("Error"), Some(3))), ..running };
    let (_, status) = round(&status, &found(job, vec![ended]), false);
    assert_eq!((status.result.as_deref(), status.exit_code), (Some("Failed"), Some(3)));
    assert_eq!((status.facts[1].kind, status.facts[1].exit_code), (FactKind::TaskEnded, Some(3)));
}

#[test]
fn the_exit_code_is_that_of_the_attempt_that_began_last() {
    let attempt = |name: &str, second: u32, code: i32| PodView {
        name: name.to_owned(),
        started: Some(format!("2026-01-01T00:00:{second}Z")),
        terminated: Some((ClusterWords::new("Error"), Some(code))),
        ..PodView::default()
    };
    let job = JobView { failed: Some(ClusterWords::new("BackoffLimitExceeded")), ..JobView::default() };
    let pods = vec![attempt("run-a", 30, 3), attempt("run-z", 10, 1)];
    let (_, status) = round(&recorded(), &found(job, pods), false);
    assert_eq!(status.exit_code, Some(3));
}

#[test]
fn while_not_all_attempts_are_seen_the_exit_code_is_waited_for_and_never_guessed() {
    let first = PodView {
        name: "run-a".to_owned(),
        started: Some("2026-01-01T00:00:10Z".to_owned()),
        terminated: Some((ClusterWords::new("Error"), Some(3))),
        ..PodView::default()
    };
    let job =
        |ended: &str| JobView { complete: true, attempts: 2, ended: Some(ended.to_owned()), ..JobView::default() };
    let (_, waiting) = round(&recorded(), &found(job("2026-01-01T00:00:59Z"), vec![first.clone()]), false);
    assert_eq!(waiting.result, None);
    let (_, late) = round(&recorded(), &found(job("2026-01-01T00:00:30Z"), vec![first.clone()]), false);
    assert_eq!((late.result.as_deref(), late.exit_code), (Some("Succeeded"), None));
    let last = PodView {
        name: "run-0".to_owned(),
        started: Some("2026-01-01T00:00:20Z".to_owned()),
        terminated: Some((ClusterWords::new("Completed"), Some(0))),
        ..PodView::default()
    };
    let (_, known) = round(&recorded(), &found(job("2026-01-01T00:00:59Z"), vec![first, last]), false);
    assert_eq!((known.result.as_deref(), known.exit_code), (Some("Succeeded"), Some(0)));
}

#[test]
fn a_cancelled_run_is_suspended_and_ends_when_its_pods_are_gone() {
    let active = JobView { active: 1, ..JobView::default() };
    let (writes, status) = round(&recorded(), &found(active, vec![]), true);
    assert_eq!(writes, "[apply Job/j, status]");
    let still = JobView { active: 1, suspended: true, ..JobView::default() };
    assert_eq!(round(&status, &found(still, vec![]), true).0, "[]");
    let (_, status) = round(&status, &found(JobView { suspended: true, ..JobView::default() }, vec![]), true);
    assert_eq!(status.result.as_deref(), Some("Cancelled"));
    let (_, status) = round(&TaskRunStatus::default(), &JobSeen::Missing, true);
    assert_eq!((status.result.as_deref(), status.job), (Some("Cancelled"), None));
}

#[test]
fn a_cancelled_run_whose_rendering_is_gone_is_stopped_with_its_job() {
    let (blueprint, status, now) = (blueprint(), recorded(), NOW.parse().unwrap());
    let active = found(JobView { active: 1, ..JobView::default() }, vec![]);
    let decision = decide(&observed(&status, &active, true, &blueprint), now);
    assert_eq!(format!("{:?}", decision.writes), "[delete Job/j, status]");
    let status = decision.writes.iter().find_map(Write::status).unwrap();
    let decision = decide(&observed(status, &JobSeen::Missing, true, &blueprint), now);
    let ended = decision.writes.iter().find_map(Write::status).unwrap();
    assert_eq!(ended.result.as_deref(), Some("Cancelled"));
}

#[test]
fn the_last_lines_of_a_cancelled_run_are_waited_for_where_somebody_may_read_them() {
    let job = JobView { active: 1, ..JobView::default() };
    let running = PodView { started: Some("2026-01-01T00:00:10Z".to_owned()), running: true, ..PodView::default() };
    let pods = found(job.clone(), vec![running]);
    let cancel =
        |now: &str, status: &TaskRunStatus, pods: &JobSeen| round_at(now, None, status, pods, true, None, true);
    let (writes, status) = cancel("2026-01-01T00:01:00Z", &recorded(), &pods);
    assert_eq!(writes, "[status]");
    assert!(conditions::is_true(&status.conditions, STOPPING));
    assert_eq!(cancel("2026-01-01T00:01:01Z", &status, &pods).0, "[]", "not yet");
    let (writes, status) = cancel("2026-01-01T00:01:02Z", &status, &pods);
    assert_eq!(writes, "[apply Job/j, status]");
    assert!(!conditions::is_true(&status.conditions, STOPPING));
    let nothing_ran = found(job, vec![PodView::default()]);
    assert!(cancel("2026-01-01T00:01:00Z", &recorded(), &nothing_ran).0.starts_with("[apply Job/j"));
}

#[test]
fn a_cancelled_run_whose_create_had_no_answer_is_not_called_ended() {
    let settles = Some(Duration::from_secs(9));
    let (writes, status) = round_while(&recorded(), &JobSeen::Missing, true, settles);
    assert_eq!((writes.as_str(), status.result.as_deref()), ("[status]", None));
    let late = found(JobView { active: 1, ..JobView::default() }, vec![]);
    assert_eq!(round_while(&status, &late, true, settles).0, "[apply Job/j, status]", "it is stopped when it comes");
    let (_, status) = round(&status, &JobSeen::Missing, true);
    assert_eq!(status.result.as_deref(), Some("Cancelled"));
}

#[test]
fn no_word_of_the_cluster_about_a_run_leaves_it() {
    use crate::operator::fixture::{CANARY, WAITING, planted_pod};
    use crate::operator::world::view;

    let job = |reason: &str| {
        let condition = json!({"type": "Failed", "status": "True", "reason": reason,
            "message": format!("Container {CANARY}"), "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let failed = json!({"spec": {"template": {}}, "status": {"conditions": [condition]}});
        view::job(&serde_json::from_value(failed).unwrap())
    };
    let running = JobView { active: 1, ..JobView::default() };
    let jobs = [running, job("BackoffLimitExceeded"), job("DeadlineExceeded"), job("PodFailurePolicy"), job(CANARY)];
    for job in jobs {
        for waiting in WAITING {
            for scheduled in [true, false] {
                let seen = found(job.clone(), vec![view::pod(&planted_pod(waiting, scheduled))]);
                let (writes, status) = round(&recorded(), &seen, false);
                let said = format!("{writes} {} {seen:?}", json!(status));
                assert!(!said.contains(CANARY), "{waiting}, scheduled {scheduled}: {said}");
                assert!(status.conditions.iter().any(|condition| condition.condition_type == "Ended"), "{said}");
            }
        }
    }
}

#[test]
fn a_run_at_the_start_gate_says_so_and_its_end_is_no_failure_of_the_task() {
    let at = |gate: GateView| PodView { gate: Some(gate), ..PodView::default() };
    let active = JobView { active: 1, ..JobView::default() };
    let ended = |status: &TaskRunStatus| {
        let ended = status.conditions.iter().find(|condition| condition.condition_type == "Ended").unwrap();
        (ended.reason.clone(), ended.message.clone())
    };
    let (_, status) = round(&recorded(), &found(active.clone(), vec![at(GateView::Tries)]), false);
    assert_eq!(ended(&status), ("Pending".to_owned(), progress::AT_THE_GATE.to_owned()));
    let failed = JobView {
        failed: Some(ClusterWords::new("BackoffLimitExceeded")),
        ended: Some("2026-01-01T00:00:00Z".to_owned()),
        ..JobView::default()
    };
    let (_, status) = round(&status, &found(failed, vec![at(GateView::GaveUp)]), false);
    assert_eq!((status.result.as_deref(), status.started, status.exit_code), (Some("Failed"), None, None));
    assert_eq!(status.facts.last().map(|fact| fact.reason.as_str()), Some("StartGate"), "{:?}", status.facts);
    // A gate that gave up in an earlier attempt does not count while a later one runs.
    let running = PodView { started: Some("2026-01-01T00:00:10Z".to_owned()), ..PodView::default() };
    let (_, status) = round(&recorded(), &found(active, vec![at(GateView::GaveUp), running]), false);
    assert_eq!(ended(&status).0, "Running");
}

#[test]
fn a_run_that_the_customer_no_longer_allows_waits_and_starts_when_it_is_allowed_again() {
    let denied = Reason::new("PolicyDenied", "DataPlanePolicy/default does not allow environment prod");
    let under = |denied, status: &TaskRunStatus, cancel| round_under(denied, status, &JobSeen::Missing, cancel, None);
    let waits = |status: &TaskRunStatus| {
        let stalled = status.conditions.iter().find(|condition| condition.condition_type == "Stalled").unwrap();
        assert_eq!((stalled.reason.as_str(), stalled.message.as_str()), ("PolicyDenied", denied.message.as_str()));
    };
    let (writes, status) = under(Some(&denied), &TaskRunStatus::default(), false);
    assert_eq!((writes.as_str(), &status.job, &status.result), ("[status]", &None, &None));
    waits(&status);
    assert_eq!(under(Some(&denied), &status, false).0, "[]", "it is said once");
    assert_eq!(under(None, &status, false).0, "[status, create Job/j]");
    // Recorded, and the policy changed before the Job was created.
    let (writes, status) = under(Some(&denied), &recorded(), false);
    assert_eq!(writes, "[status]");
    waits(&status);
    assert_eq!(under(None, &status, false).0, "[create Job/j, status]");
    // What runs goes on, and whoever waits may be cancelled.
    let running = found(JobView { active: 1, ..JobView::default() }, vec![]);
    let (_, status) = round_under(Some(&denied), &recorded(), &running, false, None);
    assert!(status.conditions.iter().all(|condition| condition.condition_type != "Stalled"), "{status:?}");
    let (_, status) = under(Some(&denied), &TaskRunStatus::default(), true);
    assert_eq!(status.result.as_deref(), Some("Cancelled"));
}

#[test]
fn a_run_that_starts_unasked_is_found() {
    let denied = Reason::new("PolicyDenied", "no");
    let start = || {
        let starts = |status: &TaskRunStatus| {
            round_under(Some(&denied), status, &JobSeen::Missing, false, None).0.contains("create Job/j")
        };
        (starts(&TaskRunStatus::default()), starts(&recorded()))
    };
    mutant::choose(Some(Mutant::PolicyNotAskedForRuns));
    let mistaken = start();
    mutant::choose(None);
    assert_eq!((mistaken, start()), ((true, true), (false, false)));
}

fn ended(seconds: u32, reason: &str, code: i32) -> PodView {
    PodView {
        name: "j-a".to_owned(),
        started: Some("2026-01-01T00:00:00Z".to_owned()),
        finished: Some(format!("2026-01-01T00:00:{seconds:02}Z")),
        terminated: Some((ClusterWords::new(reason), Some(code))),
        ..PodView::default()
    }
}

#[test]
fn an_attempt_that_the_kubelet_ended_took_too_long() {
    let failed = Some(ClusterWords::new("BackoffLimitExceeded"));
    let job = JobView { attempts: 1, failed, ended: Some("2026-01-01T00:00:50Z".to_owned()), ..JobView::default() };
    let pod = PodView { timed_out: true, ..ended(50, "Error", 137) };
    let (_, status) = round(&recorded(), &found(job, vec![pod]), false);
    let why = status.conditions.iter().find(|condition| condition.condition_type == "Ended").unwrap();
    assert_eq!((status.result.as_deref(), why.reason.as_str()), (Some("Failed"), "TimedOut"));
}

#[test]
fn a_run_ends_with_its_own_container_whatever_else_runs_in_the_pod() {
    let job = JobView { active: 1, ..JobView::default() };
    for (seconds, reason, code, result) in
        [(20, "Completed", 0, Some("Succeeded")), (20, "Error", 3, Some("Failed")), (55, "Completed", 0, None)]
    {
        let pod = PodView { running: true, ..ended(seconds, reason, code) };
        let (_, status) = round(&recorded(), &found(job.clone(), vec![pod]), false);
        assert_eq!((status.result.as_deref(), status.exit_code), (result, result.map(|_| code)), "{seconds} {reason}");
    }
    let between_attempts = found(job, vec![ended(20, "Error", 3)]);
    assert_eq!(
        round(&recorded(), &between_attempts, false).1.result,
        None,
        "the pod has ended, so another attempt comes"
    );
}
