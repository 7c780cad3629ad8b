//! A steady stream of HTTP requests that hides nothing: no retries, no pool that re-sends on a closed connection.
//!
//! Each worker owns one connection. With keep-alive it sends the next request as soon as the answer is read; without, it opens a
//! connection per request. Whatever is not a complete 2xx answer is a failure and is kept with its reason. Cancel by the token;
//! the run also ends by itself at its time limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod beside;

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to connect.
    pub target: SocketAddr,
    /// `Host` header.
    pub host: String,
    /// Path of every request.
    pub path: String,
    /// Connections at once.
    pub workers: usize,
    /// One connection for many requests, or one each.
    pub keep_alive: bool,
    /// Requests after which a kept connection is left for a new one, as pools of clients do; without it a connection would stay
    /// with a pod that takes no new ones.
    pub per_connection: u64,
    /// Least time between the starts of two requests of one worker.
    pub pace: Duration,
    /// The run ends after this time at the latest.
    pub limit: Duration,
    /// An answer that contains the first text is counted under the second.
    pub marks: Vec<(String, String)>,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// Requests sent.
    pub requests: u64,
    /// Requests without a complete 2xx answer.
    pub failures: u64,
    /// Connections opened.
    pub connections: u64,
    /// Reasons of failures, with counts; at most twenty different ones.
    pub reasons: BTreeMap<String, u64>,
    /// Answers by mark.
    pub answers: BTreeMap<String, u64>,
    /// Length of the run in seconds.
    pub seconds: f64,
    /// Middle and 99th percentile of complete answers, milliseconds.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    #[serde(skip)]
    times: Vec<Duration>,
}

/// Runs `plan` until `stop` or its limit.
pub async fn run(plan: Plan, stop: CancellationToken) -> Report {
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..plan.workers {
        workers.spawn(worker(plan.clone(), stop.clone(), started));
    }
    let mut total = Report::default();
    while let Some(one) = workers.join_next().await {
        match one {
            Ok(report) => total.add(report),
            Err(error) => total.fail(format!("worker ended: {error}")),
        }
    }
    total.finish(started.elapsed());
    total
}

async fn worker(plan: Plan, stop: CancellationToken, started: Instant) -> Report {
    let mut report = Report::default();
    let mut connection: Option<SendRequest<Empty<Bytes>>> = None;
    let mut on_connection = 0;
    while !stop.is_cancelled() && started.elapsed() < plan.limit {
        let begin = Instant::now();
        // Checked before the next request is written: the server may have closed the idle connection.
        let kept = match connection.take() {
            Some(mut kept) if on_connection < plan.per_connection => kept.ready().await.is_ok().then_some(kept),
            Some(_) | None => None,
        };
        on_connection = if kept.is_some() { on_connection + 1 } else { 1 };
        report.requests += 1;
        match exchange(&plan, kept, &mut report.connections).await {
            Ok((body, reusable)) => {
                report.times.push(begin.elapsed());
                let mark = plan.marks.iter().find(|(needle, _)| body.contains(needle.as_str()));
                *report
                    .answers
                    .entry(mark.map_or_else(|| "other".to_owned(), |(_, name)| name.clone()))
                    .or_default() += 1;
                connection = reusable;
            }
            Err(reason) => report.fail(reason),
        }
        let rest = plan.pace.saturating_sub(begin.elapsed());
        if !rest.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    report
}

/// One request and its whole answer, within five seconds.
async fn exchange(
    plan: &Plan,
    kept: Option<SendRequest<Empty<Bytes>>>,
    connections: &mut u64,
) -> Result<(String, Option<SendRequest<Empty<Bytes>>>), String> {
    let was_kept = kept.is_some();
    let work = async {
        let mut sender = match kept {
            Some(sender) => sender,
            None => {
                *connections += 1;
                let stream = TcpStream::connect(plan.target).await.map_err(|error| format!("connect: {error}"))?;
                let (sender, driver) =
                    http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("handshake: {error}"))?;
                #[expect(clippy::disallowed_methods, reason = "the driver ends with its connection")]
                tokio::spawn(driver);
                sender
            }
        };
        let mut request = http::Request::get(plan.path.as_str()).header("host", plan.host.as_str());
        if !plan.keep_alive {
            request = request.header("connection", "close");
        }
        let request = request.body(Empty::new()).map_err(|error| format!("request: {error}"))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| format!("{} connection: {error}", if was_kept { "kept" } else { "new" }))?;
        let status = answer.status();
        let closing =
            answer.headers().get("connection").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let mut seen: String = answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
        let body = answer.into_body().collect().await.map_err(|error| format!("body: {error}"))?.to_bytes();
        if !status.is_success() {
            return Err(format!("status {}", status.as_u16()));
        }
        seen.push_str(&String::from_utf8_lossy(&body));
        Ok((seen, (plan.keep_alive && !closing).then_some(sender)))
    };
    tokio::time::timeout(Duration::from_secs(5), work).await.unwrap_or_else(|_| Err("no answer in 5 s".to_owned()))
}

impl Report {
    fn fail(&mut self, reason: String) {
        self.failures += 1;
        if self.reasons.len() < 20 || self.reasons.contains_key(&reason) {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.connections += other.connections;
        self.times.extend(other.times);
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        for (mark, count) in other.answers {
            *self.answers.entry(mark).or_default() += count;
        }
    }

    fn finish(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.times.sort_unstable();
        let at = |part: usize| {
            let index = (self.times.len() * part / 100).min(self.times.len().saturating_sub(1));
            self.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        (self.p50_ms, self.p99_ms) = (at(50), at(99));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_are_counted_by_mark_and_connections_are_kept() {
        let report = against(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo".to_vec()], true, 40).await;
        assert_eq!(report.failures, 0, "{report:?}");
        assert_eq!(report.answers.get("second"), Some(&report.requests));
        assert_eq!(report.connections, 1);
    }

    #[tokio::test]
    async fn without_keep_alive_every_request_has_its_connection() {
        let report = against(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo".to_vec()], false, 40).await;
        assert_eq!(report.connections, report.requests);
    }

    #[tokio::test]
    async fn a_cut_answer_is_a_failure() {
        let report = against(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\ntwo".to_vec()], true, 10).await;
        assert_eq!(report.failures, report.requests, "{report:?}");
        assert!(report.reasons.keys().all(|reason| reason.starts_with("body")), "{report:?}");
    }

    /// Serves `answer` to each request, closes after a cut one, and ends the load after `count` of them.
    async fn against(answers: Vec<Vec<u8>>, keep_alive: bool, count: u32) -> Report {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = stop.clone();
        let server = async move {
            let mut left = count;
            while left > 0 {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                while left > 0 && socket.read(&mut buffer).await.unwrap_or(0) > 0 {
                    left -= 1;
                    if left == 0 {
                        served.cancel();
                    }
                    let answer = &answers[0];
                    socket.write_all(answer).await.unwrap();
                    if !keep_alive || answer.ends_with(b"30\r\n\r\ntwo") {
                        break;
                    }
                }
            }
        };
        let plan = Plan {
            target,
            host: "test".to_owned(),
            path: "/".to_owned(),
            workers: 1,
            keep_alive,
            per_connection: u64::MAX,
            pace: Duration::ZERO,
            limit: Duration::from_secs(10),
            marks: vec![("two".to_owned(), "second".to_owned())],
        };
        tokio::join!(run(plan, stop), server).0
    }
}
