//! The simulation's model of the API server against the real one: the same random calls to both, and the same answers expected.
//!
//! Releases go through the link's own client, ConfigMaps through plain requests; calls carry the newest version, an old one, or that of
//! an object that is gone. What is compared: outcome, whether the object changed, its spec and status, generation, finalizers and
//! deletion, and the changes that a watch saw. Nothing but the API server takes part, so the traces are the same each time.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

mod model {
    pub(crate) mod objects;
}

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use model::objects::{content_of, deleted, plain, resource, typed};
use pdp_agent::api::{ApiStatus, CallError};
use pdp_agent::link::store::{Call, KubeStore, Store as _, Table};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use protocol::name::Kind;
use serde_json::{Value, json};
use simulation::api::{Answer, Api, Id, Request};
use tests::testbed::Testbed;

/// Traces, and calls in each.
const TRACES: usize = 8;
const CALLS: usize = 60;

/// Whose version a call carries.
#[derive(Debug, Clone, Copy)]
enum View {
    /// That of the newest answer.
    Newest,
    /// That of the first answer about an object of this name.
    First,
    /// A uid that no object ever had.
    Foreign,
}

/// One call, the same for both sides.
#[derive(Debug, Clone)]
struct Move {
    release: bool,
    name: &'static str,
    verb: Verb,
    view: View,
}

#[derive(Debug, Clone)]
enum Verb {
    Get,
    /// Generation and content.
    Create(i64, u8),
    Update(i64, u8),
    Status(u8),
    Apply(u8),
    Delete,
    Finalizer(bool),
}

fn moves() -> impl Strategy<Value = Move> {
    let verb = prop_oneof![
        2 => Just(Verb::Get),
        4 => (1_i64..5, 0_u8..3).prop_map(|(generation, content)| Verb::Create(generation, content)),
        5 => (1_i64..6, 0_u8..3).prop_map(|(generation, content)| Verb::Update(generation, content)),
        3 => (0_u8..3).prop_map(Verb::Status),
        3 => (0_u8..3).prop_map(Verb::Apply),
        2 => Just(Verb::Delete),
        1 => any::<bool>().prop_map(Verb::Finalizer),
    ];
    let view = prop_oneof![6 => Just(View::Newest), 1 => Just(View::First), 1 => Just(View::Foreign)];
    (any::<bool>(), prop_oneof![Just("a"), Just("b")], verb, view).prop_map(|(release, name, verb, view)| Move {
        release,
        name,
        verb,
        view,
    })
}

#[tokio::test]
async fn the_model_of_the_api_server_answers_as_the_real_one() {
    let bed = Testbed::from_env().await.unwrap();
    let definitions: Vec<String> =
        pdp_agent::kinds::crds().unwrap().iter().map(|crd| serde_json::to_string(crd).unwrap()).collect();
    bed.apply(&definitions.join("\n---\n")).await.unwrap();
    // Fixed, so that a difference shows itself each time.
    let mut runner = TestRunner::deterministic();
    let mut outcomes = BTreeMap::<String, usize>::new();
    for trace in 0..TRACES {
        let calls = prop::collection::vec(moves(), CALLS).new_tree(&mut runner).unwrap().current();
        let mut pair = Pair::new(&bed, trace).await;
        for (at, call) in calls.iter().enumerate() {
            let (model, real) = pair.call(call).await;
            assert_eq!(model, real, "trace {trace}, call {at}: {call:?}");
            *outcomes.entry(format!("{} {}", pair.verb(call), model.outcome)).or_default() += 1;
        }
        pair.same_changes().await;
        pair.close().await;
    }
    println!("{outcomes:#?}");
    for expected in [
        "create ok",
        "create 409 AlreadyExists",
        "update ok",
        "update 409 Conflict",
        "update 404 NotFound",
        "update 422 Invalid",
        "status ok",
        "status 409 Conflict",
        "apply ok",
        "apply 409 Conflict",
        "delete ok",
        "delete 409 Conflict",
        "finalizers ok",
    ] {
        assert!(outcomes.contains_key(expected), "no call came to {expected}");
    }
}

/// What an answer comes to, in words that both sides share.
#[derive(Debug, PartialEq)]
struct Seen {
    outcome: String,
    changed: bool,
    object: Option<Value>,
}

/// Both API servers, and what their answers have shown.
struct Pair {
    client: Client,
    store: KubeStore,
    namespace: String,
    model: Api,
    /// By kind and name: newest and first object of the model's answers, and of the real ones.
    known: BTreeMap<(bool, &'static str), [Known; 2]>,
    /// What the model's watch would have said of releases.
    changes: Vec<(String, Value)>,
    watch: futures::stream::BoxStream<'static, (String, Value)>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    newest: Option<Value>,
    first: Option<Value>,
}

impl Pair {
    async fn new(bed: &Testbed, trace: usize) -> Self {
        let namespace = format!("model-{trace}-{}", uuid::Uuid::new_v4().simple());
        bed.kubectl(&["create", "namespace", &namespace]).await.unwrap();
        let client = bed.kube_client().await.unwrap();
        let api = kube::Api::<kube::api::DynamicObject>::namespaced_with(client.clone(), &namespace, &resource(true));
        let params = kube::api::WatchParams::default();
        let list = api.list(&kube::api::ListParams::default()).await.unwrap();
        let from = list.metadata.resource_version.unwrap();
        let watch = api.watch(&params, &from).await.unwrap().filter_map(async |event| match event.unwrap() {
            kube::api::WatchEvent::Added(object) => Some(("added".to_owned(), plain(&json!(object)))),
            kube::api::WatchEvent::Modified(object) => Some(("modified".to_owned(), plain(&json!(object)))),
            kube::api::WatchEvent::Deleted(object) => Some(("deleted".to_owned(), plain(&json!(object)))),
            kube::api::WatchEvent::Bookmark(_) => None,
            kube::api::WatchEvent::Error(error) => panic!("{error:?}"),
        });
        let store = KubeStore::new(client.clone(), namespace.clone());
        let (mut model, known, changes) = (Api::new(false), BTreeMap::new(), Vec::new());
        drop(model.execute(&Request::Create(json!({"kind": "Namespace", "metadata": {"name": namespace}}))));
        Self { client, store, namespace, model, known, changes, watch: watch.boxed() }
    }

    fn verb(&self, call: &Move) -> &'static str {
        match call.verb {
            Verb::Get => "get",
            Verb::Create(..) => "create",
            Verb::Update(..) => "update",
            Verb::Status(_) if call.release => "status",
            // ConfigMaps have none.
            Verb::Status(_) => "get",
            Verb::Apply(_) => "apply",
            Verb::Delete => "delete",
            Verb::Finalizer(_) => "finalizers",
        }
    }

    /// The same call to both.
    async fn call(&mut self, call: &Move) -> (Seen, Seen) {
        let [model, real] = self.known.entry((call.release, call.name)).or_default().clone();
        let request = self.request(call, &model);
        let before = model.newest.as_ref().map(|object| object["metadata"]["resourceVersion"].clone());
        let (answer, change) = self.model.execute(&request);
        if let Some(change) = change.filter(|_| call.release) {
            let what = match (&change.before, &change.after) {
                (None, _) => "added",
                (_, Some(_)) => "modified",
                (_, None) => "deleted",
            };
            let object = change.after.as_ref().or(change.before.as_ref()).unwrap();
            self.changes.push((what.to_owned(), plain(object)));
        }
        let model = seen(&answer, before.as_ref());
        let request = self.request(call, &real);
        let before = real.newest.as_ref().map(|object| object["metadata"]["resourceVersion"].clone());
        let real_answer = self.ask(call.release, request).await;
        let real = seen(&real_answer, before.as_ref());
        // The next call knows the present objects, whatever this one answered.
        let newest = self.model.execute(&Request::Get(self.id(call))).0;
        let real_newest = self.ask(call.release, Request::Get(self.id(call))).await;
        let known = self.known.entry((call.release, call.name)).or_default();
        for (known, newest) in known.iter_mut().zip([newest, real_newest]) {
            known.newest = newest.unwrap();
            known.first = known.first.clone().or_else(|| known.newest.clone());
        }
        (model, real)
    }

    fn id(&self, call: &Move) -> Id {
        let kind = if call.release { "Release" } else { "ConfigMap" };
        Id { kind: kind.to_owned(), namespace: self.namespace.clone(), name: call.name.to_owned() }
    }

    fn request(&self, call: &Move, known: &Known) -> Request {
        let nobody = json!({"metadata": {"uid": "6b1f5ae5-0000-4000-8000-000000000000", "resourceVersion": "1"}});
        let viewed = match call.view {
            View::Newest => known.newest.clone(),
            View::First => known.first.clone(),
            View::Foreign => None,
        };
        let viewed = viewed.unwrap_or(nobody);
        let id = self.id(call);
        let object = |body: Value| {
            let version = if call.release { "pdp-agent.dev/v1alpha1" } else { "v1" };
            let mut object = json!({"apiVersion": version, "kind": id.kind});
            object["metadata"] = json!({"name": id.name, "namespace": id.namespace});
            for member in ["uid", "resourceVersion", "finalizers"] {
                if let Some(value) = viewed["metadata"].get(member) {
                    object["metadata"][member] = value.clone();
                }
            }
            let body = body.as_object().unwrap();
            body.iter().for_each(|(name, value)| object[name] = value.clone());
            object
        };
        match &call.verb {
            Verb::Get => Request::Get(id.clone()),
            Verb::Create(generation, content) => {
                let mut body = object(content_of(call.release, *generation, *content));
                body["metadata"] = json!({"name": id.name, "namespace": id.namespace});
                Request::Create(body)
            }
            Verb::Update(generation, content) => {
                Request::Update(object(content_of(call.release, *generation, *content)))
            }
            Verb::Status(content) if call.release => {
                Request::UpdateStatus(object(json!({"status": {"conditions": [], "observedGeneration": content}})))
            }
            Verb::Status(_) => Request::Get(id.clone()),
            Verb::Apply(content) => {
                let mut body = object(if call.release {
                    json!({"spec": {"restartToken": format!("token-{content}")}})
                } else {
                    json!({"data": {(format!("key-{content}")): "applied"}})
                });
                body["metadata"].as_object_mut().unwrap().remove("finalizers");
                Request::Apply(body)
            }
            Verb::Delete => {
                let text = |member: &str| viewed["metadata"][member].as_str().unwrap().to_owned();
                Request::Delete { id: id.clone(), uid: text("uid"), resource_version: text("resourceVersion") }
            }
            Verb::Finalizer(held) => {
                Request::Finalizers { id: id.clone(), names: if *held { vec!["example.com/held"] } else { Vec::new() } }
            }
        }
    }

    /// Asks the real one: of releases as the link does.
    async fn ask(&self, release: bool, request: Request) -> Answer {
        let id = request.id();
        let api = kube::Api::<kube::api::DynamicObject>::namespaced_with(
            self.client.clone(),
            &self.namespace,
            &resource(release),
        );
        let table = Table::Document(Kind::Release);
        let name = id.name.clone();
        let answer = match request {
            Request::Get(_) if release => return self.store.call(Call::Get { table, name }).await,
            Request::Create(body) if release => return self.store.call(Call::Create { table, name, body }).await,
            Request::Update(body) if release => return self.store.call(Call::Update { table, name, body }).await,
            Request::UpdateStatus(body) => return self.store.call(Call::UpdateStatus { table, name, body }).await,
            Request::Delete { uid, resource_version, .. } if release => {
                return self.store.call(Call::Delete { table, name, uid, resource_version }).await.map(deleted);
            }
            Request::Get(_) => return Ok(api.get_opt(&id.name).await.unwrap().map(|object| json!(object))),
            Request::Create(body) => api.create(&PostParams::default(), &typed(body)).await,
            Request::Update(body) => api.replace(&id.name, &PostParams::default(), &typed(body)).await,
            Request::Apply(body) => {
                api.patch(&id.name, &PatchParams::apply("pdp-agent").force(), &Patch::Apply(body)).await
            }
            Request::List { .. } | Request::Merge { .. } | Request::Convert { .. } | Request::Try(_) => {
                panic!("no move asks for that")
            }
            Request::Finalizers { names, .. } => {
                let patch = Patch::Merge(json!({"metadata": {"finalizers": names}}));
                api.patch(&id.name, &PatchParams::default(), &patch).await
            }
            Request::Delete { uid, resource_version, .. } => {
                let preconditions =
                    kube::api::Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                match api.delete(&id.name, &params).await {
                    Ok(either) => return Ok(either.left().and_then(|object| deleted(Some(json!(object))))),
                    Err(error) => Err(error),
                }
            }
        };
        match answer {
            Ok(object) => Ok(Some(json!(object))),
            Err(kube::Error::Api(status)) => Err(CallError::Refused(ApiStatus {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                ..Default::default()
            })),
            Err(error) => panic!("{error}"),
        }
    }

    /// A watch of the real one shows the changes that the model made, in their order.
    async fn same_changes(&mut self) {
        let expected = std::mem::take(&mut self.changes);
        let mut found = Vec::new();
        while found.len() < expected.len() {
            let next = tokio::time::timeout(Duration::from_secs(20), self.watch.next()).await;
            let Ok(Some(change)) = next else {
                panic!("the watch showed {} of {} changes", found.len(), expected.len())
            };
            found.push(change);
        }
        assert_eq!(found, expected);
    }

    async fn close(self) {
        let api = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(self.client.clone());
        for (release, name) in self.known.keys() {
            let id = Id { kind: String::new(), namespace: self.namespace.clone(), name: (*name).to_owned() };
            drop(self.ask(*release, Request::Finalizers { id, names: Vec::new() }).await);
        }
        api.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

fn seen(answer: &Answer, before: Option<&Value>) -> Seen {
    match answer {
        Ok(object) => {
            let version = object.as_ref().map(|object| &object["metadata"]["resourceVersion"]);
            let changed = object.is_some() && version != before;
            Seen { outcome: "ok".to_owned(), changed, object: object.as_ref().map(plain) }
        }
        Err(CallError::Refused(status)) => {
            Seen { outcome: format!("{} {}", status.code, status.reason), changed: false, object: None }
        }
        Err(CallError::NoAnswer(detail)) => panic!("{detail}"),
    }
}
