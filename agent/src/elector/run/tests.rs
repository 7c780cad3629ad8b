use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::elector::{Epoch, NotLeading, RENEW_DEADLINE};

/// One Lease behind the API server's rules of `get`, `update` and `create` by name. Null: there is none.
#[derive(Clone)]
struct Api1 {
    lease: Arc<Mutex<Value>>,
    hanging: Arc<Mutex<bool>>,
}

impl Api1 {
    fn new() -> Self {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "role", "namespace": "ns", "uid": "u1", "resourceVersion": "1"}
        });
        Self { lease: Arc::new(Mutex::new(lease)), hanging: Arc::default() }
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        Client::new(service, "ns")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
        if *self.hanging.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let (head, body) = request.into_parts();
        assert_eq!(head.uri.path(), "/apis/coordination.k8s.io/v1/namespaces/ns/leases/role");
        let body = body.collect().await.unwrap().to_bytes();
        let mut lease = self.lease.lock().unwrap();
        let (code, answer) = match head.method.as_str() {
            "GET" if lease.is_null() => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"}),
            ),
            "GET" => (200, lease.clone()),
            "PUT" => {
                let mut new: Value = serde_json::from_slice(&body).unwrap();
                if lease.is_null() && new["metadata"]["resourceVersion"].is_null() {
                    new["metadata"]["resourceVersion"] = json!("500");
                    new["metadata"]["uid"] = json!("u2");
                    *lease = new;
                    (201, lease.clone())
                } else if !lease.is_null() && new["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"]
                {
                    let version: u64 = lease["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                    new["metadata"]["resourceVersion"] = json!((version + 1).to_string());
                    *lease = new;
                    (200, lease.clone())
                } else {
                    (
                        409,
                        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict", "message": "the object has been modified"}),
                    )
                }
            }
            other => panic!("no right to {other}"),
        };
        Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
    }

    fn spec(&self) -> Value {
        self.lease.lock().unwrap()["spec"].clone()
    }
}

struct Running {
    leadership: Leadership,
    stop: CancellationToken,
    task: tokio::task::JoinSet<Result<(), Rewound>>,
}

fn start(api: &Api1, identity: &str) -> Running {
    let (elector, leadership) =
        Elector::new(api.client(), "ns", "role", "test", identity, &ElectorMetrics::new(&Metrics::default()));
    let stop = CancellationToken::new();
    let mut task = tokio::task::JoinSet::new();
    task.spawn(elector.run(stop.clone()));
    Running { leadership, stop, task }
}

#[tokio::test(start_paused = true)]
async fn the_first_process_leads_and_the_second_follows_within_two_seconds_of_a_release() {
    let api = Api1::new();
    let mut first = start(&api, "a");
    let epoch = first.leadership.acquired().await;
    assert_eq!(epoch.transitions, 1);
    assert_eq!(first.leadership.check(), Ok(epoch.clone()));

    let mut second = start(&api, "b");
    assert_eq!(second.leadership.changed().await, State::Standby { holder: Some("a".into()) });
    assert_eq!(second.leadership.check(), Err(NotLeading::Standby));

    let asked = Instant::now();
    first.stop.cancel();
    first.task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(first.leadership.check(), Err(NotLeading::Standby));
    assert_eq!(second.leadership.acquired().await.transitions, 2);
    assert!(asked.elapsed() <= Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crashed_leader_is_replaced_within_fifteen_seconds() {
    let api = Api1::new();
    let mut first = start(&api, "a");
    first.leadership.acquired().await;
    let mut second = start(&api, "b");
    second.leadership.changed().await;
    let crashed = Instant::now();
    first.task.abort_all();
    assert_eq!(second.leadership.acquired().await.transitions, 2);
    assert!(crashed.elapsed() <= Duration::from_secs(15), "{:?}", crashed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_api_server_makes_a_leader_unconfirmed_and_not_a_follower() {
    let api = Api1::new();
    let mut only = start(&api, "a");
    let epoch = only.leadership.acquired().await;
    *api.hanging.lock().unwrap() = true;
    let since = Instant::now();
    assert_eq!(only.leadership.changed().await, State::Unconfirmed(epoch.clone()));
    assert!(since.elapsed() <= RENEW_DEADLINE, "{:?}", since.elapsed());
    assert_eq!(only.leadership.check(), Err(NotLeading::Unconfirmed));
    *api.hanging.lock().unwrap() = false;
    assert_eq!(only.leadership.changed().await, State::Leading(epoch.clone()), "nobody else held it");
    assert_eq!(only.leadership.check(), Ok(epoch));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sees_another_holder_has_lost() {
    let api = Api1::new();
    let mut only = start(&api, "a");
    let epoch = only.leadership.acquired().await;
    {
        let mut lease = api.lease.lock().unwrap();
        lease["spec"]["holderIdentity"] = json!("b");
        lease["spec"]["leaseTransitions"] = json!(2);
        lease["metadata"]["resourceVersion"] = json!("100");
    }
    only.leadership.lost(&epoch).await;
    assert_eq!(only.leadership.state(), State::Standby { holder: Some("b".into()) });
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_a_lease_as_client_go_writes_it() {
    let api = Api1::new();
    let mut only = start(&api, "a");
    only.leadership.acquired().await;
    let spec = api.spec();
    assert_eq!(spec["holderIdentity"], "a");
    assert_eq!(spec["leaseTransitions"], 1);
    assert_eq!(spec["leaseDurationSeconds"], 12);
    assert!(spec["acquireTime"].is_string() && spec["renewTime"].is_string());
    only.stop.cancel();
    only.task.join_next().await.unwrap().unwrap().unwrap();
    assert!(api.spec().get("holderIdentity").is_none());
    assert_eq!(api.spec()["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_is_made_again_and_nobody_leads_while_its_holder_may_believe_in_it() {
    let api = Api1::new();
    let mut leader = start(&api, "a");
    let before = leader.leadership.acquired().await;
    let mut other = start(&api, "b");
    other.leadership.changed().await;
    *api.lease.lock().unwrap() = Value::Null;
    let since = Instant::now();
    leader.leadership.lost(&before).await;
    let epoch = tokio::select! {
        epoch = leader.leadership.acquired() => epoch,
        epoch = other.leadership.acquired() => epoch,
    };
    assert_eq!(epoch, Epoch { lease: "u2".into(), transitions: 1 }, "a new lineage");
    assert!(since.elapsed() >= LEASE_DURATION && since.elapsed() <= Duration::from_secs(15), "{:?}", since.elapsed());
    assert!(leader.leadership.check().is_err() || other.leadership.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stop_soon_after_the_lease_was_deleted_makes_nobody_wait_longer_than_without_it() {
    let api = Api1::new();
    let mut leader = start(&api, "a");
    leader.leadership.acquired().await;
    *api.lease.lock().unwrap() = Value::Null;
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(9)).await;
    leader.stop.cancel();
    leader.task.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(api.spec()["holderIdentity"], "a", "a free one would be taken at once");
    let left = api.spec()["leaseDurationSeconds"].as_i64().unwrap();
    assert!((4..=6).contains(&left), "{left}");
    let mut newborn = start(&api, "b");
    newborn.leadership.acquired().await;
    assert!(since.elapsed() >= LEASE_DURATION && since.elapsed() <= Duration::from_secs(16), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_goes_back_in_time_ends_leader_and_follower() {
    let api = Api1::new();
    api.lease.lock().unwrap()["metadata"]["resourceVersion"] = json!("700");
    let mut leader = start(&api, "a");
    leader.leadership.acquired().await;
    let mut other = start(&api, "b");
    other.leadership.changed().await;
    api.lease.lock().unwrap()["metadata"]["resourceVersion"] = json!("650");
    for running in [&mut leader, &mut other] {
        let error = running.task.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.now, 650);
        assert!(error.before > 700, "{error}");
        assert!(error.to_string().contains("gone back in time (version 650 of the Lease"), "{error}");
        assert_eq!(running.leadership.check(), Err(NotLeading::Standby));
    }
}
