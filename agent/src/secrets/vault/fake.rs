//! A vault of a few lines, for tests: what it answers to which request, and what it was asked.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What a request line begins with, and the status and body of the answer to it.
pub(crate) type Answer = (&'static str, u16, String);

/// Answers one request per connection by the first rule that fits. Gives its address and the lines of requests so far.
pub(crate) async fn serve(rules: Vec<Answer>) -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (mut tasks, lines) = (JoinSet::new(), asked.clone());
    tasks.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = socket.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            lines.lock().unwrap().extend(request.lines().next().map(str::to_owned));
            let rule = rules.iter().find(|(start, _, _)| request.starts_with(start));
            let (status, body) = rule.map_or((500, String::new()), |(_, status, body)| (*status, body.clone()));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            socket.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    (address, asked, tasks)
}

/// What surrounds every answer of a vault.
fn envelope(mut body: serde_json::Value) -> serde_json::Value {
    for (key, value) in
        [("lease_id", json!("")), ("lease_duration", json!(0)), ("renewable", json!(false)), ("request_id", json!("r"))]
    {
        body[key] = value;
    }
    body
}

/// A login that is let in.
pub(crate) fn login() -> Answer {
    let auth = envelope(
        json!({"auth": {"client_token": "s.token", "accessor": "", "policies": [], "token_policies": [], "metadata": null,
        "lease_duration": 600, "renewable": true, "entity_id": "", "token_type": "service", "orphan": true}}),
    );
    ("POST /v1/auth/kubernetes/login", 200, auth.to_string())
}

/// What lies at the path that the request line `start` reads.
pub(crate) fn secret(start: &'static str, body: serde_json::Value) -> Answer {
    let metadata =
        json!({"created_time": "", "deletion_time": "", "custom_metadata": null, "destroyed": false, "version": 1});
    (start, 200, envelope(json!({"data": {"data": body, "metadata": metadata}})).to_string())
}
