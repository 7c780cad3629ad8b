//! What a round of a run asks of the API server, and what it says of its answers.

use std::sync::Mutex;

use super::*;
use crate::operator::fixture::server::{self, OWN, Server};
use crate::operator::fixture::{self, own};

/// Conditions of the run as they were written last.
fn said(server: &Arc<Mutex<Server>>) -> crate::kinds::TaskRunStatus {
    let stored = server.lock().unwrap().objects[&format!("{OWN}/taskruns/run/status")]["status"].clone();
    serde_json::from_value(stored).unwrap()
}

/// A policy of the customer came after the release was taken up.
#[tokio::test]
async fn a_job_that_the_cluster_refuses_is_said_and_made_once_it_is_let() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    fixture::ready_task(&server, &shared).await;
    let mut run: TaskRun = serde_json::from_value(own("TaskRun", "run", json!({"release": "job"}), json!({}))).unwrap();

    server.lock().unwrap().judge = Some(|object| {
        let message = "admission webhook \"jobs.customer\" denied the request: no Jobs on Fridays";
        let refusal = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": message});
        (object["kind"] == "Job").then_some(refusal)
    });
    for _ in 0..2 {
        TaskRun::reconcile(&shared, "run", &run, Timestamp::UNIX_EPOCH).await.unwrap_err();
        let status = said(&server);
        let stalled = status.conditions.iter().find(|condition| condition.condition_type == "Stalled").unwrap();
        assert_eq!(stalled.reason, "PolicyDenied", "{stalled:?}");
        assert!(stalled.message.contains("no Jobs on Fridays") && status.job.is_some(), "{status:?}");
        run.status = Some(status);
    }
    server.lock().unwrap().judge = None;
    TaskRun::reconcile(&shared, "run", &run, Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(server.lock().unwrap().objects.keys().any(|path| path.contains("/jobs/")));
    assert!(!said(&server).conditions.iter().any(|condition| condition.condition_type == "Stalled"));
}

/// Renderings that an earlier version stored have one, and a Job that goes by itself could be taken for one that was never made.
#[test]
fn no_job_of_a_run_has_a_time_to_live() {
    let run: TaskRun = serde_json::from_value(own("TaskRun", "run", json!({"release": "job"}), json!({}))).unwrap();
    let stored = json!({"metadata": {"labels": {}}, "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 3600}});
    assert_eq!(named(stored, &run, "run")["spec"], json!({"backoffLimit": 0}));
}
