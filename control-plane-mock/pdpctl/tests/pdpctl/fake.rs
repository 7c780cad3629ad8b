//! A control plane that only answers what a test has written down, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use pdpctl::Width;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::shell::{Outcome, Shell};

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /organizations?x=y`, without the common prefix.
    pub(crate) what: String,
    /// The bearer token.
    pub(crate) token: Option<String>,
    /// The body, if it was JSON.
    pub(crate) body: Value,
}

#[derive(Default)]
struct Script {
    replies: Mutex<BTreeMap<String, VecDeque<(u16, String)>>>,
    asked: Mutex<Vec<Asked>>,
}

/// The server; it ends when dropped.
pub(crate) struct Fake {
    script: Arc<Script>,
    address: SocketAddr,
    home: tempfile::TempDir,
    _server: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Script::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(script.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { script, address, home: tempfile::tempdir().unwrap(), _server: server }
    }

    /// Answers `what` (`GET /version`) with these, in order; the last one again and again.
    pub(crate) fn reply(&self, what: &str, replies: impl IntoIterator<Item = (u16, Value)>) -> &Self {
        let replies = replies.into_iter().map(|(status, value)| (status, value.to_string())).collect();
        self.script.replies.lock().unwrap().insert(what.to_owned(), replies);
        self
    }

    /// Answers `what` with text.
    pub(crate) fn text(&self, what: &str, text: &str) -> &Self {
        self.script.replies.lock().unwrap().insert(what.to_owned(), [(200, text.to_owned())].into());
        self
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.asked.lock().unwrap().clone()
    }

    /// Requests as words.
    pub(crate) fn whats(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.what).collect()
    }

    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    /// Writes a file into the home folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// Variables that say all a context could.
    pub(crate) fn vars(&self) -> BTreeMap<String, String> {
        let home = self.home.path().display().to_string();
        let pairs = [
            ("HOME", home),
            ("PDPCTL_SERVER", self.server()),
            ("PDPCTL_TOKEN", "canary-token".to_owned()),
            ("PDPCTL_ORGANIZATION", "acme".to_owned()),
            ("PDPCTL_PROJECT", "shop".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Runs one command line; its words are parted by spaces.
    pub(crate) async fn run(&self, line: &str) -> Outcome {
        run(line, self.vars(), Width::Unlimited).await
    }
}

/// Runs one command line with these variables.
pub(crate) async fn run(line: &str, vars: BTreeMap<String, String>, width: Width) -> Outcome {
    run_with(line, vars, width, None).await
}

/// Runs one command line on a terminal, where a person answers every question with `answer`.
pub(crate) async fn run_on_a_terminal(line: &str, vars: BTreeMap<String, String>, answer: &'static str) -> Outcome {
    run_with(line, vars, Width::Columns(100), Some(answer)).await
}

async fn run_with(line: &str, vars: BTreeMap<String, String>, width: Width, answer: Option<&'static str>) -> Outcome {
    let now = || Timestamp::from_second(1_795_262_400).unwrap();
    let shell = Shell { vars, out_width: width, err_width: width, answer, now, secret: "canary-token".to_owned() };
    shell.run(line).await
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let what = format!("{} {}", parts.method, path.trim_start_matches("/api/v1"));
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let asked = Asked { what: what.clone(), token, body: serde_json::from_slice(&body).unwrap_or_default() };
    script.asked.lock().unwrap().push(asked);
    let mut replies = script.replies.lock().unwrap();
    let (status, text) = match replies.get_mut(&what) {
        Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
        Some(queue) => queue.front().cloned().unwrap(),
        None => {
            let problem =
                serde_json::json!({ "code": "NotFound", "message": format!("nothing is written down for {what}") });
            (404, problem.to_string())
        }
    };
    Response::builder().status(status).body(Body::from(text)).unwrap()
}
