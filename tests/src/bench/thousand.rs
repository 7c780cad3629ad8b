//! A thousand releases to an empty cluster, beside the same calls made raw in the same run.
//!
//! "The same calls" is taken literally: what the agent asked of the API server for one first release, read off the audit log, is
//! replayed with the objects that it made, under other names, sixteen releases at a time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::calls::{self, Call};
use super::documents::Documents;
use super::raw::{NAMESPACE, Step, Writer};
use crate::testbed::{Testbed, wait_until};

/// Within which the raw Services and what the cluster keeps beside them are gone.
const CLEARED: Duration = Duration::from_mins(2);

/// All figures of this part.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    pub(super) releases: usize,
    /// First document sent until the last release was reported ready.
    pub(super) applied: Duration,
    /// The same until half of them were.
    pub(super) half: Duration,
    /// First document sent until the last answer.
    pub(super) accepted: Duration,
    pub(super) raw: Duration,
    pub(super) raw_calls: usize,
    /// By what they do, of all releases together.
    pub(super) calls: BTreeMap<String, usize>,
    pub(super) sample: BTreeMap<String, usize>,
}

/// Which calls one first release takes, as steps to replay; and their counts.
pub(super) async fn sample(
    bed: &Testbed,
    documents: &Documents,
    namespace: &str,
) -> Result<(Vec<Step>, BTreeMap<String, usize>)> {
    let from = Timestamp::now();
    documents.deploy("sample", 0).await?;
    documents.ready("sample").await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let calls = calls::between(bed, from, Timestamp::now())?;
    let release = documents.release("sample").await?;
    let objects = objects(bed, namespace, &release).await?;
    let counts = calls::counted(&calls);
    let steps = calls.iter().filter_map(|call| step(call, &objects, &release)).collect();
    Ok((steps, counts))
}

/// Everything that the release consists of, as it stands in the cluster.
async fn objects(bed: &Testbed, namespace: &str, release: &str) -> Result<Vec<Value>> {
    let kinds = "deployments,services,configmaps,networkpolicies,poddisruptionbudgets,controllerrevisions.apps";
    let label = format!("pdp-agent.dev/release={release}");
    let text = bed.kubectl(&["get", kinds, "-n", namespace, "-l", &label, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    let mut all = list.get("items").and_then(Value::as_array).cloned().context("no list")?;
    let text = bed.kubectl(&["get", "releases.pdp-agent.dev", release, "-n", "pdp-agent", "-o", "json"]).await?;
    all.push(serde_json::from_str(&text)?);
    Ok(all)
}

const fn plural(kind: &str) -> Option<&'static str> {
    Some(match kind.as_bytes() {
        b"Deployment" => "deployments",
        b"Service" => "services",
        b"ConfigMap" => "configmaps",
        b"NetworkPolicy" => "networkpolicies",
        b"PodDisruptionBudget" => "poddisruptionbudgets",
        b"ControllerRevision" => "controllerrevisions",
        b"Release" => "releases",
        _ => return None,
    })
}

/// A call as it is made raw; none for one whose object is not of this release.
fn step(call: &Call, objects: &[Value], release: &str) -> Option<Step> {
    let about = call.object();
    let of_kind = |object: &&Value| {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        plural(kind) == Some(about.resource.as_str())
    };
    let named = |object: &&Value| {
        about.name.is_empty() || object.pointer("/metadata/name").and_then(Value::as_str) == Some(about.name.as_str())
    };
    let found = if about.resource == "pods" {
        // One pod from the template, as a dry run.
        let deployment =
            objects.iter().find(|object| object.get("kind").and_then(Value::as_str) == Some("Deployment"))?;
        let template = deployment.pointer("/spec/template")?.clone();
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata"), "spec": template.get("spec") });
        pod.as_object_mut()?.get_mut("metadata")?.as_object_mut()?.insert("name".to_owned(), json!(release));
        pod
    } else {
        objects.iter().find(|object| of_kind(object) && named(object)).or_else(|| objects.iter().find(of_kind))?.clone()
    };
    let name = own_name(found.pointer("/metadata/name")?.as_str()?, release);
    let version = found.get("apiVersion")?.as_str()?.to_owned();
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let collection = format!("{root}/namespaces/{NAMESPACE}/{}", about.resource);
    let dry = if call.is_dry_run() { "&dryRun=All" } else { "" };
    let status = if about.subresource == "status" { "/status" } else { "" };
    let one = format!("{collection}/{name}{status}");
    Some(match (call.verb.as_str(), status) {
        ("create", _) => Step::new("POST", format!("{collection}?fieldManager=raw{dry}"), Some(clean(&found, &name))),
        // Without the resourceVersion that the real call names: the replayed object has another.
        ("update" | "patch", "/status") => {
            let status = json!({ "status": found.get("status") });
            Step::new("MERGE", format!("{one}?fieldManager=raw"), Some(status))
        }
        ("update" | "patch", _) => {
            Step::new("APPLY", format!("{one}?fieldManager=raw&force=true{dry}"), Some(clean(&found, &name)))
        }
        ("get", _) => Step::new("GET", one, None),
        _ => return None,
    })
}

/// A name that each replayed release has for itself: that of a Service is the component's, not the release's.
fn own_name(name: &str, release: &str) -> String {
    if name.contains(release) { name.to_owned() } else { format!("{name}-{release}") }
}

/// An object as somebody would write it, under this name.
fn clean(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "labels" | "annotations"));
            metadata.insert("name".to_owned(), json!(name));
            metadata.insert("namespace".to_owned(), json!(NAMESPACE));
        }
        if let Some(spec) = members.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
    }
    // Neither the object nor what controllers make of it may carry our label: the operator must not look at them.
    let text = object.to_string().replace("pdp-agent.dev/data-plane", "example.com/data-plane");
    serde_json::from_str(&text).unwrap_or(object)
}

/// Measures. `steps` are the calls of one release.
pub(super) async fn measure(
    bed: &Testbed,
    documents: &Documents,
    writer: &mut Writer,
    releases: usize,
    (steps, sample): (Vec<Step>, BTreeMap<String, usize>),
    release: &str,
    folder: &Path,
) -> Result<Figures> {
    let file = folder.join("steps.json");
    std::fs::write(&file, serde_json::to_string(&(release, &steps))?)?;
    let raw = writer.same(&file, releases).await?;
    // kube-proxy does work for every Service whenever one changes, so the agent's part starts with as few Services as the raw one did.
    bed.kubectl(&["delete", "--raw", &format!("/api/v1/namespaces/{NAMESPACE}/services")]).await?;
    wait_until(CLEARED, "the raw Services to be gone", async || {
        let left = bed.kubectl(&["get", "services,endpointslices", "-n", NAMESPACE, "-o", "name"]).await?;
        let left = left.lines().count();
        anyhow::ensure!(left == 0, "{left} objects");
        Ok(())
    })
    .await?;
    documents.hold().await?;
    documents.deploy_many("thousand", releases, 0).await?;
    let from = Timestamp::now();
    let [accepted, half, applied] = documents.released(releases).await?;
    let calls = calls::between(bed, from, Timestamp::now())?;
    Ok(Figures {
        releases,
        half,
        applied,
        accepted,
        raw,
        raw_calls: steps.len(),
        calls: calls::counted(&calls),
        sample,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second create under one name is refused, which costs the API server much less than the first.
    #[test]
    fn each_replayed_release_creates_objects_of_its_own() {
        let call: Call = serde_json::from_value(json!({
            "auditID": "1", "stage": "ResponseComplete", "verb": "create", "requestURI": "/api/v1/namespaces/n/services",
            "user": { "username": "u" }, "objectRef": { "resource": "services", "name": "shop-http-v1-0" },
            "requestReceivedTimestamp": "2030-01-31T12:00:00Z",
        }))
        .unwrap();
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "shop-http-v1-0", "uid": "u" },
            "spec": { "clusterIP": "10.96.0.7", "selector": { "pdp-agent.dev/release": "shop-1f" } },
        });
        let step = serde_json::to_value(step(&call, &[service], "shop-1f").unwrap()).unwrap();
        assert_eq!(
            step["body"],
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "shop-http-v1-0-shop-1f", "namespace": NAMESPACE },
                "spec": { "selector": { "pdp-agent.dev/release": "shop-1f" } },
            })
        );
    }
}
