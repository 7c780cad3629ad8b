//! What somebody with the link's token would write into the objects that it may write: each field of a status, each mark of a person.

use serde_json::{Value, json};

use super::account::Account;

/// One object that the link may write, as operator and people left it.
pub(crate) struct Written {
    pub(crate) plural: &'static str,
    pub(crate) name: &'static str,
    spec: Value,
    status: Value,
}

/// A fact as statuses hold it.
fn fact(id: &str) -> Value {
    json!({"id": id, "kind": "Ready", "generation": 1, "at": "2026-01-01T00:00:00Z", "reason": "R", "message": ""})
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// One of each kind.
pub(crate) fn all() -> Vec<Written> {
    let facts = json!([fact("a"), fact("b")]);
    let ready = json!([condition("Ready")]);
    vec![
        Written {
            plural: "environments",
            name: "dev",
            spec: json!({"state": "Present", "organization": "acme", "project": "shop", "environment": "dev"}),
            status: json!({"namespace": "dp-acme-shop-dev-fd039d72", "conditions": ready, "facts": facts, "lastFact": 2}),
        },
        Written {
            plural: "releases",
            name: "web",
            spec: json!({"state": "Absent"}),
            status: json!({"namespace": "dp-acme-shop-dev-fd039d72", "conditions": ready, "facts": facts, "lastFact": 2}),
        },
        Written {
            plural: "taskruns",
            name: "nightly",
            spec: json!({"release": "web"}),
            status: json!({"namespace": "dp-acme-shop-dev-fd039d72", "job": "nightly-1", "revision": "web-1", "result": "Succeeded",
                "exitCode": 0, "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z",
                "conditions": [condition("Ended")], "facts": facts, "lastFact": 2}),
        },
        Written {
            plural: "dataplanes",
            name: "default",
            spec: json!({}),
            status: json!({"id": "data-plane-1", "cluster": "uid-1", "schema": 1, "floor": 7, "facts": facts,
                "conditions": [condition("Connected"), condition("OperatorReady")]}),
        },
    ]
}

impl Written {
    fn path(&self, kinds: &str) -> String {
        format!("{kinds}/{}/{}", self.plural, self.name)
    }

    /// Makes the object as it stands before the attacks.
    pub(crate) async fn make(&self, admin: &Account, kinds: &str) {
        let kind = match self.plural {
            "environments" => "Environment",
            "releases" => "Release",
            "taskruns" => "TaskRun",
            _ => "DataPlane",
        };
        let body = json!({"apiVersion": "pdp-agent.dev/v1alpha1", "kind": kind, "metadata": {"name": self.name}, "spec": self.spec});
        let answer = admin.post(&format!("{kinds}/{}", self.plural), &body).await;
        // The chart has made the data plane.
        assert!(answer.status == 201 || answer.status == 409, "{}", answer.text);
        let person = json!({"metadata": {
            "annotations": {"pdp-agent.dev/paused-until": "2030-01-01T00:00:00Z", "pdp-agent.dev/uid": "u"},
            "labels": {"bank.test/owner": "payments"}, "finalizers": ["bank.test/records"],
        }});
        for (path, change) in
            [(self.path(kinds), person), (format!("{}/status", self.path(kinds)), json!({"status": self.status}))]
        {
            let answer = admin.patch(&path, &change).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }

    /// Removes the person's finalizer, annotations and label, so that nothing holds its deletion.
    pub(crate) async fn remove(&self, admin: &Account, kinds: &str) {
        let free = json!({"metadata": {"finalizers": null, "annotations": null, "labels": {"bank.test/owner": null}}});
        let answer = admin.patch(&self.path(kinds), &free).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// What was not refused.
    pub(crate) async fn survivors(&self, link: &Account, kinds: &str) -> Vec<String> {
        let mut survivors = Vec::new();
        for (title, part, change) in self.changes() {
            let path = format!("{}{part}", self.path(kinds));
            let mut object = link.get(&self.path(kinds)).await.json();
            merge(&mut object, &change);
            let answer = link.put(&format!("{path}?dryRun=All"), &object).await;
            if answer.status != 403 || !answer.text.contains("the link of pdp-agent") && !answer.text.contains("floor")
            {
                let text: String = answer.text.chars().take(300).collect();
                survivors.push(format!("{} {}: {title}: {} {text}", self.plural, self.name, answer.status));
            }
        }
        survivors
    }

    fn changes(&self) -> Vec<(String, &'static str, Value)> {
        let mut changes = Vec::new();
        let mut mark =
            |title: &str, metadata: Value| changes.push((title.to_owned(), "", json!({"metadata": metadata})));
        for value in [Value::Null, json!("2001-01-01T00:00:00Z"), json!("")] {
            mark(
                &format!("a person's pause becomes {value}"),
                json!({"annotations": {"pdp-agent.dev/paused-until": value}}),
            );
        }
        mark("the guard against backups is met", json!({"annotations": {"pdp-agent.dev/uid": "another"}}));
        mark("all annotations are gone", json!({"annotations": null}));
        mark("an annotation is added", json!({"annotations": {"bank.test/x": ""}}));
        mark("a label of the customer is gone", json!({"labels": {"bank.test/owner": null}}));
        mark("a label is added", json!({"labels": {"pdp-agent.dev/x": ""}}));
        mark("the customer's finalizer is gone", json!({"finalizers": null}));
        mark("a finalizer keeps it for ever", json!({"finalizers": ["bank.test/records", "evil.test/keep"]}));
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]);
        mark("an owner takes it along", json!({"ownerReferences": owner}));

        let mut write = |title: String, status: Value| changes.push((title, "/status", json!({"status": status})));
        write("a fact is made up".to_owned(), json!({"facts": [fact("a"), fact("b"), fact("c")]}));
        let mut changed = fact("b");
        changed["kind"] = json!("Failed");
        write("a fact is changed".to_owned(), json!({"facts": [fact("a"), changed]}));
        for (field, value) in self.status.as_object().into_iter().flatten() {
            if field == "facts" {
                continue;
            }
            if field != "conditions" || self.plural != "dataplanes" {
                write(format!("{field} is gone"), json!({field: null}));
            }
            let forged = match value {
                Value::Number(number) => json!(number.as_i64().unwrap_or_default() - 1),
                Value::Array(_) => json!([condition("Ready"), condition("Confined")]),
                Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => {
                    json!("kube-system/configmaps/extension-apiserver-authentication?x=")
                }
            };
            write(format!("{field} is forged"), json!({field: forged}));
        }
        if self.plural == "releases" {
            write(
                "bindings are made up".to_owned(),
                json!({"bindings": [{"revision": "web-1", "slots": {"env.A": "pdp-key"}}]}),
            );
        }
        changes
    }

    /// The link's regular write must go through: it removes acknowledged facts.
    pub(crate) async fn acknowledged(&self, link: &Account, kinds: &str) {
        for left in [json!([fact("b")]), json!([])] {
            let mut object = link.get(&self.path(kinds)).await.json();
            merge(&mut object, &json!({"status": {"facts": left}}));
            if self.plural == "dataplanes" {
                let conditions = json!(["CaProposed", "Connected", "OperatorReady"].map(condition));
                let link = json!({"version": "9", "storeId": "s", "floor": 8, "conditions": conditions});
                merge(&mut object, &json!({ "status": link }));
            }
            let answer = link.put(&format!("{}/status", self.path(kinds)), &object).await;
            assert_eq!(answer.status, 200, "{}: {}", self.plural, answer.text);
        }
        let mut object = link.get(&self.path(kinds)).await.json();
        merge(&mut object, &json!({"metadata": {"annotations": {"pdp-agent.dev/fields": "{}"}}}));
        let answer = link.put(&self.path(kinds), &object).await;
        assert_eq!(answer.status, 200, "{}: {}", self.plural, answer.text);
    }
}

/// RFC 7396.
fn merge(object: &mut Value, change: &Value) {
    let (Some(members), Some(changes)) = (object.as_object_mut(), change.as_object()) else {
        *object = change.clone();
        return;
    };
    for (key, value) in changes {
        if value.is_null() {
            members.remove(key);
        } else if value.is_object() {
            merge(members.entry(key.clone()).or_insert_with(|| json!({})), value);
        } else {
            members.insert(key.clone(), value.clone());
        }
    }
}
