//! The operator by itself, inside the test's process, against the test cluster: what only shows over restarts, upgrades and
//! restores. Each test has an agent namespace and a data plane id of its own; nothing of the link runs.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::time::Duration;

use pdp_agent::kinds::labels::MANAGER;
use pdp_agent::operator;
use pdp_agent::settings::Settings;
use serde_json::{Value, json};
use tests::support::in_process::Running;
use tests::testbed::{Sample, Testbed, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_key_that_a_release_drops_disappears_from_its_deployment() {
    let stage = Stage::new("drops").await;
    let operator = stage.start().await;
    let with_key =
        json!({"args": ["/bin/go-httpbin", "-port", "8080"], "env": [{"name": "GREETING", "value": "hello"}]});
    stage.release("web", with_key).await;
    stage.serves("web", 1).await;
    let container = |deployment: &Value| deployment["spec"]["template"]["spec"]["containers"][0].clone();
    assert_eq!(container(&stage.deployment("web").await.unwrap())["env"][0]["name"], "GREETING");
    // The first write after a create: its fields are owned by an update, so an apply alone would not remove them.
    stage.release("web", json!({})).await;
    stage.serves("web", 2).await;
    let found = container(&stage.deployment("web").await.unwrap());
    assert_eq!((found.get("env"), found.get("args")), (None, None), "{found}");
    operator.stop().await;
    stage.close().await;
}

#[tokio::test]
async fn a_restarted_operator_writes_nothing_about_what_is_as_it_should_be() {
    let stage = Stage::new("quiet").await;
    let operator = stage.start().await;
    stage.release("web", json!({})).await;
    stage.serves("web", 1).await;
    operator.stop().await;
    let before = stage.versions("web").await;
    let operator = stage.start().await;
    // A second release that comes through shows that the operator has looked at everything.
    stage.release("other", json!({})).await;
    stage.serves("other", 1).await;
    assert_eq!(stage.versions("web").await, before);
    operator.stop().await;
    stage.close().await;
}

#[tokio::test]
async fn an_agent_that_renders_otherwise_changes_no_pod() {
    let stage = Stage::new("renders").await;
    let operator = stage.start().await;
    stage.release("web", json!({})).await;
    stage.serves("web", 1).await;
    operator.stop().await;
    // As if an older agent had rendered it: the same content, another outcome.
    let workloads = stage.workloads();
    let name =
        stage.own("release", "web").await.unwrap()["status"]["effective"]["revision"].as_str().unwrap().to_owned();
    let mut stored = stage.object(&workloads, "controllerrevision", &name).await.unwrap();
    stored["metadata"] = json!({"name": name, "namespace": workloads, "labels": stored["metadata"]["labels"]});
    stored["data"]["renderer"] = json!(0);
    let objects = stored["data"]["objects"].as_array_mut().unwrap();
    let deployment = objects.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["metadata"]["annotations"] = json!({"rendered-by": "an older agent"});
    stage.kubectl(&["-n", &workloads, "delete", "controllerrevision", &name]).await;
    stage.kubectl(&["-n", &workloads, "delete", "deployment", "web"]).await;
    stage.bed.apply(&stored.to_string()).await.unwrap();
    let operator = stage.start().await;
    wait_until(LIMIT, "the stored rendering is applied", async || {
        let deployment = stage.deployment("web").await.ok_or("no Deployment yet")?;
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        if annotations["rendered-by"] == "an older agent" { Ok(()) } else { Err(format!("{annotations}")) }
    })
    .await
    .unwrap();
    stage.serves("web", 1).await;
    operator.stop().await;
    let before = stage.versions("web").await;
    let operator = stage.start().await;
    stage.release("other", json!({})).await;
    stage.serves("other", 1).await;
    assert_eq!(stage.versions("web").await, before);
    operator.stop().await;
    stage.close().await;
}

#[tokio::test]
async fn a_restored_installation_is_left_alone_until_a_person_confirms() {
    let stage = Stage::new("restored").await;
    let operator = stage.start().await;
    stage.release("web", json!({})).await;
    stage.serves("web", 1).await;
    stage.annotate_uid("00000000-0000-0000-0000-000000000000").await;
    wait_until(LIMIT, "the operator says that it does not work", async || stage.operator_ready("False Restored").await)
        .await
        .unwrap();
    stage.kubectl(&["-n", &stage.workloads(), "delete", "deployment", "web", "--wait"]).await;
    let uid = stage.own("dataplane", "default").await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    assert!(stage.deployment("web").await.is_none());
    stage.annotate_uid(&uid).await;
    wait_until(LIMIT, "it works again", async || stage.operator_ready("True Working").await).await.unwrap();
    wait_until(LIMIT, "the Deployment is back", async || stage.deployment("web").await.ok_or("not yet")).await.unwrap();
    operator.stop().await;
    stage.close().await;
}

#[tokio::test]
async fn a_release_object_that_vanishes_leaves_its_workload_running() {
    let stage = Stage::new("vanishes").await;
    let operator = stage.start().await;
    stage.release("web", json!({})).await;
    stage.serves("web", 1).await;
    let before = stage.deployment("web").await.unwrap()["metadata"]["uid"].clone();
    stage.kubectl(&["-n", &stage.namespace, "delete", "release", "web", "--wait"]).await;
    stage.release("other", json!({})).await;
    stage.serves("other", 1).await;
    assert_eq!(stage.deployment("web").await.unwrap()["metadata"]["uid"], before);
    operator.stop().await;
    stage.close().await;
}

/// One agent namespace with an installation, a policy and an environment.
struct Stage {
    bed: Testbed,
    namespace: String,
}

impl Stage {
    async fn new(name: &str) -> Self {
        let bed = Testbed::from_env().await.unwrap();
        let namespace = format!("operator-{name}-{}", uuid::Uuid::new_v4().simple());
        let definitions: Vec<String> =
            pdp_agent::kinds::crds().unwrap().iter().map(|crd| serde_json::to_string(crd).unwrap()).collect();
        bed.apply(&definitions.join("\n---\n")).await.unwrap();
        let auth = bed.instance().unwrap().path("config").join("registry-auth.json");
        let auth = std::fs::read_to_string(auth).unwrap();
        let kind = |kind: &str, name: &str, rest: Value| {
            let mut object = json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}});
            object["spec"] = rest;
            object
        };
        let objects = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": namespace},
                "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": auth}}),
            kind("DataPlane", "default", json!({})),
            kind(
                "DataPlanePolicy",
                "default",
                json!({
                    "registries": [{"prefix": "registry.customer.test:5000/", "pullSecret": "registry"}], "logs": {"mode": "Disabled"},
                }),
            ),
            kind(
                "Environment",
                "dev",
                json!({
                    "state": "Present", "organization": "acme", "project": namespace, "environment": "dev",
                }),
            ),
        ];
        let manifests: Vec<String> = objects.iter().map(Value::to_string).collect();
        bed.apply(&manifests.join("\n---\n")).await.unwrap();
        let this = Self { bed, namespace };
        // Its own id keeps its objects apart from those of other installations on this cluster.
        let id = json!({"status": {"id": this.namespace}}).to_string();
        let patch = ["patch", "dataplane", "default", "--subresource=status", "--type=merge", "-p", &id];
        this.kubectl(&[&["-n", &this.namespace][..], &patch].concat()).await;
        this
    }

    async fn start(&self) -> Running {
        let settings = Settings {
            namespace: self.namespace.clone(),
            fullname: "pdp-agent".to_owned(),
            agent: format!("{}.pdp-agent", self.namespace),
            admission_policies: false,
            admin_address: "127.0.0.1:0".parse().unwrap(),
            instance: "test".to_owned(),
        };
        Running::start(self.bed.kube_client().await.unwrap(), settings)
    }

    fn workloads(&self) -> String {
        operator::object::fixed::namespace_name("acme", &self.namespace, "dev")
    }

    /// Makes or replaces a release: one pod, one endpoint, and whatever `more` says.
    async fn release(&self, name: &str, more: Value) {
        let mut spec = json!({
            "state": "Present",
            "environment": "dev",
            "owner": {"component": name, "track": "v1.0"},
            "type": "Service",
            "image": self.bed.sample(Sample::HttpbinOld).unwrap(),
            "endpoints": [{"name": "http", "port": 8080, "kind": "HTTP"}],
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        let found = self.own("release", name).await.is_some();
        self.kubectl(&[if found { "replace" } else { "create" }, "-f", &file.path().display().to_string()]).await;
    }

    /// Waits until the release's generation serves.
    async fn serves(&self, name: &str, generation: i64) {
        let ready = wait_until(LIMIT, "the release serves", async || {
            let release = self.own("release", name).await.ok_or("it does not exist")?;
            let conditions = release["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
            let is = ready["status"] == "True" && ready["observedGeneration"] == generation;
            if is { Ok(()) } else { Err(format!("{conditions:?}")) }
        });
        if let Err(error) = ready.await {
            panic!(
                "{error}\n{}\n{}",
                self.bed.diagnose(&self.namespace).await,
                self.bed.diagnose(&self.workloads()).await
            );
        }
    }

    /// What the operator last wrote of a release: the object itself by its version, what lies in the environment by uid, generation and
    /// the operator's own entries of who wrote what and when. Other controllers write there too whenever they will (status, the
    /// revision of a Deployment), and so change the resource version.
    async fn versions(&self, name: &str) -> Vec<String> {
        let mut found = vec![self.own("release", name).await.unwrap()["metadata"]["resourceVersion"].to_string()];
        let label = format!("pdp-agent.dev/release={name}");
        let kinds = "deployment,service,configmap,pdb,controllerrevision,pod";
        let get = ["-n", &self.workloads(), "get", kinds, "-l", &label, "-o", "json", "--show-managed-fields"];
        let list: Value = serde_json::from_str(&self.kubectl(&get).await).unwrap();
        let version = |object: &Value| {
            let metadata = &object["metadata"];
            let named = format!("{} {} {}", object["kind"], metadata["name"], metadata["uid"]);
            // A pod is its controller's, and one that drains goes when it will.
            if object["kind"] == "Pod" {
                return metadata["deletionTimestamp"].is_null().then_some(named);
            }
            let entries = metadata["managedFields"].as_array().into_iter().flatten();
            let own: Vec<&Value> = entries.filter(|entry| entry["manager"] == MANAGER).collect();
            Some(format!("{named} {} {own:?}", metadata["generation"]))
        };
        found.extend(list["items"].as_array().unwrap().iter().filter_map(version));
        found
    }

    async fn operator_ready(&self, expected: &str) -> Result<(), String> {
        let data_plane = self.own("dataplane", "default").await.ok_or("it does not exist")?;
        let conditions = data_plane["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found =
            conditions.iter().find(|condition| condition["type"] == "OperatorReady").cloned().unwrap_or_default();
        let found = format!("{} {}", found["status"], found["reason"]).replace('"', "");
        if found == expected { Ok(()) } else { Err(found) }
    }

    async fn annotate_uid(&self, uid: &str) {
        let annotation = format!("pdp-agent.dev/uid={uid}");
        self.kubectl(&["-n", &self.namespace, "annotate", "dataplane", "default", "--overwrite", &annotation]).await;
    }

    async fn deployment(&self, name: &str) -> Option<Value> {
        self.object(&self.workloads(), "deployment", name).await
    }

    async fn own(&self, kind: &str, name: &str) -> Option<Value> {
        self.object(&self.namespace, &format!("{kind}.pdp-agent.dev"), name).await
    }

    async fn object(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let text = self.kubectl(&["-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found"]).await;
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        self.bed.kubectl(args).await.unwrap()
    }

    async fn close(self) {
        self.kubectl(&["delete", "namespace", &self.namespace, &self.workloads(), "--wait=false"]).await;
    }
}
