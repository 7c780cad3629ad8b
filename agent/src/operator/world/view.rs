//! From Kubernetes objects to the little of them that decisions look at.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::cluster_words::ClusterWords;
use super::index::JobView;
use super::mark::Mark;
use super::workload::{DeploymentView, GateView, PodView, ReplicaSetView, SliceView, Waiting};
use crate::kinds::conditions::timestamp;
use crate::kinds::labels::{CONTAINER, GATE};

const REVISION: &str = "deployment.kubernetes.io/revision";
const TEMPLATE_HASH: &str = "pod-template-hash";

fn annotation(metadata: &ObjectMeta, key: &str) -> Option<String> {
    metadata.annotations.as_ref()?.get(key).cloned()
}

fn label(metadata: &ObjectMeta, key: &str) -> Option<String> {
    metadata.labels.as_ref()?.get(key).cloned()
}

#[must_use]
pub fn deployment(object: &Deployment) -> DeploymentView {
    let status = object.status.as_ref();
    let failure = status.and_then(|status| status.conditions.as_ref()).and_then(|conditions| {
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
    });
    DeploymentView {
        generation: object.metadata.generation.unwrap_or_default(),
        observed_generation: status.and_then(|status| status.observed_generation).unwrap_or_default(),
        revision: annotation(&object.metadata, REVISION),
        desired: object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
        updated: status.and_then(|status| status.updated_replicas).unwrap_or_default(),
        total: status.and_then(|status| status.replicas).unwrap_or_default(),
        min_ready: object.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default(),
        available: status.and_then(|status| status.available_replicas).unwrap_or_default(),
        failure: failure.map(|condition| ClusterWords::of(condition.message.as_ref())),
    }
}

/// Of a ReplicaSet's head.
#[must_use]
pub fn replica_set(metadata: &ObjectMeta) -> ReplicaSetView {
    ReplicaSetView {
        template_hash: label(metadata, TEMPLATE_HASH).unwrap_or_default(),
        revision: annotation(metadata, REVISION),
    }
}

/// Of a pod.
#[must_use]
pub fn pod(object: &Pod) -> PodView {
    let status = object.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let condition = |name: &str| conditions.and_then(|all| all.iter().find(|condition| condition.type_ == name));
    let unschedulable = condition("PodScheduled")
        .filter(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
        .map(|condition| ClusterWords::of(condition.message.as_ref()));
    let ended_for = |reason: &str| status.and_then(|status| status.reason.as_deref()) == Some(reason);
    let container = status.and_then(|status| find(status.container_statuses.as_deref(), CONTAINER));
    let gate = status.and_then(|status| find(status.init_container_statuses.as_deref(), GATE));
    PodView {
        name: object.metadata.name.clone().unwrap_or_default(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        template_hash: label(&object.metadata, TEMPLATE_HASH),
        job: label(&object.metadata, "batch.kubernetes.io/job-name"),
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        terminating: object.metadata.deletion_timestamp.is_some(),
        unschedulable,
        restarts: container.map_or(0, |container| container.restart_count),
        out_of_memory: container
            .and_then(terminated)
            .filter(|(reason, _)| reason.is("OOMKilled"))
            .map(|_| memory_limit(object).unwrap_or_default()),
        waiting: container.and_then(waiting),
        terminated: container.and_then(terminated),
        started: started(container),
        finished: container
            .and_then(|container| container.state.as_ref()?.terminated.as_ref())
            .map(|ended| ended.finished_at.as_ref().map(|time| timestamp(time.0)).unwrap_or_default()),
        running: status.and_then(|status| status.phase.as_deref()) == Some("Running"),
        timed_out: ended_for("DeadlineExceeded"),
        evicted: ended_for("Evicted"),
        cannot_start: container.and_then(cannot_start),
        gate: gate.and_then(shut),
        image: ours(object).and_then(|container| container.image.as_deref()).map(Mark::of),
    }
}

fn find<'a>(all: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    all?.iter().find(|container| container.name == name)
}

fn ours(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)
}

fn memory_limit(pod: &Pod) -> Option<String> {
    Some(ours(pod)?.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

fn waiting(container: &ContainerStatus) -> Option<Waiting> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    Some(Waiting {
        reason: ClusterWords::of(waiting.reason.as_ref()),
        message: ClusterWords::of(waiting.message.as_ref()),
    })
}

/// The start gate, unless it has let the pod through.
fn shut(gate: &ContainerStatus) -> Option<GateView> {
    match (terminated(gate), waiting(gate)) {
        // While it runs again, this is the result of its last run.
        (Some((_, code)), _) => (code != Some(0)).then_some(GateView::GaveUp),
        (None, Some(waiting)) => Some(GateView::Waiting(waiting)),
        (None, None) => Some(GateView::Tries),
    }
}

fn terminated(container: &ContainerStatus) -> Option<(ClusterWords, Option<i32>)> {
    let ended = last_end(container)?;
    Some((ClusterWords::of(ended.reason.as_ref()), Some(ended.exit_code)))
}

/// Both runtimes and the kubelet have a word for it.
fn cannot_start(container: &ContainerStatus) -> Option<ClusterWords> {
    let ended = last_end(container)?;
    let never_began = matches!(ended.reason.as_deref(), Some("StartError" | "ContainerCannotRun"));
    never_began.then(|| ClusterWords::of(ended.message.as_ref()))
}

fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    [&container.state, &container.last_state].into_iter().find_map(|state| state.as_ref()?.terminated.as_ref())
}

fn started(container: Option<&ContainerStatus>) -> Option<String> {
    let state = container?.state.as_ref()?;
    let running = state.running.as_ref().and_then(|running| running.started_at.clone());
    let ended = state.terminated.as_ref().and_then(|ended| ended.started_at.clone());
    running.or(ended).map(|time| timestamp(time.0))
}

/// Of an EndpointSlice. One without ports sends nobody anywhere: its Service asks for a port that its pods do not have.
#[must_use]
pub fn slice(object: &EndpointSlice) -> SliceView {
    let served = object.ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let ready = object.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        served && conditions.and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    SliceView {
        service: label(&object.metadata, "kubernetes.io/service-name").unwrap_or_default(),
        ready: ready.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone()).collect(),
    }
}

#[must_use]
pub fn job(object: &Job) -> JobView {
    let status = object.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let condition = |name: &str| {
        conditions.and_then(|all| all.iter().find(|condition| condition.type_ == name && condition.status == "True"))
    };
    let failed = condition("Failed");
    let over = condition("Complete").or(failed).or_else(|| condition("Suspended"));
    let ended = over.and_then(|condition| condition.last_transition_time.clone());
    JobView {
        suspended: object.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or_default(),
        active: status.and_then(|status| status.active).unwrap_or_default(),
        attempts: status.map_or(0, |status| status.failed.unwrap_or(0).saturating_add(status.succeeded.unwrap_or(0))),
        complete: condition("Complete").is_some(),
        failed: failed.map(|condition| ClusterWords::of(condition.reason.as_ref())),
        started: status.and_then(|status| status.start_time.clone()).map(|time| timestamp(time.0)),
        ended: ended.map(|time| timestamp(time.0)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_slice_without_ports_sends_nobody_anywhere() {
        let of = |ports: Value| {
            let endpoint =
                json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"name": "web-1"}});
            let object = json!({"addressType": "IPv4", "metadata": {}, "endpoints": [endpoint], "ports": ports});
            slice(&serde_json::from_value(object).unwrap()).ready.len()
        };
        assert_eq!([of(json!([{"name": "http", "port": 8080}])), of(json!([])), of(json!(null))], [1, 0, 0]);
    }
}
