//! Why a run waits and why it failed, in words of our own.

use crate::kinds::conditions::Reason;
use crate::operator::release::progress::{self, CANNOT_MOUNT, WHY_EVICTED};
use crate::operator::world::cluster_words::ClusterWords;
use crate::operator::world::workload::{GateView, PodView, Waiting};

/// Where to look when nothing is known: the end of a sentence.
const LOG: &str = "; its log says why";

/// Whether the task's container ever ran.
pub(super) enum Began {
    Yes,
    /// Why it waited, if that is known.
    Never(Option<Reason>),
}

pub(super) fn running() -> Reason {
    Reason::new("Running", "the task runs")
}

pub(super) fn starting() -> Reason {
    Reason::new("Pending", "the task's pod is being started")
}

/// Why no pod is there although its Job is. The Job's controller tells it only in an event, which is not read.
pub(super) fn no_pod(namespace: &str) -> Reason {
    let shown = format!("`kubectl get events -n {namespace}` shows the refusal");
    Reason::new("NoPod", format!("no pod could be made yet: the environment's quota may be full; {shown}"))
}

/// Whether a reason of condition `Ended` says that the run's Job was there.
pub(super) fn tells_of_a_job(reason: &str) -> bool {
    matches!(
        reason,
        "Running"
            | "Pending"
            | "NoPod"
            | "Unschedulable"
            | "StartGate"
            | "ImagePull"
            | "Configuration"
            | CANNOT_MOUNT
            | "CreateContainerError"
            | "RunContainerError"
            | "StartError"
            | "InvalidImageName"
    )
}

/// Why a pod of the run does not start.
pub(super) fn waits(pod: &PodView) -> Option<Reason> {
    // Its Job makes another one, or ends.
    if pod.evicted {
        return None;
    }
    if let Some(why) = progress::waiting_for_others(pod) {
        return Some(why);
    }
    let Waiting { reason, message } = pod.waiting.as_ref()?;
    match reason.reason() {
        reason @ ("CreateContainerError" | "RunContainerError" | "StartError") => {
            let class = if message.speaks_of_mounts() { CANNOT_MOUNT } else { reason };
            Some(Reason::new(class, pod.explained(message.start_failure())))
        }
        _ => None,
    }
}

/// Why the run failed, whose Job has failed for the reason `job`. `last` is the pod of the last attempt, if its container has ended.
pub(super) fn failed(job: &ClusterWords, last: Option<&PodView>, pods: &[PodView], began: &Began) -> Reason {
    let late = |pod: &PodView| pod.timed_out;
    match began {
        Began::Never(waited) if job.is("DeadlineExceeded") || pods.iter().any(late) => {
            let why = waited.as_ref().map_or_else(String::new, |waited| format!(": {}", waited.message));
            return Reason::new("TimedOut", format!("the task did not start within task.timeoutSeconds{why}"));
        }
        Began::Never(_) if pods.iter().any(|pod| pod.gate == Some(GateView::GaveUp)) => {
            return Reason::new(
                "StartGate",
                "the task did not start: its start gate ended before the network plugin had closed the pod, or the \
                 cluster's DNS does not answer; have the platform team look, and run it again",
            );
        }
        Began::Yes if job.is("DeadlineExceeded") || last.is_some_and(late) => {
            return Reason::new(
                "TimedOut",
                "the task took longer than task.timeoutSeconds; its log says how far it came",
            );
        }
        Began::Yes | Began::Never(_) => {}
    }
    let lead =
        if job.is("BackoffLimitExceeded") { "the task failed and is not tried again" } else { "the task failed" };
    let evicted = last.map_or_else(|| pods.iter().any(|pod| pod.evicted), |pod| pod.evicted);
    if evicted {
        return Reason::new("Evicted", format!("{lead}: its pod was evicted: {WHY_EVICTED}"));
    }
    Reason::new("Failed", format!("{lead}{}", last.map_or_else(|| LOG.to_owned(), death)))
}

/// How the container of a pod ended, and where to look: the end of a sentence.
pub(super) fn death(pod: &PodView) -> String {
    let never_began = || {
        let message = pod.cannot_start.as_ref()?;
        Some(format!(": {}", pod.explained(message.start_failure())))
    };
    progress::out_of_memory(pod).or_else(never_began).unwrap_or_else(|| LOG.to_owned())
}
