//! Streams from end to end: a fake API server that cuts as the real one does, a real WebSocket in memory, a receiver with credit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use protocol::bulk::{Gap, LogChunk};
use protocol::message::EndReason;
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::{Notify, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

mod cluster;
mod last;

use cluster::{Cluster, ended, lines, restarted, running};

/// What a control plane does: it starts streams, gives credit, keeps lines and cursors.
struct Receiver {
    socket: WebSocketStream<DuplexStream>,
    requests: mpsc::Sender<LogRequest>,
    ended: mpsc::Receiver<StreamEnded>,
    service: JoinSet<()>,
    got: BTreeMap<String, Vec<u8>>,
    cursors: BTreeMap<String, String>,
    gaps: Vec<Gap>,
    bytes: u64,
}

const WINDOW: u64 = 40 * 1024;

async fn connect(cluster: &Cluster) -> Receiver {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let agent = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let mut socket = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
    let credit = BulkFrame { stream: 0, offset: 1 << 40, kind: BulkKind::Credit }.encode().unwrap();
    socket.send(Message::Binary(credit.into())).await.unwrap();
    let (requests, incoming) = mpsc::channel(8);
    let (ends, ended) = mpsc::channel(128);
    let agent = Mutex::new(Some(agent));
    let open = move || {
        let socket = agent.lock().unwrap().take();
        async move { socket.ok_or(Error::ConnectionClosed) }
    };
    let context = cluster.context();
    let mut service = JoinSet::new();
    let (round_trip, _) = watch::channel(None);
    service.spawn(serve(context, open, incoming, ends, round_trip, CancellationToken::new()));
    let (got, cursors) = (BTreeMap::new(), BTreeMap::new());
    Receiver { socket, requests, ended, service, got, cursors, gaps: Vec::new(), bytes: 0 }
}

fn start(follow: bool) -> StreamStart {
    StreamStart {
        stream: 1,
        key: ResourceKey { kind: Kind::Release, name: "web".into() },
        environment: None,
        follow,
        tail: None,
        since_seconds: None,
        previous: false,
        stopped: false,
        resume: Vec::new(),
        credit: WINDOW,
    }
}

#[test]
fn a_request_that_waits_is_bounded_in_cursors_and_in_bytes() {
    let with = |resume: Vec<String>, name: usize, environment: usize| StreamStart {
        key: ResourceKey { kind: Kind::Release, name: "n".repeat(name) },
        environment: Some("e".repeat(environment)),
        resume,
        ..start(true)
    };
    assert!(is_bounded(&with(vec!["c".repeat(480); 256], 63, 63)));
    for long in [
        with(vec![String::new(); 257], 1, 1),
        with(vec!["c".repeat(140_000)], 1, 1),
        with(Vec::new(), 140_000, 1),
        with(Vec::new(), 1, 140_000),
    ] {
        assert!(!is_bounded(&long));
    }
}

impl Receiver {
    async fn start(&mut self, start: StreamStart) {
        self.requests.send(LogRequest::Start(Box::new(start))).await.unwrap();
    }

    /// Takes one frame in; the end of the stream if it was that.
    async fn next(&mut self) -> Option<StreamEnd> {
        let message =
            tokio::time::timeout(Duration::from_secs(600), self.socket.next()).await.expect("a frame in time");
        let Message::Binary(frame) = message.unwrap().unwrap() else { return None };
        let frame = BulkFrame::decode(&frame).unwrap();
        match frame.kind {
            BulkKind::Data { payload, partial: _ } => {
                assert_eq!(frame.offset, self.bytes, "offsets go out in order");
                self.bytes += payload.len() as u64;
                let chunk = LogChunk::decode(payload).unwrap();
                self.got.entry(chunk.head.source.clone()).or_default().extend_from_slice(chunk.lines);
                self.cursors.insert(chunk.head.source, chunk.head.cursor);
                let credit =
                    BulkFrame { stream: 1, offset: self.bytes + WINDOW, kind: BulkKind::Credit }.encode().unwrap();
                self.socket.send(Message::Binary(credit.into())).await.unwrap();
                None
            }
            BulkKind::Gap(payload) => {
                self.gaps.push(serde_json::from_slice(payload).unwrap());
                None
            }
            BulkKind::End(payload) => Some(serde_json::from_slice(payload).unwrap()),
            BulkKind::Credit => panic!("credit comes from the receiver"),
        }
    }

    async fn until_end(&mut self) -> StreamEnd {
        loop {
            if let Some(end) = self.next().await {
                return end;
            }
        }
    }

    async fn until(&mut self, source: &str, lines: &[String]) {
        let wanted = lines.concat();
        while self.got.get(source).map_or(0, Vec::len) < wanted.len() {
            assert_eq!(self.next().await, None, "the stream goes on");
        }
        assert_eq!(self.text(source), wanted);
    }

    fn text(&self, source: &str) -> String {
        self.got.get(source).map(|bytes| String::from_utf8(bytes.clone()).unwrap()).unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_two_pods_comes_and_then_the_end() {
    let cluster = Cluster::new(vec![running("a", "c1"), ended("b", "c2")]);
    cluster.change(|inner| {
        inner.logs.insert("c1".into(), lines("c1", 0, 2000));
        inner.logs.insert("c2".into(), lines("c2", 0, 3));
    });
    let mut receiver = connect(&cluster).await;
    receiver.start(start(false)).await;
    assert_eq!(receiver.until_end().await.reason, EndReason::ContainerEnded);
    assert_eq!(receiver.text("a/main"), lines("c1", 0, 2000).concat());
    assert_eq!(receiver.text("b/main"), lines("c2", 0, 3).concat());
}

#[tokio::test(start_paused = true)]
async fn following_over_many_cuts_of_the_api_loses_and_doubles_nothing() {
    let cluster = Cluster::new(vec![running("a", "c1")]);
    cluster.change(|inner| {
        inner.logs.insert("c1".into(), lines("c1", 0, 500));
        inner.cuts = (0..20).map(|n| n * 1237 % 9000).collect();
    });
    let mut receiver = connect(&cluster).await;
    receiver.start(start(true)).await;
    receiver.until("a/main", &lines("c1", 0, 500)).await;
    cluster.change(|inner| inner.logs.get_mut("c1").unwrap().extend(lines("c1", 500, 700)));
    receiver.until("a/main", &lines("c1", 0, 1200)).await;
    assert!(cluster.lock().cuts.is_empty(), "every cut was made");
    assert_eq!(receiver.gaps, []);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_gives_its_last_words_before_the_new_one_and_a_new_pod_joins() {
    let cluster = Cluster::new(vec![running("a", "c1")]);
    cluster.change(|inner| {
        inner.logs.insert("c1".into(), lines("c1", 0, 10));
        inner.cuts = vec![300];
    });
    let mut receiver = connect(&cluster).await;
    receiver.start(start(true)).await;
    while receiver.got.is_empty() {
        receiver.next().await;
    }
    cluster.change(|inner| {
        inner.logs.get_mut("c1").unwrap().extend(lines("c1", 10, 5));
        inner.logs.insert("c2".into(), lines("c2", 0, 4));
        inner.logs.insert("c3".into(), lines("c3", 0, 2));
        inner.pods = vec![restarted("a", "c2", "c1"), running("b", "c3")];
    });
    receiver.until("a/main", &[lines("c1", 0, 15), lines("c2", 0, 4)].concat()).await;
    receiver.until("b/main", &lines("c3", 0, 2)).await;
    assert_eq!(receiver.gaps, []);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_lost_its_connection_goes_on_with_its_cursors() {
    let cluster = Cluster::new(vec![running("a", "c1")]);
    cluster.change(|inner| _ = inner.logs.insert("c1".into(), lines("c1", 0, 800)));
    let mut first = connect(&cluster).await;
    first.start(start(true)).await;
    while first.bytes < 20_000 {
        first.next().await;
    }
    let Receiver { socket, got, cursors, mut ended, .. } = first;
    drop(socket);
    assert_eq!(ended.recv().await.unwrap().reason, EndReason::BulkLost);

    let mut second = connect(&cluster).await;
    second.got = got;
    second.start(StreamStart { resume: cursors.into_values().collect(), tail: Some(3), ..start(true) }).await;
    second.until("a/main", &lines("c1", 0, 800)).await;
    assert_eq!(second.gaps, []);
}

#[tokio::test(start_paused = true)]
async fn what_was_rotated_away_is_a_gap() {
    let cluster = Cluster::new(vec![running("a", "c1")]);
    cluster.change(|inner| _ = inner.logs.insert("c1".into(), lines("c1", 0, 10)));
    let mut first = connect(&cluster).await;
    first.start(start(false)).await;
    first.until_end().await;
    cluster.change(|inner| _ = inner.logs.insert("c1".into(), lines("c1", 20, 10)));
    let mut second = connect(&cluster).await;
    second.start(StreamStart { resume: first.cursors.into_values().collect(), ..start(false) }).await;
    second.until_end().await;
    assert_eq!(second.text("a/main"), lines("c1", 20, 10).concat());
    let [gap] = second.gaps.as_slice() else { panic!("{:?}", second.gaps) };
    assert_eq!((gap.source.as_str(), gap.reason.as_str()), ("a/main", "Rotated"));
}

#[tokio::test(start_paused = true)]
async fn tail_and_previous_begin_where_they_say() {
    let cluster = Cluster::new(vec![restarted("a", "c2", "c1")]);
    cluster.change(|inner| {
        inner.logs.insert("c1".into(), lines("c1", 0, 10));
        inner.logs.insert("c2".into(), lines("c2", 0, 10));
    });
    let mut tail = connect(&cluster).await;
    tail.start(StreamStart { tail: Some(3), ..start(false) }).await;
    tail.until_end().await;
    assert_eq!(tail.text("a/main"), lines("c2", 7, 3).concat());
    let mut previous = connect(&cluster).await;
    previous.start(StreamStart { previous: true, ..start(true) }).await;
    previous.until_end().await;
    assert_eq!(previous.text("a/main"), lines("c1", 0, 10).concat());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_forgotten_is_read_as_long_as_its_pod_stays() {
    let cluster = Cluster::new(vec![ended("a", "c1")]);
    cluster.change(|inner| _ = inner.logs.insert("c1".into(), lines("c1", 0, 7)));
    let key = ResourceKey { kind: Kind::TaskRun, name: "run-1".into() };
    let environment = Some("dev".to_owned());
    for follow in [false, true] {
        let mut receiver = connect(&cluster).await;
        let wanted = StreamStart { key: key.clone(), environment: environment.clone(), ..start(follow) };
        receiver.start(wanted).await;
        assert_eq!(receiver.until_end().await.reason, EndReason::ContainerEnded);
        assert_eq!(receiver.text("a/main"), lines("c1", 0, 7).concat());
    }
    cluster.change(|inner| inner.pods.clear());
    let mut receiver = connect(&cluster).await;
    receiver.start(StreamStart { key: key.clone(), environment, ..start(true) }).await;
    let end = receiver.until_end().await;
    assert!(end.reason == EndReason::NotFound && end.message.contains("an hour"), "{end:?}");

    // A request that names no environment starts no search.
    cluster.change(|inner| inner.paths.clear());
    let mut receiver = connect(&cluster).await;
    receiver.start(StreamStart { key, ..start(true) }).await;
    let end = receiver.until_end().await;
    assert!(end.reason == EndReason::NotFound && end.message.contains("name its environment"), "{end:?}");
    let paths = cluster.lock().paths.clone();
    assert!(!paths.iter().any(|path| path.contains("/pods") || path.contains("environments")), "{paths:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_streams_faster_than_they_start_is_told_to_wait_and_reads_nothing() {
    let cluster = Cluster::new(vec![]);
    let mut receiver = connect(&cluster).await;
    for stream in 1..=64 {
        receiver.start(StreamStart { stream, ..start(false) }).await;
        receiver.until_end().await;
    }
    let before = cluster.lock().paths.len();
    receiver.start(StreamStart { stream: 65, ..start(false) }).await;
    let ended = tokio::time::timeout(Duration::from_secs(600), receiver.ended.recv()).await;
    let ended = ended.expect("a refusal in time").unwrap();
    assert_eq!((ended.stream, ended.reason), (65, EndReason::Busy));
    assert!(ended.message.contains("ask again in 1 s"), "{}", ended.message);
    assert_eq!(cluster.lock().paths.len(), before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    receiver.start(StreamStart { stream: 66, ..start(false) }).await;
    assert_eq!(receiver.until_end().await.reason, EndReason::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_served_ends_with_a_reason() {
    let nobody = ResourceKey { kind: Kind::Release, name: "nobody".into() };
    for (policy, start, reason) in [
        ("Disabled", start(true), EndReason::NotAllowed),
        ("InCluster", start(true), EndReason::NotAllowed),
        ("ThroughLink", StreamStart { key: nobody, ..start(true) }, EndReason::NotFound),
        ("ThroughLink", start(false), EndReason::NotFound),
        ("ThroughLink", StreamStart { resume: vec!["x".into()], ..start(true) }, EndReason::BadCursor),
    ] {
        let cluster = Cluster::new(vec![]);
        cluster.change(|inner| inner.policy = policy);
        let mut receiver = connect(&cluster).await;
        receiver.start(start).await;
        assert_eq!(receiver.until_end().await.reason, reason);
        assert_eq!(cluster.lock().requests, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_holds_up_the_reading_and_nothing_else_grows() {
    let cluster = Cluster::new(vec![running("a", "c1")]);
    cluster.change(|inner| _ = inner.logs.insert("c1".into(), lines("c1", 0, 5000)));
    let mut receiver = connect(&cluster).await;
    receiver.start(StreamStart { credit: 20_000, ..start(true) }).await;
    let mut bytes = 0;
    while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_secs(5), receiver.socket.next()).await {
        if let Message::Binary(frame) = message {
            bytes += frame.len() - protocol::bulk::HEADER;
        }
    }
    assert!(bytes > 0 && bytes <= 20_000, "{bytes}");
    receiver.requests.send(LogRequest::Stop(1)).await.unwrap();
    drop(receiver.requests);
    while receiver.service.join_next().await.is_some() {}
}
