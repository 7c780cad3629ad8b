//! Whose pods a log is of: the customer's policy, the resource, its namespace, its pods, as they are now.
//!
//! Rights: our own kinds in the agent's namespace (get); `pods` (get, list) in the environment's namespace only, where the customer's policy
//! bound the role. It writes nothing.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use protocol::bulk::StreamEnd;
use protocol::message::EndReason;
use protocol::name::{Kind, ResourceKey};
use tokio::time::timeout;

use crate::kinds::labels::TASK_RUN;
use crate::kinds::{DataPlanePolicy, Environment, LogMode, Release, TaskRun};
use crate::telemetry::chain;

/// Longest time of one call.
const CALL: Duration = Duration::from_secs(10);

/// Where the pods of a resource are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodSet {
    pub(super) namespace: String,
    selector: String,
    /// No pods will join any more.
    pub(super) over: bool,
}

/// What a look-up came to.
pub(super) enum Look<T> {
    Found(T),
    /// Not there yet.
    NotYet(&'static str),
    End(StreamEnd),
    Failed(String),
}

/// Whose pods are looked for, and with what.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) client: Client,
    /// Namespace of the agent.
    pub(super) own_namespace: String,
    pub(super) key: ResourceKey,
    /// Name of the Environment of a run: its pods outlive its object.
    pub(super) environment: Option<String>,
}

impl Lookup {
    /// The policy, the target and its pods, as they are now.
    pub(super) async fn pods(&self) -> Look<(Vec<Pod>, PodSet)> {
        match self.policy().await {
            Look::Found(()) => {}
            Look::NotYet(reason) => return Look::NotYet(reason),
            Look::End(end) => return Look::End(end),
            Look::Failed(reason) => return Look::Failed(reason),
        }
        let target = match self.target().await {
            Look::Found(target) => target,
            Look::NotYet(reason) => return Look::NotYet(reason),
            Look::End(end) => return Look::End(end),
            Look::Failed(reason) => return Look::Failed(reason),
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let parameters = ListParams::default().labels(&target.selector).match_any();
        match call(pods.list(&parameters)).await {
            Ok(list) => Look::Found((list.items, target)),
            Err(Unread::NotAllowed) => Look::End(not_allowed()),
            Err(Unread::NotFound) => Look::NotYet("the namespace of the workloads is gone"),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
        }
    }

    /// Whether the customer lets logs through the link.
    pub(super) async fn policy(&self) -> Look<()> {
        let policies: Api<DataPlanePolicy> = Api::namespaced(self.client.clone(), &self.own_namespace);
        match call(policies.get("default")).await {
            Ok(policy) => match policy.spec.logs.mode {
                LogMode::ThroughLink => Look::Found(()),
                LogMode::Disabled | LogMode::InCluster => Look::End(not_allowed()),
            },
            Err(Unread::NotFound | Unread::NotAllowed) => Look::End(not_allowed()),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
        }
    }

    /// Whether it is a release that failed and left its pods, since there is no earlier version to go back to.
    pub(super) async fn failed_pods_stay(&self) -> bool {
        let releases: Api<Release> = Api::namespaced(self.client.clone(), &self.own_namespace);
        match self.key.kind {
            Kind::Release => call(releases.get(&self.key.name))
                .await
                .ok()
                .and_then(|release| release.status)
                .is_some_and(|status| status.failed.is_some() && status.effective.is_none()),
            Kind::TaskRun | Kind::DataPlane | Kind::Environment => false,
        }
    }

    async fn target(&self) -> Look<PodSet> {
        let name = &self.key.name;
        match self.key.kind {
            Kind::Release => {
                let releases: Api<Release> = Api::namespaced(self.client.clone(), &self.own_namespace);
                match call(releases.get(name)).await {
                    Ok(release) => {
                        let over = release.spec.body.state == protocol::document::Desired::Absent;
                        let selector = format!("pdp-agent.dev/release={name}");
                        located(release.status.and_then(|status| status.namespace), Some(selector), over)
                    }
                    Err(error) => missing(error),
                }
            }
            Kind::TaskRun => {
                let runs: Api<TaskRun> = Api::namespaced(self.client.clone(), &self.own_namespace);
                match call(runs.get(name)).await {
                    Ok(run) => {
                        let status = run.status.unwrap_or_default();
                        let selector = status.job.map(|job| format!("batch.kubernetes.io/job-name={job}"));
                        located(status.namespace, selector, status.result.is_some())
                    }
                    Err(Unread::NotFound) => self.forgotten(name).await,
                    Err(error) => missing(error),
                }
            }
            Kind::DataPlane | Kind::Environment => {
                Look::End(end(EndReason::NotFound, "only releases and task runs have logs"))
            }
        }
    }

    /// Finds the pods of a run whose TaskRun is deleted: the control plane forgets it once its end is recorded, while its Job stays
    /// for a while and the pods carry the run's name. They are looked for in the environment that the control plane names, since a
    /// search in all of them would cost one list each for every made-up name.
    async fn forgotten(&self, run: &str) -> Look<PodSet> {
        let Some(environment) = &self.environment else {
            return Look::End(end(
                EndReason::NotFound,
                "there is no such run here; name its environment, where its pods may still be",
            ));
        };
        let environments: Api<Environment> = Api::namespaced(self.client.clone(), &self.own_namespace);
        let namespace = match call(environments.get(environment)).await {
            Ok(environment) => environment.status.and_then(|status| status.namespace).unwrap_or_default(),
            Err(error) => return missing(error),
        };
        let selector = format!("{TASK_RUN}={run}");
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        match call(pods.list(&ListParams::default().labels(&selector).limit(1).match_any())).await {
            Ok(list) if !list.items.is_empty() => Look::Found(PodSet { namespace, selector, over: true }),
            Err(Unread::Failed(reason)) => Look::Failed(reason),
            // NotFound and NotAllowed: the link's role is not bound there yet, or not any more.
            Ok(_) | Err(Unread::NotFound | Unread::NotAllowed) => Look::End(end(
                EndReason::NotFound,
                "there is no such run here, and no pod of it: pods stay an hour after the end of a run",
            )),
        }
    }
}

fn located(namespace: Option<String>, selector: Option<String>, over: bool) -> Look<PodSet> {
    match (namespace, selector) {
        (Some(namespace), Some(selector)) => Look::Found(PodSet { namespace, selector, over }),
        (_, _) if over => Look::End(end(EndReason::NotFound, "it never ran")),
        (_, _) => Look::NotYet("it has not been started yet"),
    }
}

fn missing(error: Unread) -> Look<PodSet> {
    match error {
        Unread::NotFound => Look::End(end(EndReason::NotFound, "there is no such resource on this data plane")),
        Unread::NotAllowed => Look::Failed("the agent may not read its own resources".to_owned()),
        Unread::Failed(reason) => Look::Failed(reason),
    }
}

enum Unread {
    NotFound,
    NotAllowed,
    Failed(String),
}

async fn call<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Unread> {
    match timeout(CALL, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match if let kube::Error::Api(status) = &error { status.code } else { 0 } {
            404 => Unread::NotFound,
            401 | 403 => Unread::NotAllowed,
            _ => Unread::Failed(chain(&error)),
        }),
        Err(_) => Err(Unread::Failed("the API server did not answer in time".to_owned())),
    }
}

pub(super) fn end(reason: EndReason, message: impl Into<String>) -> StreamEnd {
    StreamEnd { reason, message: message.into() }
}

pub(super) fn not_allowed() -> StreamEnd {
    end(
        EndReason::NotAllowed,
        "the customer's policy does not let logs of this environment through the link (DataPlanePolicy, spec.logs.mode)",
    )
}

pub(super) fn bulk_lost() -> StreamEnd {
    end(EndReason::BulkLost, "the bulk connection was lost; ask again with the cursors of the last chunks")
}
