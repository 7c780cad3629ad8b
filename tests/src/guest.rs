//! A second installation beside the shared one: a namespace, a Helm release and a data plane of its own, which may fail to enrol.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "support of tests: a broken expectation is a failed test"
)]

use crate::installation::{Installation, Options, answer};
use crate::support::{LIMIT, agent};
use crate::testbed::wait_until;
use serde_json::{Value, json};

/// See the module. Everything of it has the same name.
#[derive(Debug)]
pub struct Guest {
    /// Of namespace, release and data plane.
    pub name: String,
    /// As an installation.
    pub agent: Installation,
}

impl Guest {
    /// Registers it at the control plane; nothing is installed yet. Returns it with its token.
    pub async fn new(name: &str) -> (Self, String) {
        Self::of(name, &agent().await.options.organization).await
    }

    /// The same as a data plane of another organization.
    pub async fn of(name: &str, organization: &str) -> (Self, String) {
        let shared = agent().await;
        let name = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..4]);
        let options = Options {
            namespace: name.clone(),
            release: name.clone(),
            data_plane: name.clone(),
            organization: organization.to_owned(),
            ..shared.options.clone()
        };
        let agent = Installation { options, ..shared.clone() };
        let token = agent.register().await.unwrap();
        (Self { name, agent }, token)
    }

    /// Installs or upgrades with these values on top of the usual ones.
    pub async fn install(&mut self, token: Option<&str>, mut values: Value) {
        values["crds"] = json!({ "enabled": false });
        // No quota, as in the shared installation.
        values["objectQuota"] = Value::Null;
        self.agent.options.values = values.to_string();
        self.agent.prepare_namespace().await.unwrap();
        self.agent.helm_install(token).await.unwrap();
    }

    /// Waits until the condition `Connected` says no, for this reason and with these words, and finds the same in the log, in
    /// readiness and in what the doctor prints.
    pub async fn is_told(&self, reason: &str, words: &[&str]) {
        let waited = wait_until(LIMIT, &format!("the condition {reason}"), || async {
            let condition = self.condition().await?;
            let message = condition["message"].as_str().unwrap_or_default();
            let fits = condition["status"] == "False" && condition["reason"] == reason;
            if fits && words.iter().all(|word| message.contains(word)) { Ok(()) } else { Err(condition.to_string()) }
        })
        .await;
        self.or_diagnose(waited).await;
        let waited = wait_until(LIMIT, "readiness to say so", || async {
            let ip =
                ["get", "pods", "-l", "app.kubernetes.io/component=link", "-o", "jsonpath={.items[*].status.podIP}"];
            let ip = self.kubectl(&ip).await?;
            let address = format!("{ip}:8081").parse().map_err(|_| format!("the pods have {ip}"))?;
            let answer = answer(&self.agent.bed, address, "/readyz").await.map_err(|error| error.to_string())?;
            if answer.contains(" 503 ") && answer.contains(reason) { Ok(()) } else { Err(answer) }
        })
        .await;
        self.or_diagnose(waited).await;
        let log = self.log().await;
        let told = |line: &str| line.contains(&format!("\"{reason}\"")) && words.iter().all(|word| line.contains(word));
        assert!(log.lines().any(told), "{reason} with {words:?} is not in the log: {log}");
        let (code, said) = self.doctor().await;
        assert!(words.iter().any(|word| said.contains(word)), "none of {words:?} is in the doctor's findings: {said}");
        assert!(said.contains("FAIL") || said.contains("warn") || code != 0, "the doctor is content: {said}");
    }

    /// Waits until the control plane says that it is connected.
    pub async fn connects(&self) {
        self.agent.connected(LIMIT).await.unwrap();
    }

    /// What the link has logged.
    pub async fn log(&self) -> String {
        self.kubectl(&["logs", &self.link(), "--tail=-1"]).await.unwrap()
    }

    /// The condition `Connected`.
    pub async fn condition(&self) -> Result<Value, String> {
        self.condition_of("Connected").await
    }

    /// A condition of the data plane.
    pub async fn condition_of(&self, kind: &str) -> Result<Value, String> {
        let plane = self.json(&["get", "dataplanes.pdp-agent.dev", "default"]).await?;
        let conditions = plane.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        conditions.into_iter().find(|one| one["type"] == kind).ok_or_else(|| plane.to_string())
    }

    /// The Secret with key and certificate.
    pub async fn identity(&self) -> Value {
        self.json(&["get", "secret", &format!("{}-identity", self.name)]).await.unwrap()
    }

    /// Merges `data` (base64; null removes) into that Secret.
    pub async fn set_identity(&self, data: Value) {
        let patch = json!({ "data": data }).to_string();
        self.kubectl(&["patch", "secret", &format!("{}-identity", self.name), "--type=merge", "-p", &patch])
            .await
            .unwrap();
    }

    /// Starts the link again: a new process that reads everything anew.
    pub async fn restart_link(&self) {
        self.kubectl(&["delete", "pod", "-l", "app.kubernetes.io/component=link"]).await.unwrap();
    }

    /// Exit code and output of the doctor in the link's pod.
    pub async fn doctor(&self) -> (i32, String) {
        let mut command = self.agent.bed.kubectl_command();
        command.args(["-n", &self.name, "exec", &self.link(), "--", "/pdp-agent", "doctor"]);
        let output = command.output().await.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    }

    /// Removes it from the cluster.
    pub async fn close(self) {
        let bed = &self.agent.bed;
        bed.helm(&["uninstall", &self.name, "-n", &self.name, "--ignore-not-found"]).await.unwrap();
        bed.kubectl(&["delete", "namespace", &self.name, "--wait=false"]).await.unwrap();
    }

    fn link(&self) -> String {
        format!("deploy/{}-link", self.name)
    }

    async fn json(&self, args: &[&str]) -> Result<Value, String> {
        let text = self.kubectl(&[args, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// `kubectl` in its namespace.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let args = [&["-n", &self.name], args].concat();
        self.agent.bed.kubectl(&args).await.map_err(|error| error.to_string())
    }

    async fn or_diagnose<E: std::fmt::Display>(&self, waited: Result<(), E>) {
        if let Err(error) = waited {
            panic!("{error}\n{}", self.agent.bed.diagnose(&self.name).await);
        }
    }
}
