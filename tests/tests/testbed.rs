//! The test cluster does what tests rely on: images from a private registry, Services by name, the firewall, NetworkPolicy, the
//! vault's confinement. Uses the shared cluster, with a namespace of its own per test.

#![expect(clippy::unwrap_used, clippy::panic, clippy::string_slice, reason = "helpers of tests")]

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::testbed::{Sample, Side, Testbed, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_pod_from_the_private_registry_is_reached_through_its_service_by_name() {
    let room = Room::new("serve").await;
    room.httpbin("old", Sample::HttpbinOld).await;
    room.httpbin("new", Sample::HttpbinNew).await;
    room.probe().await;
    for (name, sample) in [("old", Sample::HttpbinOld), ("new", Sample::HttpbinNew)] {
        let answer = room.ask(&["get", &format!("http://{name}:8080/version")], "200").await;
        assert!(answer.contains(Testbed::sample_version(sample)), "{name} answered {answer}");
    }
    room.close().await;
}

#[tokio::test]
async fn without_credentials_the_registry_gives_no_image() {
    let room = Room::new("refuse").await;
    let image = room.testbed.sample(Sample::Probe).unwrap();
    room.apply(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stranger", "namespace": room.name },
        "spec": { "containers": [{ "name": "probe", "image": image, "imagePullPolicy": "Always", "args": ["sleep"] }] },
    }))
    .await;
    wait_until(LIMIT, "the pull to be refused", async || {
        let path = "jsonpath={.status.containerStatuses[0].state.waiting.message}";
        let message = room.kubectl(&["get", "pod", "stranger", "-o", path]).await;
        if message.contains("authorization failed") || message.contains("401") { Ok(()) } else { Err(message) }
    })
    .await
    .unwrap();
    room.close().await;
}

#[tokio::test]
async fn nothing_connects_into_the_cluster_while_the_cluster_connects_out() {
    let room = Room::new("edge").await;
    // One listener outside, one inside on the node's address at the link.
    let outside = listen(&room.testbed, Side::ControlPlane, "10.77.1.1").await;
    let inside = listen(&room.testbed, Side::Cluster, "10.77.1.2").await;
    room.probe().await;

    let out = format!("http://control-plane.test:{}/status/204", outside.port);
    room.ask(&["get", &out], "204").await;

    let local = room.testbed.connect(Side::Cluster, inside.address()).await;
    assert!(local.is_ok(), "the listener inside does not listen: {local:?}");
    for address in [inside.address(), "10.77.1.2:6443".parse().unwrap(), "10.77.2.1:6443".parse().unwrap()] {
        let attempt = room.testbed.connect(Side::ControlPlane, address);
        // No route to the node's address, and silence on the link's.
        let outcome = tokio::time::timeout(Duration::from_millis(1500), attempt).await;
        assert!(!matches!(outcome, Ok(Ok(_))), "{address} was reached from outside");
    }
    room.close().await;
}

#[tokio::test]
async fn a_network_policy_cuts_off_pods_and_lets_the_named_ones_through() {
    let room = Room::new("policy").await;
    room.httpbin("web", Sample::HttpbinNew).await;
    room.probe().await;
    room.ask(&["get", "http://web:8080/status/204"], "204").await;
    let policy = |from: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": { "name": "web", "namespace": room.name },
            "spec": { "podSelector": { "matchLabels": { "app": "web" } }, "policyTypes": ["Ingress"],
                      "ingress": [{ "from": [{ "podSelector": { "matchLabels": from } }] }] },
        })
    };
    room.apply(policy(json!({ "app": "nobody" }))).await;
    room.ask(&["dial", "-timeout", "700ms", "web:8080"], "timeout").await;
    room.apply(policy(json!({ "app": "probe" }))).await;
    room.ask(&["dial", "-timeout", "700ms", "web:8080"], "open").await;
    room.close().await;
}

#[tokio::test]
async fn a_vault_login_reads_its_own_namespace_and_no_other() {
    let room = Room::new("vault").await;
    let own = format!("{}/database", room.name);
    let foreign = format!("{}-other/database", room.name);
    for path in [&own, &foreign] {
        room.testbed.vault_put(path, json!({ "password": "pass-word-of-a-test" })).await.unwrap();
    }
    room.kubectl(&["create", "serviceaccount", "pdp-vault"]).await;
    let token = room.kubectl(&["create", "token", "pdp-vault", "--audience=vault"]).await;
    let http = room.testbed.http_client().unwrap();
    let vault = format!("https://127.0.0.1:{}/v1", room.testbed.ports().unwrap().vault);
    let login = async |token: &str| {
        let body = json!({ "role": "pdp-agent", "jwt": token });
        http.post(format!("{vault}/auth/kubernetes/login")).json(&body).send().await.unwrap()
    };
    let answer: Value = login(token.trim()).await.json().await.unwrap();
    let session = answer.pointer("/auth/client_token").and_then(Value::as_str).expect("a login").to_owned();
    let read = async |path: &str| {
        let url = format!("{vault}/secret/data/{path}");
        http.get(url).header("X-Vault-Token", &session).send().await.unwrap().status().as_u16()
    };
    assert_eq!(read(&own).await, 200);
    assert_eq!(read(&foreign).await, 403);

    let wrong_audience = room.kubectl(&["create", "token", "pdp-vault"]).await;
    assert!(!login(wrong_audience.trim()).await.status().is_success(), "a token for another audience was accepted");
    room.close().await;
}

#[tokio::test]
async fn the_audit_log_names_who_did_what() {
    let room = Room::new("audit").await;
    room.kubectl(&["create", "configmap", "marked"]).await;
    wait_until(LIMIT, "the event", async || {
        let events = room.testbed.audit_log().map_err(|error| error.to_string())?;
        let of_ours = |event: &&Value| {
            event.pointer("/objectRef/namespace").and_then(Value::as_str) == Some(&room.name)
                && event.pointer("/objectRef/name").and_then(Value::as_str) == Some("marked")
        };
        match events.iter().find(of_ours) {
            Some(event) if event.pointer("/user/username").and_then(Value::as_str) == Some("admin") => Ok(()),
            Some(event) => Err(event.to_string()),
            None => Err(format!("{} events, none of it", events.len())),
        }
    })
    .await
    .unwrap();
    room.close().await;
}

/// A namespace for one test, with a secret to pull images.
struct Room {
    testbed: Testbed,
    name: String,
}

impl Room {
    async fn new(what: &str) -> Self {
        let testbed = Testbed::from_env().await.unwrap();
        let id = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("testbed-{what}-{}", &id[..6]);
        testbed.kubectl(&["create", "namespace", &name]).await.unwrap();
        testbed.pull_secret(&name, "pull").await.unwrap();
        let room = Self { testbed, name };
        wait_until(LIMIT, "the default ServiceAccount", async || {
            room.testbed.kubectl(&["-n", &room.name, "get", "serviceaccount", "default"]).await
        })
        .await
        .unwrap();
        room
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        self.testbed.kubectl(&[&["-n", &self.name], args].concat()).await.unwrap()
    }

    async fn apply(&self, manifest: Value) {
        self.testbed.apply(&manifest.to_string()).await.unwrap();
    }

    async fn run(&self, name: &str, sample: Sample, args: Value) {
        let image = self.testbed.sample(sample).unwrap();
        self.apply(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.name, "labels": { "app": name } },
            "spec": { "imagePullSecrets": [{ "name": "pull" }],
                      "terminationGracePeriodSeconds": 1,
                      "containers": [{ "name": "main", "image": image, "args": args }] },
        }))
        .await;
        let ready = ["wait", "pod", name, "--for=condition=Ready", "--timeout=60s"];
        if let Err(error) = self.testbed.kubectl(&[&["-n", &self.name], &ready[..]].concat()).await {
            panic!("{error}\n{}", self.testbed.diagnose(&self.name).await);
        }
    }

    async fn httpbin(&self, name: &str, sample: Sample) {
        self.run(name, sample, json!([])).await;
        self.kubectl(&["expose", "pod", name, "--port=8080"]).await;
    }

    async fn probe(&self) {
        self.run("probe", Sample::Probe, json!(["sleep"])).await;
    }

    /// Asks from inside the pod `probe` until the first line of the answer is the expected one.
    async fn ask(&self, args: &[&str], expected: &str) -> String {
        let outcome = wait_until(LIMIT, &format!("{args:?} to be answered by {expected}"), async || {
            let mut command = self.testbed.kubectl_command();
            command.args(["-n", &self.name, "exec", "probe", "--", "/probe"]).args(args);
            let output = command.output().await.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr);
            if text.lines().next() == Some(expected) { Ok(text) } else { Err(format!("{text}{errors}")) }
        })
        .await;
        match outcome {
            Ok(text) => text,
            Err(error) => panic!("{error}\n{}", self.testbed.diagnose(&self.name).await),
        }
    }

    async fn close(self) {
        self.kubectl(&["delete", "namespace", &self.name, "--wait=false"]).await;
    }
}

/// A go-httpbin that listens in one of the two networks as long as it is held.
struct Listener {
    _child: tokio::process::Child,
    ip: &'static str,
    port: u16,
}

impl Listener {
    fn address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::new(self.ip.parse().unwrap(), self.port)
    }
}

async fn listen(testbed: &Testbed, side: Side, ip: &'static str) -> Listener {
    let port = 20000 + (std::process::id() % 10000) as u16;
    let mut command = testbed.in_netns(side, Testbed::sample_program(Sample::HttpbinNew)).unwrap();
    command
        .args(["-host", ip, "-port", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let listener = Listener { _child: command.spawn().unwrap(), ip, port };
    wait_until(LIMIT, "the listener", || testbed.connect(side, listener.address())).await.unwrap();
    listener
}
