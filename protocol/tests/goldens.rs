//! Every message as it stands on the wire, both ways: a reader in another language is tested with the same files.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a file of tests")]

mod golden;

use std::collections::{BTreeMap, BTreeSet};

use protocol::document::{Desired, Provenance};
use protocol::enrol::EnrolErrorCode;
use protocol::message::*;
use protocol::name::{Kind, ResourceKey};
use protocol::report::*;
use protocol::{ContentHash, Tree};
use serde_json::value::RawValue;

const HASH: &str = "16d93b4dbd3b4a77cd2b8d6a3e8ad4a2d0b1a0e2cf6f7e6b7e3a1c0d9f8e7a65";
const ABSENT: &str = r#"{"state":"Absent"}"#;
const TIME: &str = "2026-03-01T12:00:00Z";

fn key() -> ResourceKey {
    ResourceKey { kind: Kind::Release, name: "web-1f2e3d4c".to_owned() }
}

fn entry(kind: Kind, name: &str, generation: i64, state: Desired) -> InventoryEntry {
    InventoryEntry { key: ResourceKey { kind, name: name.to_owned() }, generation, hash: HASH.to_owned(), state }
}

fn window() -> Window {
    Window { messages: 64, bytes: 1_048_576 }
}

fn s(text: &str) -> String {
    text.to_owned()
}

fn answer(verdict: Verdict) -> AgentMessage {
    AgentMessage::Answer(Answer { to: 7, verdict })
}

fn agent() -> Vec<(&'static str, AgentMessage)> {
    let state = State {
        observed_generation: Some(12),
        conditions: vec![Condition {
            condition_type: s("Ready"),
            status: s("True"),
            reason: s("Serves"),
            message: s("2 of 2 pods serve generation 12"),
            observed_generation: Some(12),
            last_transition_time: s(TIME),
        }],
        namespace: Some(s("dp-acme-shop-dev-fd039d72")),
        replicas: Some(Replicas { desired: 2, updated: 2, ready: 2 }),
        effective: Some(Effective {
            generation: Some(12),
            revision: s("web-1f2e3d4c-0a1b2c3d"),
            image: s("registry.example/web@sha256:00"),
        }),
        pods: vec![PodState { name: s("web-1"), restarts: 3, reason: Some(s("CrashLoopBackOff")), exit_code: Some(1) }],
        endpoints: vec![EndpointState {
            name: s("http"),
            address: s("http://web-http-v1-2.dp-acme-shop-dev-fd039d72.svc:8080"),
            major_address: Some(s("http://web-http-v1.dp-acme-shop-dev-fd039d72.svc:8080")),
        }],
        ..State::default()
    };
    let digest = digest(Some(&state));
    let fact = Fact {
        id: s("2f0c0f6e-5d3c-4a63-8d3a-6a8f6a6a9f01/12/Ready/1"),
        kind: FactKind::Ready,
        generation: 12,
        at: s(TIME),
        reason: s("Serves"),
        message: s("2 of 2 pods serve"),
        exit_code: None,
        count: None,
    };
    let hello = Hello {
        data_plane: s("dp-7c1e"),
        version: s("0.1.0"),
        instance: s("pdp-agent-link-0/5f1d"),
        epoch: Epoch { lease: s("0b9dd7a2-7a39-4d0e-8a49-2f0f6ad0c2b4"), transitions: 3, connection: 1 },
        cluster: s("c4a1f1f2-0d3f-4a44-9a56-7b6b9d6b5f0a"),
        schema: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
        capabilities: vec![s("logs")],
        floor: 9,
        highest: 12,
        store_id: Some(s("st-01")),
        window: window(),
    };
    let first = Hello { floor: 0, highest: 0, store_id: None, capabilities: Vec::new(), ..hello.clone() };
    let reasons = vec![FieldError { field: s("/imgae"), message: s("is not known; did you mean image?") }];
    let mut digests = vec![String::new(); 256];
    digests[3] = s(HASH);
    vec![
        ("hello", AgentMessage::Hello(Box::new(hello))),
        ("hello-first", AgentMessage::Hello(Box::new(first))),
        ("answer-accepted", answer(Verdict::Accepted { stored_hash: None, modified: Vec::new() })),
        (
            "answer-accepted-modified",
            answer(Verdict::Accepted { stored_hash: Some(s(HASH)), modified: vec![s("/scaling/replicas")] }),
        ),
        ("answer-already", answer(Verdict::Already)),
        ("answer-stale", answer(Verdict::Stale { generation: Some(13), hash: Some(s(HASH)), floor: 9 })),
        ("answer-stale-floor", answer(Verdict::Stale { generation: None, hash: None, floor: 14 })),
        ("answer-conflict", answer(Verdict::Conflict { generation: 12, hash: s(HASH) })),
        (
            "answer-deferred",
            answer(Verdict::Deferred {
                reason: DeferReason::ApiServerUnavailable,
                message: s("the API server does not answer"),
                retry_after_ms: 5_000,
            }),
        ),
        ("answer-refused", answer(Verdict::Refused { class: RefusalClass::UnknownField, reasons })),
        ("answer-forgotten", answer(Verdict::Forgotten { floor: 12 })),
        ("inventory", AgentMessage::Inventory(Inventory { root: s(HASH), count: 2, ..Inventory::default() })),
        (
            "inventory-with-lists",
            AgentMessage::Inventory(Inventory {
                root: s(HASH),
                count: 2,
                task_runs: vec![entry(Kind::TaskRun, "migrate-1", 11, Desired::Present)],
                local: vec![ResourceKey { kind: Kind::Release, name: s("by-hand") }],
                cut: true,
            }),
        ),
        ("inventory-buckets", AgentMessage::InventoryBuckets(InventoryBuckets { digests })),
        (
            "inventory-entries",
            AgentMessage::InventoryEntries(InventoryEntries {
                buckets: BTreeMap::from([
                    (3, vec![entry(Kind::Release, "web-1f2e3d4c", 12, Desired::Absent)]),
                    (255, Vec::new()),
                ]),
            }),
        ),
        ("state", AgentMessage::State(StateReport { key: key(), digest, state: Some(state) })),
        (
            "state-gone",
            AgentMessage::State(StateReport { key: key(), digest: protocol::report::digest(None), state: None }),
        ),
        ("fact", AgentMessage::Fact(FactReport { key: key(), fact: fact.clone() })),
        (
            "fact-task-ended",
            AgentMessage::Fact(FactReport {
                key: ResourceKey { kind: Kind::TaskRun, name: s("migrate-1") },
                fact: Fact {
                    kind: FactKind::TaskEnded,
                    reason: s("Failed"),
                    exit_code: Some(3),
                    count: Some(2),
                    ..fact
                },
            }),
        ),
        (
            "renew",
            AgentMessage::Renew(Renew {
                csr: s("-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"),
            }),
        ),
        (
            "stream-ended",
            AgentMessage::StreamEnded(StreamEnded {
                stream: 4,
                reason: EndReason::NotFound,
                message: s("no pod of this release"),
            }),
        ),
        ("unsupported", AgentMessage::Unsupported(Unsupported { message_type: s("dance") })),
    ]
}

fn control() -> Vec<(&'static str, ControlMessage)> {
    let welcome = Welcome {
        session: s("6d0f3c52"),
        store_id: s("st-01"),
        counter: 12,
        capabilities: vec![s("logs")],
        window: window(),
        bulk: s("wss://gateway-1.example/v1/bulk"),
        reconnect_spread_ms: 2_000,
        time: s(TIME),
    };
    let document = Document {
        id: 7,
        kind: s("Release"),
        name: s("web-1f2e3d4c"),
        generation: 12,
        hash: ContentHash::of_document("Release", "web-1f2e3d4c", &Tree::parse(ABSENT.as_bytes()).unwrap()).to_string(),
        provenance: None,
        body: RawValue::from_string(s(ABSENT)).unwrap(),
    };
    let full = Document {
        provenance: Some(Provenance { actor: Some(s("ann")), change_id: Some(s("c-9")), reason: Some(s("retired")) }),
        ..document.clone()
    };
    let start = StreamStart {
        stream: 4,
        key: key(),
        environment: None,
        follow: true,
        tail: Some(100),
        since_seconds: None,
        previous: false,
        stopped: false,
        resume: Vec::new(),
        credit: 262_144,
    };
    let resumed = StreamStart { tail: None, since_seconds: Some(60), resume: vec![s("opaque")], ..start.clone() };
    let run = StreamStart {
        key: ResourceKey { kind: Kind::TaskRun, name: s("oracle-dev-01jv") },
        environment: Some(s("acme-shop-dev")),
        ..start.clone()
    };
    vec![
        ("welcome", ControlMessage::Welcome(Box::new(welcome))),
        ("document", ControlMessage::Document(document)),
        ("document-with-provenance", ControlMessage::Document(full)),
        ("forget", ControlMessage::Forget(Forget { id: 8, key: key(), generation: 12 })),
        ("inventory-need-buckets", ControlMessage::InventoryNeedBuckets),
        (
            "inventory-need-entries",
            ControlMessage::InventoryNeedEntries(InventoryNeedEntries { buckets: vec![3, 255] }),
        ),
        ("inventory-done", ControlMessage::InventoryDone(InventoryDone { held: false })),
        ("adopted", ControlMessage::Adopted(Adopted { store_id: s("st-02"), counter: 40 })),
        ("state-ack", ControlMessage::StateAck(StateAck { key: key(), digest: s(HASH) })),
        (
            "fact-ack",
            ControlMessage::FactAck(FactAck { key: key(), id: s("2f0c0f6e-5d3c-4a63-8d3a-6a8f6a6a9f01/12/Ready/1") }),
        ),
        (
            "renewed",
            ControlMessage::Renewed(Renewed {
                certificate: s("-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n"),
                ca_bundle: None,
            }),
        ),
        (
            "renew-refused",
            ControlMessage::RenewRefused(RenewRefused {
                code: EnrolErrorCode::DataPlaneRevoked,
                message: s("access was taken away"),
            }),
        ),
        ("drain", ControlMessage::Drain(Drain { after_ms: 5_000 })),
        ("stream-start", ControlMessage::StreamStart(start)),
        ("stream-start-resumed", ControlMessage::StreamStart(resumed)),
        ("stream-start-of-a-run", ControlMessage::StreamStart(run)),
        ("stream-stop", ControlMessage::StreamStop(StreamStop { stream: 4 })),
        ("unsupported", ControlMessage::Unsupported(Unsupported { message_type: s("dance") })),
    ]
}

#[test]
fn messages_of_the_agent_stand_on_the_wire_as_promised() {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for (name, message) in agent() {
        let text = encode(&message).unwrap();
        golden::same(&golden::folder("goldens/agent").join(format!("{name}.json")), &format!("{text}\n"));
        assert_eq!(encode(&decode_agent(&text).unwrap()).unwrap(), text, "{name}");
        seen.insert(message_type(&text));
        files.push(format!("{name}.json"));
    }
    golden::only(&golden::folder("goldens/agent"), &files);
    assert_eq!(seen, types_of(&schemars::schema_for!(AgentMessage)));
}

#[test]
fn messages_of_the_control_plane_stand_on_the_wire_as_promised() {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for (name, message) in control() {
        let text = encode(&message).unwrap();
        golden::same(&golden::folder("goldens/control").join(format!("{name}.json")), &format!("{text}\n"));
        assert_eq!(encode(&decode_control(&text).unwrap()).unwrap(), text, "{name}");
        seen.insert(message_type(&text));
        files.push(format!("{name}.json"));
    }
    golden::only(&golden::folder("goldens/control"), &files);
    assert_eq!(seen, types_of(&schemars::schema_for!(ControlMessage)));
}

/// The page is all that another control plane is written from.
#[test]
fn the_page_names_every_message_and_every_end_of_a_stream_and_no_other() {
    let page = std::fs::read_to_string("README.md").unwrap();
    let quoted = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let column = |head: &str, column: usize| -> BTreeSet<String> {
        let rows =
            page.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
        rows.flat_map(|row| quoted(row.split('|').nth(column).unwrap())).collect()
    };
    assert_eq!(column("| Agent says |", 1), types_of(&schemars::schema_for!(AgentMessage)));
    assert_eq!(column("| Agent says |", 3), types_of(&schemars::schema_for!(ControlMessage)));
    let ends: BTreeSet<String> = schemars::schema_for!(EndReason).as_value()["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|end| end["const"].as_str().unwrap().to_owned())
        .filter(|end| *end != EndReason::Other.as_str())
        .collect();
    assert_eq!(column("| A stream ends with |", 1), ends);
}

fn message_type(text: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

fn types_of(schema: &schemars::Schema) -> BTreeSet<String> {
    let variants = schema.as_value()["oneOf"].as_array().unwrap();
    variants.iter().map(|variant| variant["properties"]["type"]["const"].as_str().unwrap().to_owned()).collect()
}
