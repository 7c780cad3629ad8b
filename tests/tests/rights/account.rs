//! Raw requests to the API server with somebody's token.

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::attacks::Attack;

/// Somebody who talks to the API server.
pub(crate) struct Account {
    client: Client,
}

/// What the API server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Account {
    pub(crate) const fn admin(client: Client) -> Self {
        Self { client }
    }

    /// The account by a token of its own, as a pod of it would hold.
    pub(crate) async fn of(admin: &Self, kubeconfig: &std::path::Path, namespace: &str, name: &str) -> Self {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
        let answer = admin.post(&path, &request).await;
        let token = answer.json()["status"]["token"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned();
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        config.auth_info = kube::config::AuthInfo { token: Some(SecretString::from(token)), ..Default::default() };
        Self { client: Client::try_from(config).unwrap() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body), &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some(body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, Some(body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None, &[]).await
    }

    pub(crate) async fn send(&self, attack: &Attack) -> Answer {
        self.ask(attack.method, &attack.path, attack.body.as_ref(), &attack.headers).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&'static str, String)]) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = request.body(kube::client::Body::from(body.into_bytes())).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let response = self.client.send(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        Answer { status, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// All that the account may do in a namespace, one line a resource, as the API server reviews it.
    pub(crate) async fn rules(&self, namespace: &str) -> Vec<String> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
        });
        let answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await.json();
        assert_eq!(answer["status"]["incomplete"], false, "{answer}");
        let words = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            let mut words: Vec<String> = all.filter_map(|word| word.as_str().map(str::to_owned)).collect();
            words.sort();
            words.dedup();
            words
        };
        let mut found = std::collections::BTreeMap::<String, Vec<String>>::new();
        for rule in answer["status"]["resourceRules"].as_array().unwrap() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    let group = if group.is_empty() { String::new() } else { format!("{group}/") };
                    for name in words(&rule["resourceNames"])
                        .into_iter()
                        .map(|name| format!(" {name}"))
                        .chain(rule["resourceNames"].as_array().is_none_or(Vec::is_empty).then(String::new))
                    {
                        found.entry(format!("{group}{resource}{name}")).or_default().extend(words(&rule["verbs"]));
                    }
                }
            }
        }
        let line = |(what, mut verbs): (String, Vec<String>)| {
            verbs.sort();
            verbs.dedup();
            format!("{what}: {}", verbs.join(" "))
        };
        found.into_iter().map(line).collect()
    }
}
