//! How a rollout goes: judged from the pods, so that one that cannot start says why at once and not at the deadline.
//!
//! *Failed*: the new pods fail by themselves, and waiting will not change that. *Stalled*: the cluster or the customer has to
//! provide something; the rollout goes on by itself then, and the deadline stands still meanwhile.

use std::collections::BTreeSet;

use crate::kinds::conditions::Reason;
use crate::operator::world::cluster_words::ClusterWords;
use crate::operator::world::workload::{GateView, PodView, Waiting, Workload};

impl Waiting {
    /// Why the image cannot be pulled, for a sentence, if it is that.
    fn pull_failure(&self) -> Option<&'static str> {
        let pull = matches!(
            self.reason.reason(),
            "ErrImagePull"
                | "ImagePullBackOff"
                | "ImageInspectError"
                | "RegistryUnavailable"
                | "ErrImageNeverPull"
                | "SignatureValidationFailed"
        );
        pull.then(|| self.message.pull_failure())
    }
}

/// What is under way until the Deployment's controller has seen what was written. One sentence, since each takes a write of status.
pub const APPLYING: &str = "objects are being applied";

/// What is under way while the start gate tries.
pub const AT_THE_GATE: &str = "the start gate still waits: the network plugin has not closed the new pod yet";

/// Why a container is not started whose files or volumes cannot be put at their paths.
pub(in crate::operator) const CANNOT_MOUNT: &str = "CannotMount";

/// Why the kubelet evicts a pod, as far as anybody here can tell, and what to do: the end of a sentence.
pub(in crate::operator) const WHY_EVICTED: &str =
    "it wrote more than a volume's size, or the node lacks room; raise volumes[].size or write less";

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The new pods serve, on every Service.
    Serving,
    /// Under way.
    Progressing(String),
    /// Waits for somebody else.
    Stalled(Reason),
    /// Will not become ready.
    Failed(Reason),
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

    /// The verdict on the newest template, when the Deployment is as wanted. `services` are the names that must reach the pods.
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
        if let Some(why) = self.newest_pods().find_map(hopeless) {
            return Verdict::Failed(why);
        }
        let ready: BTreeSet<&str> = self.newest_pods().filter(|pod| pod.ready).map(|pod| pod.name.as_str()).collect();
        let wanted = usize::try_from(deployment.desired).unwrap_or_default();
        if ready.len() >= wanted && deployment.updated >= deployment.desired {
            // Pods of older templates count as available too, so they have to be gone.
            let stay = deployment.available >= deployment.desired && deployment.total <= deployment.updated;
            if deployment.min_ready > 0 && !stay {
                return Verdict::Progressing(format!(
                    "new pods are ready and have to stay so for {} s",
                    deployment.min_ready
                ));
            }
            return self.reachable(services, &ready, wanted);
        }
        let present = || self.newest_pods().filter(|pod| !pod.evicted);
        if let Some(why) = present().find_map(waiting_for_others).or_else(|| self.refused()) {
            return Verdict::Stalled(why);
        }
        // It stays in the list beside the one that takes its place.
        if self.newest_pods().any(|pod| pod.evicted) {
            return Verdict::Progressing(format!("new pods are starting; one of them was evicted: {WHY_EVICTED}"));
        }
        if present().any(|pod| pod.gate == Some(GateView::Tries)) {
            return Verdict::Progressing(AT_THE_GATE.to_owned());
        }
        let again = present().filter(|pod| pod.restarts > 0 && !pod.ready).max_by_key(|pod| pod.restarts);
        Verdict::Progressing(again.map_or_else(
            || "new pods are starting".to_owned(),
            |pod| format!("new pods are starting; a container ended and is started again, last{}", death(pod)),
        ))
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
    fn refused(&self) -> Option<Reason> {
        let failure = self.deployment.as_ref()?.failure.as_ref()?;
        let shown = "`kubectl get events` in its namespace shows the refusal";
        Some(if failure.speaks_of_quota() {
            Reason::new("Quota", format!("the namespace's quota leaves no room for the new pods; {shown}"))
        } else {
            Reason::new("PolicyDenied", format!("the cluster refuses the new pods at admission; {shown}"))
        })
    }
}

/// Why a pod fails by itself.
fn hopeless(pod: &PodView) -> Option<Reason> {
    // Another one takes its place, perhaps on another node.
    if pod.evicted {
        return None;
    }
    let waiting = pod.waiting.as_ref();
    let reason = waiting.map_or("", |waiting| waiting.reason.reason());
    // Between two starts some kubelets show the wait, others only that the container has ended.
    if (pod.finished.is_some() || reason == "CrashLoopBackOff") && pod.restarts >= CRASH_LOOP_RESTARTS {
        if let Some(message) = &pod.cannot_start {
            return Some(cannot_start(pod, message));
        }
        return Some(Reason::new("CrashLoop", format!("the new container ends again and again{}", death(pod))));
    }
    let started_before =
        pod.restarts >= 1 && matches!(reason, "RunContainerError" | "CreateContainerError" | "StartError");
    if started_before {
        return Some(cannot_start(pod, &waiting?.message));
    }
    never_starts(pod)
}

/// Why the container of a pod of a release or a run can never be started, whatever others do.
pub(in crate::operator) fn never_starts(pod: &PodView) -> Option<Reason> {
    let waiting = pod.waiting.as_ref()?;
    match waiting.reason.reason() {
        "InvalidImageName" => {
            Some(Reason::new("InvalidImageName", pod.explained("the kubelet refuses the image's name")))
        }
        "CreateContainerConfigError" if waiting.message.speaks_of_root() => Some(Reason::new(
            "RootImage",
            "the image runs as root, or names its user by name so that nobody can tell, and this environment does not allow it; \
             set a numeric USER in the image, or security.runAsUser in the component file",
        )),
        _ => None,
    }
}

fn cannot_start(pod: &PodView, message: &ClusterWords) -> Reason {
    let class = if message.speaks_of_mounts() { CANNOT_MOUNT } else { "CannotStart" };
    Reason::new(class, pod.explained(message.start_failure()))
}

/// That the container of a pod used too much memory: the end of a sentence.
pub(in crate::operator) fn out_of_memory(pod: &PodView) -> Option<String> {
    pod.out_of_memory.as_ref().map(|limit| {
        let limit = if limit.is_empty() { String::new() } else { format!(" of {limit}") };
        format!(": it used more memory than its limit{limit} (OOMKilled); raise resources.memoryLimit, or have the program use less")
    })
}

/// How the container of a pod ended last, and where to look: the end of a sentence.
pub(super) fn death(pod: &PodView) -> String {
    if let Some(memory) = out_of_memory(pod) {
        return memory;
    }
    let code = pod.terminated.as_ref().and_then(|(_, code)| *code);
    let exit = pod.terminated.as_ref().map_or_else(String::new, |(reason, code)| match code {
        Some(code) => format!(" with exit code {code} ({})", reason.reason()),
        None => format!(" ({})", reason.reason()),
    });
    // 128 and the number of SIGKILL or SIGTERM: somebody stopped it.
    if matches!(code, Some(137 | 143)) {
        return format!(
            "{exit}; if a liveness probe stops it while it starts, give it probes.startup; else its log says why"
        );
    }
    format!("{exit}; its log says why")
}

/// What a pod of a release or a run waits for that others have to provide.
pub(in crate::operator) fn waiting_for_others(pod: &PodView) -> Option<Reason> {
    if let Some(message) = &pod.unschedulable {
        let sentence = format!("no node takes the pod: {}", message.lacking());
        return Some(Reason::new("Unschedulable", pod.explained(&sentence)));
    }
    if let Some(gate) = &pod.gate {
        return gate_is_shut(pod, gate);
    }
    let waiting = pod.waiting.as_ref()?;
    if let Some(failure) = waiting.pull_failure() {
        let check = "check that the digest exists and the pull secret is right";
        return Some(Reason::new(
            "ImagePull",
            pod.explained(&format!("the image cannot be pulled: {failure}; {check}")),
        ));
    }
    match waiting.reason.reason() {
        "CreateContainerConfigError" => Some(Reason::new(
            "Configuration",
            pod.explained("the kubelet cannot put the container's configuration together"),
        )),
        _ => None,
    }
}

/// What the customer has to change so that the start gate lets a pod through, once that can be known.
fn gate_is_shut(pod: &PodView, gate: &GateView) -> Option<Reason> {
    let check = "check startGate.image of DataPlanePolicy/default and the pull secret of its registry";
    let waiting = match gate {
        GateView::Tries => return None,
        GateView::GaveUp => {
            let sentence = "the start gate does not let the pod through: the network plugin does not close it, or the cluster's DNS does \
                            not answer; the log of its container start-gate says which";
            return Some(Reason::new("StartGate", pod.explained(sentence)));
        }
        GateView::Waiting(waiting) => waiting,
    };
    if let Some(failure) = waiting.pull_failure() {
        let sentence = format!("the image of the start gate cannot be pulled: {failure}; {check}");
        return Some(Reason::new("ImagePull", pod.explained(&sentence)));
    }
    match waiting.reason.reason() {
        "CreateContainerConfigError"
        | "CreateContainerError"
        | "RunContainerError"
        | "StartError"
        | "InvalidImageName" => {
            Some(Reason::new("StartGate", pod.explained(&format!("the start gate cannot be started; {check}"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
