//! What pods said last that were stopped: read while they are there, given when they are gone.

use super::*;

fn key(kind: Kind) -> ResourceKey {
    ResourceKey { kind, name: "web".into() }
}

fn last(kind: Kind) -> StreamStart {
    StreamStart { key: key(kind), environment: Some("dev".into()), stopped: kind == Kind::Release, ..start(false) }
}

/// Pods of which one dies again and again, and one runs until it is stopped; what they said is read meanwhile.
async fn stopped(kind: Kind) -> Cluster {
    let died = cluster::pod(
        "a",
        json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        json!({"terminated": {"exitCode": 1, "containerID": "c1"}}),
        "c1",
    );
    let cluster = Cluster::new(vec![died, running("b", "c3")]);
    cluster.change(|inner| {
        inner.logs.insert("c1".into(), lines("c1", 0, 500));
        inner.logs.insert("c3".into(), lines("c3", 0, 3));
        inner
            .pods
            .iter_mut()
            .for_each(|pod| pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]));
    });
    let mut reading = JoinSet::new();
    reading.spawn(cluster.context().read_last_lines(key(kind), "t1".into()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.change(|inner| inner.logs.get_mut("c3").unwrap().extend(lines("c3", 3, 2)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.change(|inner| inner.pods.clear());
    reading.join_next().await.unwrap().unwrap();
    cluster
}

#[tokio::test(start_paused = true)]
async fn the_last_lines_of_a_version_that_was_taken_back_outlive_its_pods() {
    let cluster = stopped(Kind::Release).await;
    let mut receiver = connect(&cluster).await;
    receiver.start(last(Kind::Release)).await;
    assert_eq!(receiver.until_end().await.reason, EndReason::ContainerEnded);
    let whole = lines("c1", 400, 100).concat();
    let kept = receiver.text("a/main");
    assert!(whole.ends_with(&kept) && kept.len() > 7000 && kept.starts_with("2026-"), "{}", kept.len());
    assert_eq!(receiver.text("b/main"), lines("c3", 0, 5).concat(), "up to its end");

    receiver.start(StreamStart { stream: 2, tail: Some(1), ..last(Kind::Release) }).await;
    receiver.bytes = 0;
    receiver.got.clear();
    receiver.until_end().await;
    assert_eq!(
        (receiver.text("a/main"), receiver.text("b/main")),
        (lines("c1", 499, 1).concat(), lines("c3", 4, 1).concat())
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_cancelled_has_its_last_lines_without_being_asked_for_them() {
    let cluster = stopped(Kind::TaskRun).await;
    let mut receiver = connect(&cluster).await;
    receiver.start(last(Kind::TaskRun)).await;
    assert_eq!(receiver.until_end().await.reason, EndReason::ContainerEnded);
    assert_eq!(receiver.text("b/main"), lines("c3", 0, 5).concat());
}

#[tokio::test(start_paused = true)]
async fn last_lines_are_given_only_while_the_customer_lets_logs_through_and_never_made_up() {
    let cluster = stopped(Kind::Release).await;
    cluster.change(|inner| inner.policy = "InCluster");
    let mut receiver = connect(&cluster).await;
    receiver.start(last(Kind::Release)).await;
    assert_eq!((receiver.until_end().await.reason, receiver.text("a/main").as_str()), (EndReason::NotAllowed, ""));

    let reads = cluster.lock().requests.len();
    cluster.change(|inner| inner.pods = vec![running("c", "c4")]);
    cluster.context().read_last_lines(key(Kind::Release), "t2".into()).await;
    assert_eq!(cluster.lock().requests.len(), reads, "nor read");

    let other = Cluster::new(vec![running("c", "c4")]);
    let mut receiver = connect(&other).await;
    receiver.start(last(Kind::Release)).await;
    let end = receiver.until_end().await;
    assert!(end.reason == EndReason::NotFound && end.message.contains("for an hour"), "{}", end.message);
}
