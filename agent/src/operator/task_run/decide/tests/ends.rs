//! Why a run does not begin, and why it ended.

use super::*;
use crate::operator::world::view;
use crate::operator::world::workload::Waiting;

fn waiting(reason: &str, message: &str) -> PodView {
    let (reason, message) = (ClusterWords::new(reason), ClusterWords::new(message));
    PodView { name: "j-a".to_owned(), waiting: Some(Waiting { reason, message }), ..PodView::default() }
}

fn condition(status: &TaskRunStatus, name: &str) -> (String, String) {
    let found = status.conditions.iter().find(|condition| condition.condition_type == name);
    found.map(|found| (found.reason.clone(), found.message.clone())).unwrap_or_default()
}

/// A Job that is over since its pods have failed, long enough ago for their states to have come.
fn failed(reason: &str) -> JobView {
    let ended = Some("2026-01-01T00:00:50Z".to_owned());
    JobView { attempts: 1, failed: Some(ClusterWords::new(reason)), ended, ..JobView::default() }
}

fn at(now: &str, status: &TaskRunStatus, job: &JobSeen) -> TaskRunStatus {
    round_at(now, None, status, job, false, None, false).1
}

#[test]
fn a_job_that_makes_no_pod_for_long_leads_to_the_quota() {
    let job = JobView { started: Some("2026-01-01T00:00:50Z".to_owned()), ..JobView::default() };
    let early = at("2026-01-01T00:00:59Z", &recorded(), &found(job.clone(), vec![]));
    assert_eq!((condition(&early, "Ended").0.as_str(), condition(&early, "Stalled").0.as_str()), ("Pending", ""));
    let late = at("2026-01-01T00:01:00Z", &early, &found(job.clone(), vec![]));
    let (reason, message) = condition(&late, "Stalled");
    assert_eq!(reason, "NoPod");
    assert!(message.contains("quota may be full; `kubectl get events -n ns`"), "{message}");
    let active = JobView { active: 1, ..job };
    let made = at("2026-01-01T00:01:01Z", &late, &found(active, vec![]));
    assert_eq!((condition(&made, "Ended").0.as_str(), condition(&made, "Stalled").0.as_str()), ("Pending", ""));
}

#[test]
fn the_job_of_a_run_that_waited_for_its_pod_is_not_made_again_when_it_is_gone() {
    let active = JobView { active: 1, ..JobView::default() };
    for reason in ["ErrImagePull", "CreateContainerConfigError", "RunContainerError"] {
        let (_, status) = round(&recorded(), &found(active.clone(), vec![waiting(reason, "")]), false);
        let (writes, status) = round(&status, &JobSeen::Missing, false);
        assert_eq!((writes.as_str(), status.result.as_deref()), ("[status]", Some("Unknown")), "{reason}");
    }
}

#[test]
fn a_run_whose_time_was_over_before_it_began_says_what_it_waited_for() {
    let active = JobView { active: 1, ..JobView::default() };
    let pull = waiting("ImagePullBackOff", "r.test/a@sha256:0: not found");
    let (_, status) = round(&recorded(), &found(active.clone(), vec![pull.clone()]), false);
    assert_eq!(condition(&status, "Stalled").0, "ImagePull");
    // The kubelet ends the pod, and the Job is over a moment later.
    let gone = PodView { timed_out: true, waiting: None, ..pull };
    let status = at(NOW, &status, &found(active, vec![gone.clone()]));
    assert_eq!(condition(&status, "Stalled").0, "ImagePull", "it stays known");
    for reason in ["BackoffLimitExceeded", "DeadlineExceeded"] {
        let over = found(failed(reason), vec![gone.clone()]);
        let soon = at("2026-01-01T00:00:51Z", &status, &over);
        assert_eq!((soon.result.as_deref(), condition(&soon, "Stalled").0.as_str()), (None, "ImagePull"), "{reason}");
        let (why, message) = condition(&at(NOW, &soon, &over), "Ended");
        assert_eq!(why, "TimedOut");
        let lead =
            "the task did not start within task.timeoutSeconds: the image cannot be pulled: the registry has no such";
        assert!(message.starts_with(lead), "{message}");
    }
    let (_, status) = round(&recorded(), &found(failed("DeadlineExceeded"), vec![]), false);
    assert_eq!(condition(&status, "Ended").1, "the task did not start within task.timeoutSeconds");
}

#[test]
fn a_run_that_fails_says_by_what_where_the_cluster_tells() {
    let mounts = "error mounting \"/a\" to rootfs at \"/bin/x\": not a directory";
    let started = |code: i32| super::ended(50, "Error", code);
    let unstarted = json!({"metadata": {"name": "j-a"}, "status": {"phase": "Failed", "containerStatuses": [{
        "name": "main", "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
        "state": {"terminated": {"reason": "StartError", "exitCode": 128, "message": mounts}},
    }]}});
    for (pod, reason, part) in [
        (started(3), "Failed", "is not tried again; its log says why"),
        (
            PodView { out_of_memory: Some("64Mi".to_owned()), ..started(137) },
            "Failed",
            "is not tried again: it used more memory than its limit of 64Mi (OOMKilled); raise resources.memoryLimit",
        ),
        (
            PodView { evicted: true, ..started(137) },
            "Evicted",
            "its pod was evicted: it wrote more than a volume's size, or the node lacks room; raise volumes[].size or write less",
        ),
        (
            view::pod(&serde_json::from_value(unstarted).unwrap()),
            "Failed",
            "is not tried again: a file or a volume cannot be put at its path; check the paths of files",
        ),
    ] {
        let (_, status) = round(&recorded(), &found(failed("BackoffLimitExceeded"), vec![pod.clone()]), false);
        let (why, message) = condition(&status, "Ended");
        assert!(why == reason && message.contains(part), "{pod:?}: {why} {message}");
        assert_eq!(status.result.as_deref(), Some("Failed"));
    }
    // Its container has ended and another one of its pod runs on.
    let outlived =
        PodView { running: true, out_of_memory: Some("64Mi".to_owned()), ..super::ended(20, "OOMKilled", 137) };
    let (_, status) = round(&recorded(), &found(JobView { active: 1, ..JobView::default() }, vec![outlived]), false);
    let (_, message) = condition(&status, "Ended");
    assert!(message.contains("its limit of 64Mi (OOMKilled)") && message.contains("run on"), "{message}");
}

#[test]
fn a_run_whose_files_cannot_be_put_at_their_paths_says_so() {
    let pod = waiting("RunContainerError", "error mounting \"/a\" to rootfs at \"/bin/x\": no such file or directory");
    let (_, status) = round(&recorded(), &found(JobView { active: 1, ..JobView::default() }, vec![pod]), false);
    let (reason, message) = condition(&status, "Stalled");
    assert!(
        reason == "CannotMount" && message.contains("check the paths of files, secret files and volumes"),
        "{message}"
    );
}

#[test]
fn a_run_whose_pod_can_never_start_has_failed_at_once() {
    let active = JobView { active: 1, ..JobView::default() };
    let root = "container has runAsNonRoot and image will run as root (pod: \"j-a_ns(u)\", container: main)";
    for (waits, words, reason) in
        [("CreateContainerConfigError", root, "RootImage"), ("InvalidImageName", "", "InvalidImageName")]
    {
        let (writes, status) = round(&recorded(), &found(active.clone(), vec![waiting(waits, words)]), false);
        assert_eq!((writes.as_str(), status.result.as_deref()), ("[status]", Some("Failed")), "{reason}");
        assert_eq!((condition(&status, "Ended").0.as_str(), condition(&status, "Stalled").0.as_str()), (reason, ""));
        assert_eq!((status.started.as_deref(), status.exit_code), (None, None));
    }
    // A Secret may still come.
    let config = waiting("CreateContainerConfigError", "secret \"x\" not found");
    let (_, status) = round(&recorded(), &found(active, vec![config]), false);
    assert_eq!((status.result.as_deref(), condition(&status, "Stalled").0.as_str()), (None, "Configuration"));
}
