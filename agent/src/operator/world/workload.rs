//! What is kept of a workload: its Deployment, replica sets, pods, and who reaches them.

use std::collections::BTreeSet;

use super::cluster_words::ClusterWords;
use super::mark::Mark;

/// What is known of a release's workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its Deployment, if there is one.
    pub deployment: Option<DeploymentView>,
    /// Its replica sets.
    pub replica_sets: Vec<ReplicaSetView>,
    pub pods: Vec<PodView>,
    /// Ready pods by Service.
    pub slices: Vec<SliceView>,
}

/// What matters of a Deployment's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentView {
    /// `metadata.generation`.
    pub generation: i64,
    /// The generation that its controller has acted on.
    pub observed_generation: i64,
    /// Annotation `deployment.kubernetes.io/revision`.
    pub revision: Option<String>,
    /// `spec.replicas`.
    pub desired: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods of any template.
    pub total: i32,
    /// Seconds for which a pod has to stay ready before it counts.
    pub min_ready: i32,
    /// Pods of any template that have stayed ready for so long.
    pub available: i32,
    /// Message of condition `ReplicaFailure`.
    pub failure: Option<ClusterWords>,
}

impl DeploymentView {
    /// Whether its controller has seen the last write: then its counts are about that.
    #[must_use]
    pub const fn is_observed(&self) -> bool {
        self.observed_generation >= self.generation
    }
}

/// What matters of a ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSetView {
    /// Label `pod-template-hash`.
    pub template_hash: String,
    /// Annotation `deployment.kubernetes.io/revision`.
    pub revision: Option<String>,
}

/// What matters of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    pub name: String,
    pub namespace: String,
    /// Label `pod-template-hash`.
    pub template_hash: Option<String>,
    /// Label `job-name`.
    pub job: Option<String>,
    /// Condition `Ready`.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Message of the scheduler, if it found no node.
    pub unschedulable: Option<ClusterWords>,
    /// Restarts of its container.
    pub restarts: i32,
    /// Memory limit of its container, if that was ended for using more.
    pub out_of_memory: Option<String>,
    /// What the container waits for.
    pub waiting: Option<Waiting>,
    /// Reason and exit code of the last termination; no code where the customer does not want it told.
    pub terminated: Option<(ClusterWords, Option<i32>)>,
    /// Start of its container, RFC 3339.
    pub started: Option<String>,
    /// End of its container, RFC 3339, while it was not started again.
    pub finished: Option<String>,
    /// Whether any container of it runs or may run.
    pub running: bool,
    /// Whether the kubelet ended it since it took too long.
    pub timed_out: bool,
    /// Whether the kubelet ended it for room: a volume held more than its size, or the node had too little left.
    pub evicted: bool,
    /// Message of the runtime, if the last termination of its container is that it could not be started.
    pub cannot_start: Option<ClusterWords>,
    /// The start gate, while it holds the pod back.
    pub gate: Option<GateView>,
    /// Image of its container, as the API server has it. What a webhook makes of an image is the customer's own name, so of it only this is
    /// kept.
    pub image: Option<Mark>,
}

/// A start gate that has not let its pod through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateView {
    /// It waits for the network plugin.
    Tries,
    /// It has ended before the pod was closed; the kubelet may run it again.
    GaveUp,
    /// It does not run yet.
    Waiting(Waiting),
}

/// Why a container does not run yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Reason of the kubelet.
    pub reason: ClusterWords,
    /// Message of the kubelet, often with that of the runtime in it.
    pub message: ClusterWords,
}

/// What matters of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceView {
    /// Name of the Service.
    pub service: String,
    /// Names of pods that it sends requests to.
    pub ready: BTreeSet<String>,
}

impl PodView {
    /// Whether it may wait for a Secret that is gone. A pod of a rollout waits a little for anything, and its Secret was just made.
    #[must_use]
    pub fn lacks_its_secret(&self, rolling: bool) -> bool {
        let waits = self.waiting.as_ref().map(|waiting| waiting.reason.reason());
        match waits {
            Some("CreateContainerConfigError") => true,
            // A file of a Secret that is gone: the kubelet tries to mount it, and says no more than this.
            Some("ContainerCreating") => !rolling,
            Some(_) | None => false,
        }
    }

    /// Removes the exit code that the process chose, and keeps the reason.
    pub fn withhold_exit_code(&mut self) {
        if let Some((_, code)) = &mut self.terminated {
            *code = None;
        }
    }

    /// Our own sentence, and where to find the cluster's text.
    #[must_use]
    pub fn explained(&self, sentence: &str) -> String {
        format!("{sentence}; `kubectl describe pod {} -n {}` shows the cluster's own words", self.name, self.namespace)
    }
}
