//! Jobs of runs that are over. Each stays for an hour, so that its log can be read, and is removed here.

use std::time::Duration;

use jiff::Timestamp;

use super::Work;
use crate::kinds::conditions::parse_time;
use crate::operator::cluster::ApiError;
use crate::operator::object::owner::OwnerKind;
use crate::operator::reconcile::apply;
use crate::operator::reconcile::observe;
use crate::operator::world::index::{Contents, JobView, Own, Tracked, View};

/// How long it stays.
const KEPT: Duration = Duration::from_secs(3600);

impl Work<'_> {
    /// Removes those whose time is over. Returns when the next one's is.
    pub(super) async fn remove_runs(&self, namespace: &str) -> Result<Option<Duration>, ApiError> {
        let over: Vec<_> = {
            let contents = self.shared.index.lock();
            let here = contents.of_owner(self.owner()).filter(|(place, _)| *place.namespace == *namespace);
            here.filter_map(|(place, tracked)| {
                let left = left(&contents, tracked, self.now)?;
                let live = observe::plain(self.shared, self.owner(), tracked);
                (live.ours && !live.terminating).then(|| (place.reference(), live, left))
            })
            .collect()
        };
        let mut next = None;
        for (job, live, left) in over {
            if left.is_zero() {
                apply::delete(self.shared, namespace, &job, &live.uid, &live.resource_version).await?;
            } else {
                next = Some(next.map_or(left, |next: Duration| next.min(left)));
            }
        }
        Ok(next)
    }
}

/// How long a Job still stays; nothing for what is no Job, and for one whose run is not over or whose end nobody has written down yet.
fn left(contents: &Contents, tracked: &Tracked, now: Timestamp) -> Option<Duration> {
    let View::Job(job) = &tracked.view else { return None };
    let JobView { active: 0, ended: Some(ended), .. } = &**job else { return None };
    let run = tracked.owners.of_kind(OwnerKind::TaskRun)?;
    match contents.task_runs.get(run) {
        // It was forgotten, which comes after its end was told.
        None => {}
        Some(Own::Read(run)) if run.status.as_ref().is_some_and(|status| status.result.is_some()) => {}
        Some(Own::Read(_) | Own::Unreadable { .. }) => return None,
    }
    let since = Duration::try_from(now.duration_since(parse_time(ended)?)).unwrap_or_default();
    Some(KEPT.saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::kinds::{Release, TaskRun};
    use crate::operator::fixture::server::{self, Server};
    use crate::operator::fixture::{self, own};
    use crate::operator::object::ObjectKind;
    use crate::operator::reconcile::round::Reconcile as _;
    use crate::operator::world::index::Place;

    #[tokio::test]
    async fn the_job_of_a_run_that_is_over_stays_for_an_hour_and_any_other_for_ever() {
        let server: Arc<Mutex<Server>> = Arc::default();
        let shared = server::shared(&server);
        let release = fixture::ready_task(&server, &shared).await;
        let namespace = release.status.as_ref().and_then(|status| status.namespace.clone()).unwrap();
        let condition =
            |kind: &str| json!([{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let complete = json!({"conditions": condition("Complete"), "succeeded": 1});
        let failed = json!({"conditions": condition("Failed"), "failed": 1});
        let stopped = json!({"conditions": condition("Suspended")});
        for (name, status, result) in [
            ("forgotten", &complete, None),
            ("told", &failed, Some(json!({"result": "Failed"}))),
            ("cancelled", &stopped, None),
            ("untold", &complete, Some(json!({}))),
            ("running", &json!({"active": 1}), None),
        ] {
            if let Some(result) = result {
                let run: TaskRun =
                    serde_json::from_value(own("TaskRun", name, json!({"release": "job"}), result)).unwrap();
                shared.index.lock().task_runs.insert(name.to_owned(), Own::Read(Arc::new(run)));
            }
            let labels = json!({"pdp-agent.dev/release": "job", "pdp-agent.dev/task-run": name, "pdp-agent.dev/data-plane": "dp1"});
            let head =
                json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": labels});
            let job = json!({"metadata": head, "spec": {"template": {}}, "status": status});
            observe::absorb(&shared, &Place::new(ObjectKind::Job, &namespace, name), &job);
            let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
            server.lock().unwrap().objects.insert(path, job);
        }
        let deleted = |at: &str| {
            let (server, shared, release) = (Arc::clone(&server), &shared, &release);
            let at: Timestamp = at.parse().unwrap();
            async move {
                server.lock().unwrap().asked.clear();
                let again = Release::reconcile(shared, "job", release, at).await.unwrap();
                let asked = std::mem::take(&mut server.lock().unwrap().asked);
                let gone = asked.iter().filter_map(|line| line.strip_prefix("DELETE ")?.rsplit('/').next());
                (gone.map(str::to_owned).collect::<Vec<_>>(), again)
            }
        };
        assert_eq!(deleted("2026-01-01T00:59:59Z").await, (vec![], Some(Duration::from_secs(1))));
        let (mut gone, _) = deleted("2026-01-01T01:00:00Z").await;
        gone.sort();
        assert_eq!(gone, ["cancelled", "forgotten", "told"]);
    }
}
