use super::*;
use crate::operator::world::cluster_words::ClusterWords;
use crate::operator::world::workload::{DeploymentView, ReplicaSetView, SliceView};

fn rolling(pods: Vec<PodView>) -> Workload {
    let deployment = DeploymentView {
        generation: 2,
        observed_generation: 2,
        revision: Some("2".to_owned()),
        desired: 1,
        updated: 1,
        total: 2,
        failure: None,
        ..DeploymentView::default()
    };
    let set = |hash: &str, revision: &str| ReplicaSetView {
        template_hash: hash.to_owned(),
        revision: Some(revision.to_owned()),
    };
    Workload {
        deployment: Some(deployment),
        replica_sets: vec![set("old", "1"), set("new", "2")],
        pods,
        slices: vec![],
    }
}

fn pod(hash: &str) -> PodView {
    PodView { name: format!("web-{hash}"), template_hash: Some(hash.to_owned()), ..PodView::default() }
}

fn waiting(reason: &str, message: &str) -> PodView {
    let (reason, message) = (ClusterWords::new(reason), ClusterWords::new(message));
    PodView { waiting: Some(Waiting { reason, message }), restarts: 3, ..pod("new") }
}

#[test]
fn pods_that_cannot_start_say_why_at_once() {
    for (pod, expected) in [
        (waiting("CrashLoopBackOff", "back-off"), "failed CrashLoop"),
        (PodView { restarts: 1, ..waiting("CrashLoopBackOff", "back-off") }, "progressing"),
        (PodView { finished: Some(String::new()), restarts: 2, ..pod("new") }, "failed CrashLoop"),
        (PodView { finished: Some(String::new()), restarts: 1, ..pod("new") }, "progressing"),
        (
            waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            "failed RootImage",
        ),
        (waiting("CreateContainerConfigError", "secret \"x\" not found"), "stalled Configuration"),
        (waiting("InvalidImageName", ""), "failed InvalidImageName"),
        (waiting("RunContainerError", "no such file"), "failed CannotStart"),
        (waiting("RunContainerError", "error mounting \"/a\" to rootfs at \"/b\": no such file"), "failed CannotMount"),
        (
            PodView { cannot_start: Some(ClusterWords::new("exec: no such file")), ..waiting("CrashLoopBackOff", "") },
            "failed CannotStart",
        ),
        (waiting("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: not found"), "stalled ImagePull"),
        (waiting("ContainerCreating", ""), "progressing"),
        (PodView { unschedulable: Some(ClusterWords::new("0/1 nodes")), ..pod("new") }, "stalled Unschedulable"),
        (PodView { template_hash: Some("old".to_owned()), ..waiting("CrashLoopBackOff", "") }, "progressing"),
        (PodView { terminating: true, ..waiting("CrashLoopBackOff", "") }, "progressing"),
        (PodView { ready: true, ..pod("new") }, "serving"),
        (PodView { ready: true, ..pod("old") }, "progressing"),
    ] {
        assert_eq!(word(&rolling(vec![pod.clone()]).verdict(&[])), expected, "{pod:?}");
    }
}

#[test]
fn a_pod_that_is_ready_once_does_not_serve_yet() {
    let mut workload = rolling(vec![PodView { ready: true, ..pod("new") }]);
    let deployment = workload.deployment.as_mut().unwrap();
    (deployment.min_ready, deployment.available) = (5, 1);
    assert_eq!(word(&workload.verdict(&[])), "progressing", "the one that has stayed ready may be of the old template");
    workload.deployment.as_mut().unwrap().total = 1;
    assert_eq!(word(&workload.verdict(&[])), "serving");
    workload.deployment.as_mut().unwrap().available = 0;
    assert_eq!(word(&workload.verdict(&[])), "progressing");
}

#[test]
fn a_container_that_used_too_much_memory_names_its_limit() {
    let ended = Some((ClusterWords::new("OOMKilled"), Some(137)));
    let dead = PodView {
        finished: Some(String::new()),
        restarts: 2,
        terminated: ended,
        out_of_memory: Some("64Mi".to_owned()),
        ..pod("new")
    };
    let said = format!("{:?}", rolling(vec![dead.clone()]).verdict(&[]));
    assert!(said.contains("more memory than its limit of 64Mi (OOMKilled); raise resources.memoryLimit"), "{said}");
    let dead = PodView { out_of_memory: Some(String::new()), ..dead };
    let said = format!("{:?}", rolling(vec![dead]).verdict(&[]));
    assert!(said.contains("more memory than its limit (OOMKilled)"), "{said}");
}

#[test]
fn a_pod_that_was_evicted_makes_way_for_another_and_says_why_while_none_serves() {
    use crate::operator::world::view;
    let evicted = |reason: &str| {
        let status = serde_json::json!({"phase": "Failed", "reason": reason, "message": "Usage of EmptyDir volume exceeds",
            "containerStatuses": [{"name": "main", "ready": false, "restartCount": 3, "image": "i", "imageID": "i",
                "state": {"terminated": {"reason": "Error", "exitCode": 137}}}]});
        let pod = serde_json::json!({"metadata": {"name": "web-gone", "labels": {"pod-template-hash": "new"}}, "status": status});
        view::pod(&serde_json::from_value(pod).unwrap())
    };
    let said = |pods| rolling(pods).verdict(&[]);
    let Verdict::Progressing(doing) = said(vec![evicted("Evicted"), pod("new")]) else { panic!("it fails") };
    assert!(doing.ends_with(
        "evicted: it wrote more than a volume's size, or the node lacks room; raise volumes[].size or write less"
    ));
    assert_eq!(word(&said(vec![evicted("Evicted"), PodView { ready: true, ..pod("new") }])), "serving");
    assert_eq!(word(&said(vec![evicted("Preempting"), pod("new")])), "failed CrashLoop");
}

#[test]
fn a_container_that_is_stopped_again_and_again_while_it_starts_leads_to_the_startup_probe() {
    let stopped =
        |code: Option<i32>| PodView { restarts: 1, terminated: Some((ClusterWords::new("Error"), code)), ..pod("new") };
    let said = |code| format!("{:?}", rolling(vec![stopped(code)]).verdict(&[]));
    for code in [137, 143] {
        let said = said(Some(code));
        assert!(
            said.contains(&format!("started again, last with exit code {code} (Error)"))
                && said.contains("probes.startup"),
            "{said}"
        );
    }
    for code in [Some(1), None] {
        assert!(!said(code).contains("probes.startup") && said(code).contains("its log says why"));
    }
}

#[test]
fn a_pod_at_the_start_gate_says_what_it_waits_for_in_words_of_our_own() {
    use crate::operator::fixture;
    use crate::operator::world::view;
    for (state, reason, expected, part) in [
        ("tries", "", "progressing", "the start gate still waits"),
        ("tries again", "", "stalled StartGate", "does not let the pod through"),
        ("ended", "", "stalled StartGate", "log of its container start-gate"),
        ("passed", "", "progressing", "new pods are starting"),
        ("waits", "PodInitializing", "progressing", "new pods are starting"),
        ("waits", "ErrImagePull", "stalled ImagePull", "image of the start gate cannot be pulled"),
        ("waits", "CreateContainerError", "stalled StartGate", "startGate.image of DataPlanePolicy/default"),
        ("waits", fixture::CANARY, "progressing", "new pods are starting"),
    ] {
        let pod =
            PodView { job: None, restarts: 0, terminated: None, ..view::pod(&fixture::planted_gate(state, reason)) };
        let verdict = rolling(vec![pod]).verdict(&[]);
        let said = format!("{verdict:?}");
        assert_eq!(word(&verdict), expected, "{state} {reason}: {said}");
        assert!(said.contains(part) && !said.contains(fixture::CANARY), "{state} {reason}: {said}");
    }
}

#[test]
fn ready_pods_serve_only_when_every_service_reaches_them() {
    let mut workload = rolling(vec![PodView { ready: true, ..pod("new") }, PodView { ready: true, ..pod("old") }]);
    let services = ["web-http".to_owned()];
    assert_eq!(word(&workload.verdict(&services)), "progressing");
    workload.slices.push(SliceView { service: "web-http".to_owned(), ready: BTreeSet::from(["web-old".to_owned()]) });
    assert_eq!(word(&workload.verdict(&services)), "progressing", "the old pod does not count");
    workload.slices.push(SliceView { service: "web-http".to_owned(), ready: BTreeSet::from(["web-new".to_owned()]) });
    assert_eq!(word(&workload.verdict(&services)), "serving");
}

#[test]
fn nothing_is_judged_before_the_controller_has_seen_it() {
    let mut workload = rolling(vec![PodView { ready: true, ..pod("new") }]);
    workload.deployment.as_mut().unwrap().observed_generation = 1;
    assert_eq!(word(&workload.verdict(&[])), "progressing");
}

#[test]
fn refused_pods_stall_and_say_by_whom_they_are_refused() {
    let mut workload = rolling(vec![]);
    let failure = |message: &str| Some(ClusterWords::new(message));
    workload.deployment.as_mut().unwrap().failure = failure("pods is forbidden: exceeded quota: pdp");
    assert_eq!(word(&workload.verdict(&[])), "stalled Quota");
    workload.deployment.as_mut().unwrap().failure = failure("admission webhook \"no\" denied the request: no");
    assert_eq!(word(&workload.verdict(&[])), "stalled PolicyDenied");
}

#[test]
fn messages_do_not_change_with_every_try() {
    let said = |reason: &str, message: &str| rolling(vec![waiting(reason, message)]).verdict(&[]);
    let cause = "failed to pull image \"r.test/timeout\": r.test/timeout@sha256:0: not found";
    let first = said("ErrImagePull", cause);
    let again = format!("Back-off pulling image \"r.test/timeout\": ErrImagePull: {cause}");
    assert_eq!(first, said("ImagePullBackOff", &again));
    assert!(matches!(&first, Verdict::Stalled(why) if why.message.contains("has no such image")), "{first:?}");
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Serving => "serving".to_owned(),
        Verdict::Progressing(_) => "progressing".to_owned(),
        Verdict::Stalled(why) => format!("stalled {}", why.reason),
        Verdict::Failed(why) => format!("failed {}", why.reason),
    }
}
