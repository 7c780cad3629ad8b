//! How a rollout goes: judged from the pods, so that one that cannot start says why at once and not at the deadline.
//!
//! *Failed* is what the new pods do to themselves and what will not change by waiting. *Stalled* is what the cluster or the
//! customer has to give; it goes on by itself, and the deadline stands still meanwhile.

use std::collections::BTreeSet;

use super::cluster_words::ClusterWords;
use super::report::Trouble;

/// What is known of a release's workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its Deployment, if there is one.
    pub deployment: Option<DeploymentView>,
    /// Its replica sets.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Its pods.
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
    /// Message of condition `ReplicaFailure`.
    pub failure: Option<ClusterWords>,
}

impl DeploymentView {
    /// Whether its controller has seen what was written last: what it says of pods is about that.
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
    /// Name.
    pub name: String,
    /// Its namespace.
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
    /// What the container waits for.
    pub waiting: Option<Waiting>,
    /// Reason and exit code of the last termination; no code where the customer does not want it told.
    pub terminated: Option<(ClusterWords, Option<i32>)>,
    /// Start of its container, RFC 3339.
    pub started: Option<String>,
}

/// Why a container does not run yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Reason of the kubelet.
    pub reason: ClusterWords,
    /// Message of the kubelet, often with that of the runtime in it.
    pub message: ClusterWords,
}

impl PodView {
    /// How it ended, without the number that its process chose.
    pub fn withhold_exit_code(&mut self) {
        if let Some((_, code)) = &mut self.terminated {
            *code = None;
        }
    }

    /// A sentence of our own, and where the cluster's stands.
    #[must_use]
    pub fn explained(&self, sentence: &str) -> String {
        format!("{sentence}; `kubectl describe pod {} -n {}` shows the cluster's own words", self.name, self.namespace)
    }
}

/// What matters of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceView {
    /// Name of the Service.
    pub service: String,
    /// Names of pods that it sends requests to.
    pub ready: BTreeSet<String>,
}

/// What is under way until the Deployment's controller has seen what was written. One sentence, since each takes a write of status.
pub const APPLYING: &str = "objects are being applied";

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The new pods serve, on every Service.
    Serving,
    /// Under way.
    Progressing(String),
    /// Waits for somebody else.
    Stalled(Trouble),
    /// Will not become ready.
    Failed(Trouble),
}

/// Restarts from which on a crash is a loop: one may be a dependency that was late.
const CRASH_LOOP_RESTARTS: i32 = 2;

impl Workload {
    /// `pod-template-hash` of the newest template.
    #[must_use]
    pub fn newest_hash(&self) -> Option<&str> {
        let revision = self.deployment.as_ref()?.revision.as_ref()?;
        let newest = self.replica_sets.iter().find(|set| set.revision.as_ref() == Some(revision))?;
        Some(&newest.template_hash)
    }

    /// Pods of the newest template that are not on their way out.
    pub fn newest_pods(&self) -> impl Iterator<Item = &PodView> {
        let hash = self.newest_hash().map(str::to_owned);
        self.pods.iter().filter(move |pod| !pod.terminating && hash.is_some() && pod.template_hash == hash)
    }

    /// Whether pods of older templates still exist.
    #[must_use]
    pub fn draining(&self) -> bool {
        let hash = self.newest_hash();
        self.pods.iter().any(|pod| pod.job.is_none() && pod.template_hash.as_deref() != hash)
    }

    /// How the newest template does, when the Deployment is as wanted. `services` are the names that must reach the pods.
    #[must_use]
    pub fn verdict(&self, services: &[String]) -> Verdict {
        let Some(deployment) = &self.deployment else {
            return Verdict::Progressing(APPLYING.to_owned());
        };
        if !deployment.is_observed() {
            return Verdict::Progressing(APPLYING.to_owned());
        }
        if deployment.desired == 0 {
            return if deployment.total == 0 {
                Verdict::Serving
            } else {
                Verdict::Progressing("pods are being stopped".to_owned())
            };
        }
        if let Some(trouble) = self.newest_pods().find_map(hopeless) {
            return Verdict::Failed(trouble);
        }
        let ready: BTreeSet<&str> = self.newest_pods().filter(|pod| pod.ready).map(|pod| pod.name.as_str()).collect();
        let wanted = usize::try_from(deployment.desired).unwrap_or_default();
        if ready.len() >= wanted && deployment.updated >= deployment.desired {
            return self.reachable(services, &ready, wanted);
        }
        if let Some(trouble) = self.newest_pods().find_map(waiting_for_others).or_else(|| self.refused()) {
            return Verdict::Stalled(trouble);
        }
        Verdict::Progressing("new pods are starting".to_owned())
    }

    fn reachable(&self, services: &[String], ready: &BTreeSet<&str>, wanted: usize) -> Verdict {
        for service in services {
            let slices = self.slices.iter().filter(|slice| slice.service == *service);
            let reached = slices.flat_map(|slice| &slice.ready).filter(|pod| ready.contains(pod.as_str())).count();
            if reached < wanted {
                return Verdict::Progressing(format!(
                    "pods are ready and Service {service} does not reach all of them yet"
                ));
            }
        }
        Verdict::Serving
    }

    /// Pods that the API server refused to the replica set.
    fn refused(&self) -> Option<Trouble> {
        let failure = self.deployment.as_ref()?.failure.as_ref()?;
        let shown = "`kubectl get events` in its namespace shows the refusal";
        Some(if failure.speaks_of_quota() {
            Trouble::new("Quota", format!("the namespace's quota leaves no room for the new pods; {shown}"))
        } else {
            Trouble::new("PolicyDenied", format!("the cluster refuses the new pods at admission; {shown}"))
        })
    }
}

/// What a pod does to itself.
fn hopeless(pod: &PodView) -> Option<Trouble> {
    let Waiting { reason, message } = pod.waiting.as_ref()?;
    let exit = pod.terminated.as_ref().map_or_else(String::new, |(reason, code)| match code {
        Some(code) => format!(" with exit code {code} ({})", reason.reason()),
        None => format!(" ({})", reason.reason()),
    });
    match reason.reason() {
        "CrashLoopBackOff" if pod.restarts >= CRASH_LOOP_RESTARTS => {
            Some(Trouble::new("CrashLoop", format!("the new container ends again and again{exit}; its log says why")))
        }
        "InvalidImageName" => {
            Some(Trouble::new("InvalidImageName", pod.explained("the kubelet refuses the image's name")))
        }
        "CreateContainerConfigError" if message.speaks_of_root() => Some(Trouble::new(
            "RootImage",
            "the image runs as root or its user is not numeric, and this environment does not allow it; set a numeric USER in \
             the image or security.runAsUser in the release",
        )),
        "RunContainerError" | "CreateContainerError" | "StartError" if pod.restarts >= 1 => {
            let sentence = format!("{}; check command and args", message.start_failure());
            Some(Trouble::new("CannotStart", pod.explained(&sentence)))
        }
        _ => None,
    }
}

/// What others have to give, to a pod of a release or of a run.
pub(super) fn waiting_for_others(pod: &PodView) -> Option<Trouble> {
    if let Some(message) = &pod.unschedulable {
        let sentence = format!("no node takes the pod: {}", message.lacking());
        return Some(Trouble::new("Unschedulable", pod.explained(&sentence)));
    }
    let Waiting { reason, message } = pod.waiting.as_ref()?;
    match reason.reason() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "ErrImageNeverPull"
        | "SignatureValidationFailed" => {
            let check = "check that the digest exists and the pull secret is right";
            let sentence = format!("the image cannot be pulled: {}; {check}", message.pull_failure());
            Some(Trouble::new("ImagePull", pod.explained(&sentence)))
        }
        "CreateContainerConfigError" => Some(Trouble::new(
            "Configuration",
            pod.explained("the kubelet cannot put the container's configuration together"),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
