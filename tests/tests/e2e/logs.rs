//! Logs through the link: what a pod says is at the console at once, in order, and nothing is doubled.

use std::process::Stdio;

use tests::testbed::{Sample, wait_until};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use tests::support::{LIMIT, answered, ask, deploy, place, put_secrets};

#[tokio::test]
async fn every_request_is_in_the_followed_log_once_and_in_order() {
    let place = place("logs").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    let mut follower =
        place.cli.command(&["logs", "httpbin", "--environment", "dev", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    answered(&place, "/version").await;
    let asking = async {
        for number in 0..50 {
            ask(&place, &format!("/status/200?n={number:03}")).await.unwrap();
        }
    };
    let mut seen = Vec::new();
    let reading = async {
        while seen.len() < 50 {
            let line = lines.next_line().await.unwrap().expect("the stream goes on");
            if let Some((_, rest)) = line.split_once("GET /status/200?n=") {
                seen.push(rest.chars().take(3).collect::<String>());
            }
        }
    };
    let (_, read) = tokio::join!(asking, tokio::time::timeout(2 * LIMIT, reading));
    follower.kill().await.unwrap();
    assert!(read.is_ok(), "only {seen:?}");
    let expected: Vec<String> = (0..50).map(|number| format!("{number:03}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_last_lines_are_printed_without_following() {
    let place = place("tail").await;
    put_secrets(&place, "s").await;
    assert_eq!(deploy(&place, Sample::HttpbinOld, &[]).await.code, 0);
    answered(&place, "/version").await;
    for number in 0..5 {
        ask(&place, &format!("/status/200?m={number}")).await.unwrap();
    }
    // Again and again, since each is a stream of its own.
    for _ in 0..5 {
        last_lines_are_there(&place).await;
    }
}

async fn last_lines_are_there(place: &tests::installation::Place) {
    let text = wait_until(LIMIT, "the log", || async {
        match place.cli.run(&["logs", "httpbin", "--environment", "dev", "--tail", "100"]).await {
            // The test beside this one kills the link; without --follow that is the end of a log.
            Err(error) if error.to_string().contains("AgentGone") => Err(error.to_string()),
            other => Ok(other.unwrap()),
        }
    })
    .await
    .unwrap();
    for number in 0..5 {
        assert_eq!(text.matches(&format!("GET /status/200?m={number} ")).count(), 1, "{text}");
    }
}
