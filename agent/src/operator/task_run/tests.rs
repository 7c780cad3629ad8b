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

#[tokio::test]
async fn the_job_of_a_run_that_never_began_is_stopped_as_soon_as_the_run_is_over() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let shared = server::shared(&server);
    fixture::ready_task(&server, &shared).await;
    let mut run: TaskRun = serde_json::from_value(own("TaskRun", "run", json!({"release": "job"}), json!({}))).unwrap();
    TaskRun::reconcile(&shared, "run", &run, Timestamp::UNIX_EPOCH).await.unwrap();
    let mut status = said(&server);
    let (namespace, name) = (status.namespace.clone().unwrap(), status.job.clone().unwrap());
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}");
    let mut job = server.lock().unwrap().objects[&path].clone();
    job["status"] = json!({"active": 1});
    observe::absorb(&shared, &Place::new(ObjectKind::Job, &namespace, &name), &job);
    status.result = Some("Failed".to_owned());
    status.ended = Some("1970-01-01T00:00:00Z".to_owned());

    // It has written lines, which may still be read.
    status.started = Some("1970-01-01T00:00:00Z".to_owned());
    run.status = Some(status.clone());
    let again = TaskRun::reconcile(&shared, "run", &run, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(again, Some(decide::KEPT_OUTLIVED));

    status.started = None;
    run.status = Some(status);
    TaskRun::reconcile(&shared, "run", &run, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(server.lock().unwrap().objects[&path]["spec"]["suspend"], json!(true));
}
