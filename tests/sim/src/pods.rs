//! Deployments and Jobs become pods: a model of the controllers and the kubelet, as far as the operator looks.
//!
//! A template whose image says `bad` crashes for ever; any other one serves after a while. Old pods go once new ones serve. A Job
//! starts and ends.

use std::collections::{BTreeMap, BTreeSet};

use pdp_agent::operator::cluster_words::ClusterWords;
use pdp_agent::operator::index::JobView;
use pdp_agent::operator::progress::{DeploymentView, PodView, ReplicaSetView, SliceView, Waiting, Workload};
use serde_json::Value;

use super::api::{Api, Id};

/// Stands in every text that a kubelet or a runtime writes here, as a secret value could. It must not be in any status or report.
pub(super) const CANARY: &str = "canary-of-the-runtime";

/// Workloads by Deployment.
#[derive(Debug, Default, Clone)]
pub(super) struct Pods {
    workloads: BTreeMap<Id, Running>,
    jobs: BTreeMap<Id, Run>,
}

/// One Job: suspended, pending, started, ended.
#[derive(Debug, Default, Clone)]
struct Run {
    suspended: bool,
    started: bool,
    ended: bool,
}

#[derive(Debug, Default, Clone)]
struct Running {
    generation: i64,
    observed: i64,
    replicas: usize,
    /// Templates in the order in which they came; the last one is the newest.
    templates: Vec<Template>,
    deleted: bool,
}

#[derive(Debug, Clone)]
struct Template {
    hash: String,
    bad: bool,
    pods: Vec<Pod>,
}

#[derive(Debug, Clone)]
struct Pod {
    name: String,
    ready: bool,
    crashed: bool,
}

impl Pods {
    /// A Deployment was written: gives true if there is something to do.
    pub(super) fn changed(&mut self, id: &Id, object: Option<&Value>) {
        if id.kind == "Job" {
            match object {
                Some(object) => {
                    let suspended = object.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
                    self.jobs.entry(id.clone()).or_default().suspended = suspended;
                }
                None => drop(self.jobs.remove(id)),
            }
            return;
        }
        let Some(object) = object else {
            if let Some(running) = self.workloads.get_mut(id) {
                running.deleted = true;
            }
            return;
        };
        let running = self.workloads.entry(id.clone()).or_default();
        running.deleted = false;
        running.generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
        running.replicas = usize::try_from(replicas).unwrap_or(1);
        let template = object.pointer("/spec/template").map(ToString::to_string).unwrap_or_default();
        let hash = pdp_agent::operator::object::short_digest(template.as_bytes(), 8);
        let old = running.templates.iter().position(|one| one.hash == hash);
        let newest = match old {
            Some(at) => running.templates.remove(at),
            None => Template { bad: template.contains("/bad@"), hash, pods: Vec::new() },
        };
        running.templates.push(newest);
    }

    /// What controllers and kubelet find after the API server went back in time: they follow it.
    pub(super) fn restore(&mut self, api: &Api) {
        self.jobs.retain(|id, _| api.get(id).is_some());
        let gone: Vec<Id> = self.workloads.keys().filter(|id| api.get(id).is_none()).cloned().collect();
        gone.iter().for_each(|id| self.changed(id, None));
        for (id, object) in api.iter().filter(|(id, _)| matches!(id.kind.as_str(), "Deployment" | "Job")) {
            self.changed(id, Some(object));
        }
    }

    /// One step of the controllers for one Deployment. Gives whether there is more to do later.
    pub(super) fn step(&mut self, id: &Id) -> bool {
        if let Some(job) = self.jobs.get_mut(id) {
            let goes = !job.suspended && !job.ended;
            job.ended |= goes && job.started;
            job.started |= goes;
            return goes && !job.ended;
        }
        let Some(running) = self.workloads.get_mut(id) else { return false };
        if running.deleted {
            self.workloads.remove(id);
            return false;
        }
        running.observed = running.generation;
        let replicas = running.replicas;
        let Some((newest, older)) = running.templates.split_last_mut() else { return false };
        if newest.pods.len() < replicas {
            let name = format!("{}-{}-{}", id.name, newest.hash, newest.pods.len());
            newest.pods.push(Pod { name, ready: false, crashed: false });
            return true;
        }
        if let Some(pod) = newest.pods.iter_mut().find(|pod| !pod.ready && !pod.crashed) {
            (pod.ready, pod.crashed) = (!newest.bad, newest.bad);
            return true;
        }
        let serves = newest.pods.iter().all(|pod| pod.ready);
        if serves && older.iter().any(|template| !template.pods.is_empty()) {
            older.iter_mut().for_each(|template| template.pods.clear());
            return true;
        }
        false
    }

    /// Pods of a Deployment that still exist.
    pub(super) fn count(&self, id: &Id) -> usize {
        self.workloads.get(id).map_or(0, |running| running.templates.iter().map(|one| one.pods.len()).sum())
    }

    /// What the operator sees of a Job, and of its pod.
    pub(super) fn job(&self, id: &Id) -> (JobView, Vec<PodView>) {
        let at = |yes: bool| yes.then(|| "2026-02-02T02:40:00Z".to_owned());
        let Some(job) = self.jobs.get(id) else { return (JobView::default(), Vec::new()) };
        let view = JobView {
            suspended: job.suspended,
            active: i32::from(job.started && !job.ended && !job.suspended),
            complete: job.ended,
            failed: None,
            started: at(job.started),
            ended: at(job.ended),
        };
        let pod = PodView {
            name: format!("{}-0", id.name),
            started: at(job.started),
            terminated: job.ended.then(|| (ClusterWords::new("Completed"), Some(0))),
            ..PodView::default()
        };
        (view, if job.started { vec![pod] } else { Vec::new() })
    }

    /// What the operator sees.
    pub(super) fn view(&self, id: &Id, services: &[String]) -> Workload {
        let Some(running) = self.workloads.get(id).filter(|running| !running.deleted) else {
            return Workload::default();
        };
        let revision = |at: usize| Some(at.to_string());
        let newest = running.templates.len().saturating_sub(1);
        let updated = running.templates.last().map_or(0, |one| one.pods.len());
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let pods: Vec<PodView> = running
            .templates
            .iter()
            .flat_map(|template| template.pods.iter().map(|pod| view(&template.hash, pod)))
            .collect();
        let ready: BTreeSet<String> = pods.iter().filter(|pod| pod.ready).map(|pod| pod.name.clone()).collect();
        Workload {
            deployment: Some(DeploymentView {
                generation: running.generation,
                observed_generation: running.observed,
                revision: revision(newest),
                desired: number(running.replicas),
                updated: number(updated),
                total: number(pods.len()),
                failure: None,
            }),
            replica_sets: running
                .templates
                .iter()
                .enumerate()
                .map(|(at, one)| ReplicaSetView { template_hash: one.hash.clone(), revision: revision(at) })
                .collect(),
            slices: services
                .iter()
                .map(|service| SliceView { service: service.clone(), ready: ready.clone() })
                .collect(),
            pods,
        }
    }
}

fn view(hash: &str, pod: &Pod) -> PodView {
    PodView {
        name: pod.name.clone(),
        template_hash: Some(hash.to_owned()),
        ready: pod.ready,
        restarts: if pod.crashed { 3 } else { 0 },
        waiting: pod.crashed.then(|| Waiting {
            reason: ClusterWords::new("CrashLoopBackOff"),
            message: ClusterWords::new(format!("back-off {CANARY}")),
        }),
        terminated: pod.crashed.then(|| (ClusterWords::new("Error"), Some(1))),
        ..PodView::default()
    }
}
