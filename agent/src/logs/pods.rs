//! Which container instances there are, and which of them to read next. No IO.
//!
//! The end of a log stream says nothing: the API server, the kubelet and proxies cut streams at will. Only the pod tells whether
//! an instance has ended, so each decision is made from the pod's status and from how far the source was read.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::line::Position;
use crate::kinds::labels::GATE;

/// One container of one pod, as its status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// `pod/container`, by name.
    pub(crate) source: String,
    /// Name of the pod.
    pub(crate) pod: String,
    /// Uid of the pod.
    pub(crate) uid: String,
    /// Name of the container.
    pub(crate) container: String,
    /// Id whose log the API serves; none before the first start.
    pub(crate) current: Option<String>,
    /// Id whose log it serves as the previous one.
    pub(crate) previous: Option<String>,
    /// The current one still runs.
    pub(crate) running: bool,
    /// It will not start again.
    pub(crate) over: bool,
}

/// All containers of the pods that have one, oldest pod first. The start gate is the customer's and no part of the component.
pub(crate) fn instances(pods: &[Pod]) -> Vec<Instance> {
    let mut sorted: Vec<&Pod> = pods.iter().collect();
    sorted.sort_by(|a, b| {
        (&a.metadata.creation_timestamp, &a.metadata.name).cmp(&(&b.metadata.creation_timestamp, &b.metadata.name))
    });
    let mut found = Vec::new();
    for pod in sorted {
        let (Some(name), Some(uid), Some(status)) = (&pod.metadata.name, &pod.metadata.uid, &pod.status) else {
            continue;
        };
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let init = status.init_container_statuses.iter().flatten();
        for container in init.chain(status.container_statuses.iter().flatten()) {
            if container.name != GATE {
                found.push(instance(name, uid, over, container));
            }
        }
    }
    found
}

/// The choice of ids follows the kubelet's own (`validateContainerLogStatus`): while a container waits to be started again, its
/// last one is served as the current one.
fn instance(pod: &str, uid: &str, over: bool, status: &ContainerStatus) -> Instance {
    let id = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let state = status.state.as_ref();
    let running = state.is_some_and(|state| state.running.is_some());
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let last =
        status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).and_then(|end| id(&end.container_id));
    let (current, previous) = if running {
        (id(&status.container_id), last)
    } else if let Some(end) = terminated {
        (id(&end.container_id), last)
    } else {
        (last, None)
    };
    Instance {
        source: format!("{pod}/{}", status.name),
        pod: pod.to_owned(),
        uid: uid.to_owned(),
        container: status.name.clone(),
        current,
        previous,
        running,
        over: over && !running,
    }
}

/// How far a source was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Instance that is or was read.
    pub(crate) id: Option<String>,
    /// Last line of it that was sent.
    pub(crate) position: Option<Position>,
    /// It has ended and was read to its end.
    pub(crate) complete: bool,
}

/// What to do next with a source that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing to read now.
    Wait,
    /// Read this instance, after the position if it is the one that was read before.
    Read {
        id: String,
        /// As the previous one.
        previous: bool,
        /// It still runs: keep reading.
        live: bool,
        /// Instances in between are lost.
        gap: bool,
    },
    /// Everything was read and nothing more comes.
    Ended,
    /// The pod is gone.
    Deleted,
}

/// Decides from the pod's status.
pub(crate) fn plan(view: Option<&Instance>, progress: &Progress) -> Plan {
    let Some(view) = view else { return Plan::Deleted };
    let Some(current) = &view.current else {
        return if view.over { Plan::Ended } else { Plan::Wait };
    };
    let read = |id: &String, previous: bool, gap: bool| Plan::Read {
        id: id.clone(),
        previous,
        live: view.running && !previous,
        gap,
    };
    let Some(id) = &progress.id else { return read(current, false, false) };
    let is_previous = view.previous.as_ref() == Some(id);
    match (id == current, progress.complete) {
        (true, false) => read(current, false, false),
        (true, true) if view.over => Plan::Ended,
        (true, true) => Plan::Wait,
        (false, false) if is_previous => read(id, true, false),
        (false, _) => read(current, false, !is_previous),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(phase: &str, state: &Value, last: &Value, id: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "uid": "u"},
            "status": {"phase": phase, "containerStatuses": [{
                "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": id, "state": state, "lastState": last
            }]}
        }))
        .unwrap()
    }

    #[test]
    fn the_ids_are_those_that_the_kubelet_would_serve() {
        let running = json!({"running": {}});
        let ended = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": id}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        for (name, pod, expected) in [
            ("first run", pod("Running", &running, &json!({}), "c1"), (Some("c1"), None, true, false)),
            ("after a restart", pod("Running", &running, &ended("c1"), "c2"), (Some("c2"), Some("c1"), true, false)),
            ("between two runs", pod("Running", &waiting, &ended("c1"), "c1"), (Some("c1"), None, false, false)),
            (
                "ended, to be started again",
                pod("Running", &ended("c2"), &ended("c1"), "c2"),
                (Some("c2"), Some("c1"), false, false),
            ),
            ("ended for good", pod("Succeeded", &ended("c1"), &json!({}), "c1"), (Some("c1"), None, false, true)),
            ("not started", pod("Pending", &json!({"waiting": {}}), &json!({}), ""), (None, None, false, false)),
        ] {
            let found = instances(&[pod]).remove(0);
            let Instance { current, previous, running, over, .. } = &found;
            assert_eq!((current.as_deref(), previous.as_deref(), *running, *over), expected, "{name}");
        }
    }

    #[test]
    fn what_is_read_next_follows_from_the_pod_and_from_what_was_read() {
        let view = |current: &str, previous: &str, running: bool, over: bool| Instance {
            source: "web/main".into(),
            pod: "web".into(),
            uid: "u".into(),
            container: "main".into(),
            current: Some(current.to_owned()).filter(|id| !id.is_empty()),
            previous: Some(previous.to_owned()).filter(|id| !id.is_empty()),
            running,
            over,
        };
        let at = |id: &str, complete: bool| Progress { id: Some(id.into()), position: None, complete };
        let read = |id: &str, previous: bool, live: bool, gap: bool| Plan::Read { id: id.into(), previous, live, gap };
        for (name, view, progress, expected) in [
            ("first", view("c1", "", true, false), Progress::default(), read("c1", false, true, false)),
            (
                "first, of a task that has ended",
                view("c1", "", false, true),
                Progress::default(),
                read("c1", false, false, false),
            ),
            ("a cut of the API", view("c1", "", true, false), at("c1", false), read("c1", false, true, false)),
            ("it has ended meanwhile", view("c1", "", false, false), at("c1", false), read("c1", false, false, false)),
            ("it was read to its end", view("c1", "", false, false), at("c1", true), Plan::Wait),
            ("for good", view("c1", "", false, true), at("c1", true), Plan::Ended),
            (
                "restarted: last words first",
                view("c2", "c1", true, false),
                at("c1", false),
                read("c1", true, false, false),
            ),
            ("then the new one", view("c2", "c1", true, false), at("c1", true), read("c2", false, true, false)),
            (
                "restarted twice: one is lost",
                view("c3", "c2", true, false),
                at("c1", true),
                read("c3", false, true, true),
            ),
            (
                "the same, and the rest of the first",
                view("c3", "c2", true, false),
                at("c1", false),
                read("c3", false, true, true),
            ),
            ("not started yet", view("", "", false, false), Progress::default(), Plan::Wait),
            ("never started", view("", "", false, true), Progress::default(), Plan::Ended),
        ] {
            assert_eq!(plan(Some(&view), &progress), expected, "{name}");
        }
        assert_eq!(plan(None, &at("c1", true)), Plan::Deleted);
    }
}
