//! One installation of the chart with accounts and rights but no pods, in a namespace of its own.

use serde_json::{Value, json};
use tests::testbed::Testbed;

use super::account::Account;
use super::attacks::Places;
use super::bodies;

pub(crate) struct Installation {
    testbed: Testbed,
    admin: Account,
    values: tempfile::NamedTempFile,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

impl Installation {
    /// Installs with real Helm. What an earlier run left under this name is removed first.
    pub(crate) async fn new(name: &str) -> Self {
        let testbed = Testbed::from_env().await.unwrap();
        let admin = Account::admin(testbed.kube_client().await.unwrap());
        let values = json!({
            "controlPlane": {"url": "https://control-plane.test:8443"},
            "image": {"repository": "registry.customer.test:5000/pdp-agent"},
            "link": {"replicas": 0},
            "operator": {"replicas": 0},
            "policy": {
                "registries": [{"prefix": "registry.customer.test:5000/", "pullSecret": "registry"}],
                "environments": [{"organization": "acme"}, {"organization": "acme", "environment": "legacy", "security": "Baseline"}],
                "internalRanges": super::rendered::RANGES,
                "reachableRanges": super::rendered::REACHABLE,
                "dns": {"namespace": super::rendered::DNS.0, "port": super::rendered::DNS.1},
                "defaultQuota": {"pods": 20},
            },
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), values.to_string()).unwrap();
        // Definitions are shared by all installations on this cluster; applying them is safe at the same time as others do.
        let definitions: Vec<String> =
            pdp_agent::kinds::crds().unwrap().iter().map(|crd| serde_json::to_string(crd).unwrap()).collect();
        testbed.apply(&definitions.join("\n---\n")).await.unwrap();
        let this = Self { testbed, admin, values: file, name: name.to_owned(), namespace: name.to_owned() };
        this.remove().await;
        this.upgrade(&[]).await;
        this
    }

    pub(crate) async fn upgrade(&self, more: &[&str]) {
        let chart = tests::installation::artifacts::file("helm/pdp-agent");
        let (chart, values) = (chart.display().to_string(), self.values.path().display().to_string());
        // The definitions belong to whoever came last; all bring the same.
        let mut args = vec!["upgrade", "--install", &self.name, &chart, "--values", &values, "--take-ownership"];
        args.extend(["--namespace", &self.namespace, "--create-namespace", "--wait", "--timeout", "60s"]);
        args.extend(more);
        self.testbed.helm(&args).await.unwrap();
    }

    pub(crate) async fn uninstall(&self) {
        self.testbed.helm(&["uninstall", &self.name, "--namespace", &self.namespace, "--wait"]).await.unwrap();
    }

    async fn remove(&self) {
        let args = ["uninstall", &self.name, "--namespace", &self.namespace, "--wait", "--ignore-not-found"];
        self.testbed.helm(&args).await.unwrap();
        let mine = format!("pdp-agent.dev/installation={}", self.name);
        // A test that failed may have left the customer's finalizer there.
        let left = self.testbed.kubectl(&["get", "namespace", "-l", &mine, "-o", "name"]).await.unwrap();
        for namespace in left.split_whitespace() {
            let free = ["patch", namespace, "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#];
            match self.testbed.kubectl(&free).await {
                // One that was being deleted already may go meanwhile.
                Err(error) if error.to_string().contains("NotFound") => {}
                other => drop(other.unwrap()),
            }
        }
        // All at once, since the cluster takes some seconds for each.
        let own = format!("namespace/{}", self.namespace);
        let mut delete = vec!["delete", "--ignore-not-found", "--wait", &own];
        delete.extend(left.split_whitespace());
        self.testbed.kubectl(&delete).await.unwrap();
        let canary = self.canary_name();
        self.testbed.kubectl(&["-n", "kube-system", "delete", "secret", &canary, "--ignore-not-found"]).await.unwrap();
    }

    /// Removes what the test made.
    pub(crate) async fn close(self) {
        self.remove().await;
    }

    pub(crate) fn admin(&self) -> &Account {
        &self.admin
    }

    pub(crate) async fn account(&self, role: &str) -> Account {
        let name = format!("{}-{role}", self.name);
        Account::of(&self.admin, &self.testbed.kubeconfig(), &self.namespace, &name).await
    }

    /// Name of a namespace as the operator makes them.
    pub(crate) fn ours(&self, suffix: &str) -> String {
        format!("dp-{}-{suffix}", self.name)
    }

    fn canary_name(&self) -> String {
        format!("canary-{}", self.name)
    }

    /// A Secret in `kube-system` that must not be found; returns its name.
    pub(crate) async fn canary(&self, value: &str) -> String {
        let name = self.canary_name();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "kube-system"}, "stringData": {"key": value},
        });
        self.testbed.apply(&secret.to_string()).await.unwrap();
        name
    }

    /// A namespace as the operator would have made it, with these roles bound.
    pub(crate) async fn environment(&self, namespace: &str, roles: &[&str]) {
        self.apply(&bodies::namespace(namespace, &bodies::labels(&self.name))).await;
        for role in roles {
            self.bind(namespace, role, if *role == "logs" { "link" } else { "operator" }).await;
        }
    }

    /// Binds one of this installation's roles in any namespace, as a person could.
    pub(crate) async fn bind(&self, namespace: &str, role: &str, account: &str) {
        let places = Places { agent: self.namespace.clone(), ours: namespace.to_owned(), secret: String::new() };
        let mut binding = bodies::binding(&places, role, account);
        binding["metadata"]["namespace"] = namespace.into();
        self.apply(&binding).await;
    }

    pub(crate) async fn apply(&self, object: &Value) {
        self.testbed.apply(&object.to_string()).await.unwrap();
    }

    /// What the link notes when the control plane has taken the data plane in.
    pub(crate) async fn enrolled_as(&self, id: &str) {
        let path = format!("/apis/pdp-agent.dev/v1alpha1/namespaces/{}/dataplanes/default/status", self.namespace);
        let answer = self.admin.patch(&path, &json!({"status": {"id": id}})).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    pub(crate) async fn remove_namespace(&self, namespace: &str) {
        self.testbed.kubectl(&["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"]).await.unwrap();
    }
}
