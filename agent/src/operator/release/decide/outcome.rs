//! What status says after a decision: conditions, counts, pods, addresses.

use jiff::Timestamp;
use protocol::report::{EndpointState, FactKind, PodState, Replicas};

use super::{ContentState, Observed, content_state};
use crate::kinds::ReleaseStatus;
use crate::kinds::conditions::{self, Conditions, Reason, STOPPING};
use crate::kinds::labels::RELEASE;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::modified::{self, Ledger};
use crate::operator::release::progress::Verdict;
use crate::operator::world::mark::Mark;
use crate::operator::world::workload::{DeploymentView, PodView};

/// Condition that says whether the last good revision serves again after a failure.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// Condition with the outcome of the generation that was reported: the first one, even if an edit in the cluster leads to another
/// later.
const CONCLUDED: &str = "Concluded";

/// Condition that says that pods run another image than the one that was asked for.
const IMAGE_REWRITTEN: &str = "ImageRewritten";

/// The outcome of this generation that was reported, if one was.
pub(super) fn reported(observed: &Observed<'_>) -> Option<FactKind> {
    let generation = Some(observed.identity.generation);
    let reported = observed.status.conditions.iter().find(|condition| condition.condition_type == CONCLUDED);
    let reason = reported.filter(|reported| reported.observed_generation == generation)?.reason.as_str();
    [FactKind::Ready, FactKind::Failed, FactKind::RolledBack].into_iter().find(|kind| kind.as_str() == reason)
}

/// Pods that are listed at most.
const MAX_PODS: usize = 10;

/// What the decision found.
pub(super) struct Seen<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) contested: Option<&'a Reason>,
    pub(super) in_the_way: Option<&'a Reason>,
    /// The outcome that was reported.
    pub(super) reported: Option<FactKind>,
    /// Why its pods are stopped once their last lines were read.
    pub(super) stopping: Option<&'a Reason>,
}

pub(super) fn describe(observed: &Observed<'_>, seen: &Seen<'_>, status: &mut ReleaseStatus, now: Timestamp) {
    let stands = content_state(status, observed.identity);
    if stands != ContentState::New || observed.blocked.is_some() {
        status.observed_generation = Some(observed.identity.generation);
    }
    let mut conditions = Conditions::new(&observed.status.conditions, observed.identity.generation, now);
    let (ready, why) = ready(observed, seen, status, stands);
    conditions.set("Ready", ready, &why);
    let stalled = stalled(observed, seen, status);
    if let Some(why) = stalled {
        conditions.set("Stalled", true, why);
        if why.reason == "PolicyDenied" {
            conditions.set("PolicyDenied", true, why);
        }
    }
    if stands == ContentState::Failed
        && let Some(failed) = &status.failed
    {
        conditions.set("Failed", true, &Reason::new(&failed.reason, failed.message.clone()));
        if status.effective.is_some() {
            let back = *seen.verdict == Verdict::Serving && observed.status.rollout.is_none();
            let already = conditions::is_true(&observed.status.conditions, ROLLED_BACK);
            let what = if back || already {
                "the last good revision serves again"
            } else {
                "going back to the last good revision"
            };
            conditions.set(ROLLED_BACK, back || already, &Reason::new("RolloutFailed", what));
        }
    }
    if let Some(why) = seen.stopping {
        let what = "goes back to the last good revision once the last lines of its pods were read";
        conditions.set(STOPPING, true, &Reason::new(&why.reason, what));
    }
    if let Some(why) = seen.contested {
        conditions.set("Contested", true, why);
    }
    let why = another_image(observed);
    // While that cannot be told, what stands stays: pods come and go, and each change would be a write.
    if rewritten(observed).unwrap_or_else(|| conditions.is_set(IMAGE_REWRITTEN, &why)) {
        conditions.set(IMAGE_REWRITTEN, true, &why);
    }
    conditions.paused(observed.paused);
    if let Some(reported) = seen.reported {
        let what = Reason::new(reported.as_str(), "the first outcome of this generation, as it was told");
        conditions.set(CONCLUDED, true, &what);
    }
    let ledger = Ledger { uid: &observed.identity.uid, facts: &mut status.facts, last: &mut status.last_fact };
    modified::tell(observed.identity.modified.as_ref(), &mut conditions, ledger);
    status.conditions = conditions.finish();
    counts(observed, status);
}

/// Whether a pod of what shall run has another image than was asked for. None where it cannot be told: there is no such pod yet, or the
/// Deployment itself differs, which is repaired or contested.
fn rewritten(observed: &Observed<'_>) -> Option<bool> {
    let target = observed.target?;
    let mut wanted = target.objects.iter().filter_map(object::reference);
    let (_, deployment) = wanted.find(|(kind, _)| *kind == ObjectKind::Deployment)?;
    let is_as_wanted = observed.live.get(&deployment)?.drift.is_empty();
    let is_observed = observed.workload.deployment.as_ref().is_some_and(DeploymentView::is_observed);
    if !is_as_wanted || !is_observed {
        return None;
    }
    let asked = Mark::of(target.rendering.image.as_str());
    let mut images = observed.workload.newest_pods().filter_map(|pod| pod.image).peekable();
    images.peek()?;
    Some(images.any(|image| image != asked))
}

/// Without the image: what a webhook makes of one is the customer's own name for it.
fn another_image(observed: &Observed<'_>) -> Reason {
    let (name, namespace) = (&observed.identity.name, observed.status.namespace.as_deref().unwrap_or_default());
    let sentence = "pods run another image than was asked for: an admission webhook of the cluster, or a person, changed it, and it is \
                    left as it is";
    let shown = format!("`kubectl get pods -n {namespace} -l {RELEASE}={name} -o yaml` shows which one");
    Reason::new("ChangedInCluster", format!("{sentence}; {shown}"))
}

fn ready(observed: &Observed<'_>, seen: &Seen<'_>, status: &ReleaseStatus, stands: ContentState) -> (bool, Reason) {
    let serving_on = || match status.effective.as_ref() {
        Some(effective) => effective.generation.map_or_else(
            || "; the last good revision serves on".to_owned(),
            |generation| format!("; generation {generation} serves on"),
        ),
        None => String::new(),
    };
    if let Some(blocked) = observed.blocked {
        return (false, Reason::new(&blocked.reason, format!("{}{}", blocked.message, serving_on())));
    }
    match stands {
        ContentState::Failed => {
            let failed = status.failed.as_ref();
            let reason = failed.map_or("Failed", |failed| failed.reason.as_str());
            let message = failed.map_or("", |failed| failed.message.as_str());
            let after = if status.effective.is_some() {
                format!("went back to the last good revision; a new generation is needed{}", serving_on())
            } else {
                "there is no earlier revision to go back to, its pods are left for inspection; a new generation is needed".to_owned()
            };
            (false, Reason::new(reason, format!("{message}; {after}")))
        }
        ContentState::Effective => match seen.verdict {
            Verdict::Serving => (true, serving(observed)),
            Verdict::Progressing(doing) => (false, Reason::new("NotServing", doing.clone())),
            Verdict::Stalled(why) | Verdict::Failed(why) => (false, why.clone()),
        },
        ContentState::Rolling | ContentState::New => match seen.verdict {
            Verdict::Stalled(why) => (false, Reason::new(&why.reason, format!("{}{}", why.message, serving_on()))),
            Verdict::Serving => (false, Reason::new("RollingOut", format!("the new pods are ready{}", serving_on()))),
            Verdict::Progressing(doing) => (false, Reason::new("RollingOut", format!("{doing}{}", serving_on()))),
            Verdict::Failed(why) => (false, why.clone()),
        },
    }
}

/// The reason for a release that is as wanted.
fn serving(observed: &Observed<'_>) -> Reason {
    let endpoints = observed.target.is_some_and(|target| !target.rendering.addresses.is_empty());
    match observed.workload.deployment.as_ref().filter(|_| observed.target.is_some_and(|target| target.serves())) {
        None => Reason::new("Runnable", "the task can be run; it has no pods of its own, each run gets one"),
        Some(deployment) if deployment.desired == 0 => {
            Reason::new("Serving", "the release asks for no pods, and none runs")
        }
        Some(_) if endpoints => Reason::new("Serving", "all pods serve on every endpoint"),
        Some(_) => Reason::new("Serving", "all pods are ready; the release has no endpoints"),
    }
}

fn stalled<'a>(observed: &Observed<'a>, seen: &Seen<'a>, status: &ReleaseStatus) -> Option<&'a Reason> {
    if let Some(blocked) = observed.blocked {
        return Some(blocked);
    }
    match seen.verdict {
        Verdict::Stalled(why) if status.rollout.is_some() => Some(why),
        Verdict::Stalled(_) | Verdict::Serving | Verdict::Progressing(_) | Verdict::Failed(_) => seen.in_the_way,
    }
}

fn counts(observed: &Observed<'_>, status: &mut ReleaseStatus) {
    let workload = observed.workload;
    let count = |pods: usize| i32::try_from(pods).unwrap_or(i32::MAX);
    // Until its controller has seen the newest spec of a Deployment, the counts are about the previous one.
    if workload.deployment.as_ref().is_none_or(DeploymentView::is_observed) {
        status.replicas = workload.deployment.as_ref().map(|deployment| Replicas {
            desired: deployment.desired,
            updated: count(workload.newest_pods().count()),
            // Old pods may still be going, so more than the wanted number can be ready.
            ready: count(workload.pods.iter().filter(|pod| pod.ready && !pod.terminating && pod.job.is_none()).count())
                .min(deployment.desired),
        });
    }
    let mut pods: Vec<PodState> = workload.pods.iter().filter(|pod| pod.job.is_none()).filter_map(pod_state).collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.truncate(MAX_PODS);
    status.pods = pods;
    if let Some(target) = &observed.target {
        let majors = &target.rendering.major_addresses;
        let address = |(name, address): (&String, &String)| EndpointState {
            name: name.clone(),
            address: address.clone(),
            major_address: majors.get(name).cloned(),
        };
        status.endpoints = target.rendering.addresses.iter().map(address).collect();
    }
}

/// A pod with a problem. Reasons that every healthy pod passes through do not count.
fn pod_state(pod: &PodView) -> Option<PodState> {
    let waiting = pod.waiting.as_ref().map(|waiting| waiting.reason.reason());
    let waiting = waiting.filter(|reason| !matches!(*reason, "ContainerCreating" | "PodInitializing"));
    let unschedulable = pod.unschedulable.as_ref().map(|_| "Unschedulable");
    let evicted = pod.evicted.then_some("Evicted");
    let reason =
        evicted.or(waiting).or(unschedulable).or_else(|| pod.terminated.as_ref().map(|(reason, _)| reason.reason()));
    if pod.terminating || (reason.is_none() && pod.restarts == 0) {
        return None;
    }
    Some(PodState {
        name: pod.name.clone(),
        restarts: pod.restarts,
        reason: reason.map(str::to_owned),
        exit_code: pod.terminated.as_ref().and_then(|(_, code)| *code),
    })
}
