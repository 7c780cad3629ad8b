//! Runs of tasks: one Job each, recorded before it is created.
//!
//! The driver: find the release's rendering, look at the Job, `decide`, apply. A TaskRun whose object vanished leaves its Job
//! alone; the Job of a run that is over goes with its release, or an hour after its end (`release::runs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};

use super::cluster::ApiError;
use super::object::ObjectKind;
use super::object::owner::OwnerKind;
use super::reconcile::apply::{self, Subject};
use super::reconcile::halt::Halt;
use super::reconcile::may_run;
use super::reconcile::modified::{Modified, note};
use super::reconcile::observe;
use super::reconcile::round::Reconcile;
use super::reconcile::shared::{self, Shared, Spending};
use super::reconcile::write::Write;
use super::release::decide as releases;
use super::release::render::literals;
use super::world::index::{Own, Place, View};
use crate::kinds::conditions::{Reason, parse_time};
use crate::kinds::labels::TASK_RUN;
use crate::kinds::{Release, TaskRun};
use decide::{Blueprint, JobSeen, Observed};

pub mod decide;

impl Reconcile for TaskRun {
    async fn reconcile(shared: &Shared, name: &str, run: &Self, now: Timestamp) -> Result<Option<Duration>, ApiError> {
        let release = shared.index.lock().releases.get(&run.spec.body.release).cloned();
        let release = match &release {
            Some(Own::Read(release)) => Some(release.as_ref()),
            Some(Own::Unreadable { .. }) | None => None,
        };
        let status = run.status.clone().unwrap_or_default();
        let environment = release.and_then(|release| release.spec.body.environment.as_deref());
        let pause = {
            let contents = shared.index.lock();
            let of_release = release.and_then(|release| shared::pause_of("Release", release, now));
            shared::pause_of("TaskRun", run, now)
                .or(of_release)
                .or_else(|| shared::pause_above(&contents, environment, now))
        };
        if status.result.is_some() {
            if let Some(pause) = pause {
                return Ok(pause.left);
            }
            return stop_outlived(shared, run, release, &status, now).await;
        }
        let blueprint = if status.job.is_some() {
            None
        } else {
            match blueprint(shared, run, release).await {
                Ok(blueprint) => Some(Ok(blueprint)),
                Err(Halt::Blocked(why, _) | Halt::Invalid(why)) => Some(Err(why)),
                Err(Halt::Api(error)) => return Err(error),
            }
        };
        let mut seen = look(shared, &status).await?;
        if let JobSeen::Found { pods, .. } = &mut seen
            && !may_run::tells_exit_codes(&shared.index.lock(), environment)
        {
            pods.iter_mut().for_each(super::world::workload::PodView::withhold_exit_code);
        }
        let document = run.spec.document.as_ref();
        let cancel = run.spec.body.cancel.unwrap_or(false);
        let rendered = if status.job.is_some() && (cancel || matches!(seen, JobSeen::Missing)) {
            recorded(shared, run, release).await?
        } else {
            None
        };
        // The policy may have changed since the release was taken up, and since the Job's name was recorded.
        let starting = match (&blueprint, &rendered, &seen) {
            (Some(Ok(blueprint)), _, _) => Some(&blueprint.job),
            (_, Some(job), JobSeen::Missing) => Some(job),
            (Some(Err(_)) | None, _, JobSeen::Missing | JobSeen::Found { .. }) => None,
        };
        let args = run.spec.body.args.as_ref().is_some_and(|args| !args.is_empty());
        let allowed = starting.map_or(Ok(()), |job| may_run::job_may_start(&shared.index.lock(), job, args));
        let begins = starting.is_some() && allowed.is_ok() && !cancel && pause.is_none();
        let spent = if begins { shared.spend(Spending::Start, &run.uid().unwrap_or_default(), now) } else { Ok(()) };
        let (denied, later) = match (allowed, spent) {
            (Err(why), _) => (Some(why), None),
            (Ok(()), Err((why, left))) => (Some(why), Some(left)),
            (Ok(()), Ok(())) => (None, None),
        };
        let key = ResourceKey { kind: Kind::TaskRun, name: name.to_owned() };
        let modified = Modified::of(&key, document, note(run), &run.spec.body);
        let observed = Observed {
            name,
            uid: run.metadata.uid.as_deref().unwrap_or_default(),
            generation: document.map_or_else(|| run.metadata.generation.unwrap_or(1), |document| document.generation),
            fact_generation: document.map_or(0, |document| document.generation),
            modified: modified.as_ref(),
            cancel,
            status: &status,
            blueprint: blueprint.as_ref(),
            denied: denied.as_ref(),
            recorded: rendered.as_ref(),
            job: &seen,
            paused: pause.as_ref().map(|pause| pause.message.as_str()),
            settles: shared.cluster.settles(OwnerKind::TaskRun.named(name)),
            last_lines: may_run::logs_leave(&shared.index.lock()),
        };
        let decision = decide::decide(&observed, now);
        let mut subject = Subject {
            name: name.to_owned(),
            uid: run.uid().unwrap_or_default(),
            resource_version: run.metadata.resource_version.clone().unwrap_or_default(),
        };
        let namespace = status.namespace.clone().unwrap_or_default();
        let done = apply::perform::<Self, _>(shared, &mut subject, &namespace, None, &decision.writes).await;
        if let Err(error) = done {
            if let (Some(why), Some(starting)) = (apply::refusal(&error), starting) {
                // The name was recorded before the Job was refused.
                let written = decision.writes.iter().find_map(Write::status).unwrap_or(&status);
                let seen = Observed {
                    status: written,
                    blueprint: None,
                    denied: Some(&why),
                    recorded: Some(starting),
                    ..observed
                };
                let told = decide::decide(&seen, now);
                apply::perform::<Self, _>(shared, &mut subject, &namespace, None, &told.writes).await?;
            }
            return Err(error);
        }
        Ok([decision.wake, later, pause.and_then(|pause| pause.left)].into_iter().flatten().min())
    }
}

/// Stops the Job of a run that has ended before it: once its log could be read for a while, if it has written one.
async fn stop_outlived(
    shared: &Shared,
    run: &TaskRun,
    release: Option<&Release>,
    status: &crate::kinds::TaskRunStatus,
    now: Timestamp,
) -> Result<Option<Duration>, ApiError> {
    let (Some(namespace), Some(name)) = (&status.namespace, &status.job) else { return Ok(None) };
    let known = shared.index.lock().object(&Place::new(ObjectKind::Job, namespace, name)).cloned();
    let Some(tracked) = known.filter(|tracked| !tracked.terminating) else { return Ok(None) };
    let View::Job(view) = &tracked.view else { return Ok(None) };
    if view.active == 0 || view.suspended {
        return Ok(None);
    }
    let ended = status.ended.as_deref().and_then(parse_time).unwrap_or(now);
    let since = Duration::try_from(now.duration_since(ended)).unwrap_or_default();
    let kept = if status.started.is_some() { decide::KEPT_OUTLIVED } else { Duration::ZERO };
    if let Some(left) = kept.checked_sub(since).filter(|left| !left.is_zero()) {
        return Ok(Some(left));
    }
    match recorded(shared, run, release).await? {
        Some(job) => {
            let job = decide::suspended(&job);
            apply::update(shared, &job, &tracked.uid, &tracked.resource_version, false).await?;
        }
        None => {
            let job = ObjectKind::Job.named(name);
            apply::delete(shared, namespace, &job, &tracked.uid, &tracked.resource_version).await?;
        }
    }
    Ok(None)
}

/// The Job that a new run would be, from the newest good rendering of its release.
async fn blueprint(shared: &Shared, run: &TaskRun, release: Option<&Release>) -> Result<Blueprint, Halt> {
    let asked = &run.spec.body.release;
    let waiting = |reason: &str, what: &str| {
        Err(Reason::new(reason, format!("release {asked} {what}; this run waits for it")).into())
    };
    let Some(release) = release else { return waiting("ReleaseMissing", "does not exist") };
    let status = release.status.clone().unwrap_or_default();
    let (Some(effective), Some(namespace)) = (&status.effective, &status.namespace) else {
        return waiting("ReleaseNotReady", "is not ready");
    };
    let Some(rendering) = observe::rendering(shared, asked, namespace, &effective.revision).await? else {
        return waiting("RenderingLost", "has lost its rendering and needs a new generation");
    };
    let slots = releases::binding(&status, &effective.revision).cloned().unwrap_or_default();
    match rendering.bound_job(&effective.revision, &slots) {
        Ok(Some(job)) => Ok(Blueprint {
            namespace: namespace.clone(),
            revision: effective.revision.clone(),
            job: named(job, run, &job_name(run)),
        }),
        Ok(None) => {
            let message = format!("release {asked} is not of type ManualTask, so it cannot be run; name one that is");
            Err(Reason::new("NotATask", message).into())
        }
        Err(error) => Err(Reason::new("BindingLost", error.to_string()).into()),
    }
}

/// The Job that was recorded and perhaps never created: rendered again from the same revision.
async fn recorded(shared: &Shared, run: &TaskRun, release: Option<&Release>) -> Result<Option<Value>, ApiError> {
    let status = run.status.clone().unwrap_or_default();
    let (Some(namespace), Some(revision), Some(name)) = (&status.namespace, &status.revision, &status.job) else {
        return Ok(None);
    };
    let Some(rendering) = observe::rendering(shared, &run.spec.body.release, namespace, revision).await? else {
        return Ok(None);
    };
    let release = release.and_then(|release| release.status.clone()).unwrap_or_default();
    let slots = releases::binding(&release, revision).cloned().unwrap_or_default();
    Ok(rendering.bound_job(revision, &slots).ok().flatten().map(|job| named(job, run, name)))
}

/// Name of a run's Job. The control plane never uses a name again, so when the object of a run comes back (created late, after it
/// was forgotten), it finds the Job that has run, and no second one is made.
fn job_name(run: &TaskRun) -> String {
    let local = run.metadata.uid.as_deref().filter(|_| run.spec.document.is_none());
    protocol::name::joined(&[&run.name_any(), local.unwrap_or_default()], JOB_NAME)
}

/// Longest name of a Job. Its pods carry it as a label, and their own names get six more characters: 63 in all.
const JOB_NAME: usize = 57;

/// The rendered Job with this run's name, label and arguments, and without a time to live.
pub(super) fn named(mut job: Value, run: &TaskRun, name: &str) -> Value {
    let run_name = run.name_any();
    if let Some(metadata) = job.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), json!(name));
    }
    // As renderings of an earlier version have it.
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("ttlSecondsAfterFinished");
    }
    for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = job.pointer_mut(pointer).and_then(Value::as_object_mut) {
            labels.insert(TASK_RUN.to_owned(), json!(run_name));
        }
    }
    if let (Some(args), Some(container)) =
        (&run.spec.body.args, job.pointer_mut("/spec/template/spec/containers/0").and_then(Value::as_object_mut))
    {
        container.insert("args".to_owned(), json!(literals(args)));
    }
    job
}

/// What is known of the run's Job and its pods.
async fn look(shared: &Shared, status: &crate::kinds::TaskRunStatus) -> Result<JobSeen, ApiError> {
    let (Some(namespace), Some(name)) = (&status.namespace, &status.job) else { return Ok(JobSeen::Missing) };
    let place = Place::new(ObjectKind::Job, namespace, name);
    let known = shared.index.lock().object(&place).cloned();
    let tracked = match known {
        Some(tracked) => tracked,
        // The watch may be behind: a second Job must never be made, so the API server itself is asked.
        None => match shared.cluster.get(ObjectKind::Job, namespace, name).await? {
            Some(found) => observe::absorb(shared, &place, &found),
            None => return Ok(JobSeen::Missing),
        },
    };
    let View::Job(view) = tracked.view.clone() else { return Ok(JobSeen::Missing) };
    let pods: BTreeMap<Arc<str>, super::world::workload::PodView> = {
        let contents = shared.index.lock();
        let release = tracked.owners.of_kind(OwnerKind::Release).unwrap_or_default();
        let of_job =
            contents.of_owner(OwnerKind::Release.named(release)).filter_map(|(place, tracked)| match &tracked.view {
                View::Pod(pod) if pod.job.as_deref() == Some(name) => Some((place.name.clone(), (**pod).clone())),
                View::Pod(_)
                | View::Nothing
                | View::Namespace(_)
                | View::Deployment(_)
                | View::ReplicaSet(_)
                | View::Slice(_)
                | View::Job(_) => None,
            });
        of_job.collect()
    };
    Ok(JobSeen::Found {
        uid: tracked.uid.to_string(),
        resource_version: tracked.resource_version.into(),
        terminating: tracked.terminating,
        job: *view,
        pods: pods.into_values().collect(),
    })
}

#[cfg(test)]
mod tests;
