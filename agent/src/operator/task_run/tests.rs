//! What a round of a run asks of the API server, and what it says of its answers.

use std::sync::Mutex;

use super::*;
use crate::kinds::DataPlanePolicy;
use crate::operator::fixture::server::{self, Server};
use crate::operator::fixture::{self, own, put_environment};

const OWN: &str = "/apis/pdp-agent.dev/v1alpha1/namespaces/pdp";

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
    put_environment(&shared, "dev");
    let policy = json!({"registries": [{"prefix": "registry.example.com/"}], "logs": {"mode": "Disabled"}});
    let mut spec = fixture::task();
    spec.env = None;
    let mut release: Release = serde_json::from_value(own("Release", "job", json!(spec), json!({}))).unwrap();
    shared.index.lock().policy = Some(DataPlanePolicy::new("default", serde_json::from_value(policy).unwrap()));
    while release.status.as_ref().is_none_or(|status| status.effective.is_none()) {
        let put = Own::Read(Arc::new(release.clone()));
        shared.index.lock().releases.insert("job".to_owned(), put);
        Release::reconcile(&shared, "job", &release, Timestamp::UNIX_EPOCH).await.unwrap();
        let stored = server.lock().unwrap().objects[&format!("{OWN}/releases/job/status")]["status"].clone();
        release.status = serde_json::from_value(stored).unwrap();
    }
    shared.index.lock().releases.insert("job".to_owned(), Own::Read(Arc::new(release)));
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
