//! The installation itself: is it still the same one, are its definitions new enough, and which cluster is this.
//!
//! A DataPlane whose uid is not the one in its own annotation came out of a backup. Until a person sets the new uid there,
//! the operator writes nothing to workloads: what was restored may be older than what runs.

use jiff::Timestamp;
use kube::ResourceExt;
use protocol::name::{Kind, ResourceKey};
use serde_json::{Value, json};

use super::cluster::{ApiError, Cluster, Path};
pub mod confined;

use super::object::ObjectKind;
use super::reconcile::modified::{self, Ledger, MODIFIED, Modified, note};
use crate::kinds::conditions::{Conditions, Reason};
use crate::kinds::{self, DataPlane, DataPlaneStatus, REVISION_ANNOTATION, SCHEMA_REVISION};
use crate::settings::Settings;
use confined::Confinement;

/// Annotation that carries the uid under which the installation was first seen.
pub const UID: &str = "pdp-agent.dev/uid";

/// Condition that the operator writes.
pub const OPERATOR_READY: &str = "OperatorReady";

/// Condition that the operator writes: whether the admission policies hold its account.
pub const CONFINED: &str = "Confined";

/// Whether the operator may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearance {
    /// It may.
    Good,
    /// It may not, for this reason.
    Held(Reason),
}

/// What is known of the installation, apart from the object itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Uid of the namespace `kube-system`.
    pub cluster: String,
    /// Lowest schema revision among the installed definitions.
    pub schema: u32,
    /// Whether the admission policies hold this account.
    pub confinement: Confinement,
}

/// Reads the identity of the cluster and the definitions that are installed.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn facts(cluster: &Cluster, settings: &Settings) -> Result<Facts, ApiError> {
    let system = cluster.get_path(&Path::of(ObjectKind::Namespace, "", Some("kube-system"))?).await?;
    let mut schema = u32::MAX;
    for plural in ["dataplanes", "dataplanepolicies", "environments", "releases", "taskruns"] {
        let path =
            Path::fixed(format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{}", kinds::GROUP));
        schema = schema.min(revision(&cluster.get_path(&path).await?));
    }
    let uid = system.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let confinement = confined::confinement(cluster, settings).await?;
    Ok(Facts { cluster: uid.to_owned(), schema, confinement })
}

fn revision(definition: &Value) -> u32 {
    let annotations = definition.pointer("/metadata/annotations");
    let text = annotations.and_then(|annotations| annotations.get(REVISION_ANNOTATION)).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Judges the installation. Pure.
#[must_use]
pub fn clearance(data_plane: Option<&DataPlane>, facts: &Facts) -> Clearance {
    let held = |reason: &str, message: String| Clearance::Held(Reason::new(reason, message));
    if facts.schema < SCHEMA_REVISION {
        return held(
            "SchemaTooOld",
            format!(
                "the installed definitions have schema revision {} and this operator needs {SCHEMA_REVISION}; run `pdp-agent crds | \
                 kubectl apply --server-side -f -`",
                facts.schema
            ),
        );
    }
    if let Confinement::Fails(why) = &facts.confinement {
        return Clearance::Held(why.clone());
    }
    let Some(data_plane) = data_plane else {
        return held("NoDataPlane", "DataPlane/default is missing; install the chart or create it".to_owned());
    };
    let uid = data_plane.uid().unwrap_or_default();
    match data_plane.annotations().get(UID) {
        Some(noted) if *noted != uid => held(
            "Restored",
            format!(
                "DataPlane/default was restored from a backup (its uid is {uid}, its annotation says {noted}); nothing is written \
                 until a person confirms: kubectl annotate dataplane default {UID}={uid} --overwrite"
            ),
        ),
        Some(_) | None => Clearance::Good,
    }
}

/// Notes the uid at first sight, and writes what was found into status.
///
/// # Errors
/// Not leading, refused, or no answer.
pub async fn record(
    cluster: &Cluster,
    namespace: &str,
    data_plane: &DataPlane,
    facts: &Facts,
    clearance: &Clearance,
    now: Timestamp,
) -> Result<(), ApiError> {
    let uid = data_plane.uid().unwrap_or_default();
    let mut version = data_plane.metadata.resource_version.clone();
    if !data_plane.annotations().contains_key(UID) {
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": version, "annotations": {UID: uid}}});
        let answer = cluster.merge(Kind::DataPlane, &format!("{namespace}/default"), false, &patch).await?;
        version = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
    }
    let next = described(data_plane, facts, clearance, now);
    if data_plane.status.as_ref() == Some(&next) {
        return Ok(());
    }
    let object = json!({
        "apiVersion": format!("{}/v1alpha1", kinds::GROUP),
        "kind": "DataPlane",
        "metadata": {"name": "default", "namespace": namespace, "uid": uid, "resourceVersion": version},
        "status": next,
    });
    cluster.replace_status(Kind::DataPlane, &object).await.map(drop)
}

/// The status with these facts and this clearance.
fn described(data_plane: &DataPlane, facts: &Facts, clearance: &Clearance, now: Timestamp) -> DataPlaneStatus {
    let uid = data_plane.uid().unwrap_or_default();
    let status = data_plane.status.clone().unwrap_or_default();
    let mut next = status.clone();
    next.cluster = Some(facts.cluster.clone());
    next.schema = Some(facts.schema);
    let mut conditions = Conditions::new(&status.conditions, data_plane.metadata.generation.unwrap_or(1), now);
    match clearance {
        Clearance::Good => conditions.set(OPERATOR_READY, true, &Reason::new("Working", "the operator works")),
        Clearance::Held(why) => conditions.set(OPERATOR_READY, false, why),
    }
    match &facts.confinement {
        Confinement::NotAsked => {}
        Confinement::Holds => {
            let what = "the admission policies refuse what the operator's account must not do";
            conditions.set(CONFINED, true, &Reason::new("Refused", what));
        }
        Confinement::Fails(why) => conditions.set(CONFINED, false, why),
    }
    let spec = &data_plane.spec;
    let key = ResourceKey { kind: Kind::DataPlane, name: "default".to_owned() };
    let modified = Modified::of(&key, spec.document.as_ref(), note(data_plane), &spec.body);
    // The fact is numbered by the generation: each change of the spec has its own, and an installation has no other facts.
    let mut number = data_plane.metadata.generation.map(|generation| generation - 1);
    let ledger = Ledger { uid: &uid, facts: &mut next.facts, last: &mut number };
    modified::tell(modified.as_ref(), &mut conditions, ledger);
    let ours = conditions.finish();
    // The link writes the other conditions of this object.
    next.conditions.retain(|other| ![OPERATOR_READY, CONFINED, MODIFIED].contains(&other.condition_type.as_str()));
    next.conditions.extend(ours);
    next.conditions.sort_by(|a, b| a.condition_type.cmp(&b.condition_type));
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_plane(uid: &str, noted: Option<&str>) -> DataPlane {
        let mut data_plane = DataPlane::new("default", serde_json::from_value(json!({})).unwrap());
        data_plane.metadata.uid = Some(uid.to_owned());
        data_plane.metadata.annotations = noted.map(|noted| [(UID.to_owned(), noted.to_owned())].into());
        data_plane
    }

    #[test]
    fn the_operator_works_only_on_the_installation_that_it_knows() {
        let open = || Confinement::Fails(Reason::new("NotConfined", "no policy"));
        for (found, schema, confinement, expected) in [
            (Some(data_plane("a", None)), 1, Confinement::Holds, None),
            (Some(data_plane("a", Some("a"))), 1, Confinement::NotAsked, None),
            (Some(data_plane("a", Some("b"))), 1, Confinement::Holds, Some("Restored")),
            (None, 1, Confinement::Holds, Some("NoDataPlane")),
            (Some(data_plane("a", Some("a"))), 0, Confinement::Holds, Some("SchemaTooOld")),
            (Some(data_plane("a", Some("a"))), 1, open(), Some("NotConfined")),
        ] {
            let facts = Facts { cluster: "c".to_owned(), schema, confinement };
            let reason = match clearance(found.as_ref(), &facts) {
                Clearance::Good => None,
                Clearance::Held(why) => Some(why.reason),
            };
            assert_eq!(reason.as_deref(), expected);
        }
    }

    #[test]
    fn an_edit_of_what_the_control_plane_set_is_told_beside_what_the_link_says() {
        let document = json!({ "generation": 4, "hash": "0".repeat(64) });
        let spec = json!({ "document": document, "displayName": "by hand" });
        let mut data_plane = DataPlane::new("default", serde_json::from_value(spec).unwrap());
        data_plane.metadata.uid = Some("u".to_owned());
        data_plane.metadata.generation = Some(7);
        data_plane.status = serde_json::from_value(json!({
            "conditions": [{ "type": "Connected", "status": "True", "reason": "r", "message": "m", "lastTransitionTime": "t" }],
        }))
        .unwrap();
        let facts = Facts { cluster: "c".to_owned(), schema: 1, confinement: Confinement::NotAsked };
        let look = |data_plane: &DataPlane| described(data_plane, &facts, &Clearance::Good, Timestamp::UNIX_EPOCH);
        let first = look(&data_plane);
        let types: Vec<_> = first.conditions.iter().map(|one| one.condition_type.as_str()).collect();
        assert_eq!(types, ["Connected", "Modified", "OperatorReady"]);
        assert_eq!(first.facts[0].id, "u/4/Modified/7");
        data_plane.status = Some(first.clone());
        assert_eq!(look(&data_plane), first, "it is told once");
        data_plane.spec.document = None;
        assert_eq!(look(&data_plane).conditions.len(), 2);
    }

    #[test]
    fn whether_the_account_is_confined_is_said_and_no_more_once_nobody_asks() {
        let mut data_plane = data_plane("a", Some("a"));
        for (confinement, expected) in [
            (Confinement::Fails(Reason::new("NotConfined", "no policy")), Some(("False", "NotConfined"))),
            (Confinement::Holds, Some(("True", "Refused"))),
            (Confinement::NotAsked, None),
        ] {
            let facts = Facts { cluster: "c".to_owned(), schema: 1, confinement };
            let clearance = clearance(Some(&data_plane), &facts);
            let status = described(&data_plane, &facts, &clearance, Timestamp::UNIX_EPOCH);
            let found = status.conditions.iter().find(|condition| condition.condition_type == CONFINED);
            assert_eq!(found.map(|found| (found.status.as_str(), found.reason.as_str())), expected);
            data_plane.status = Some(status);
        }
    }

    #[test]
    fn a_definition_without_revision_is_older_than_every_other() {
        assert_eq!(revision(&json!({"metadata": {}})), 0);
        assert_eq!(revision(&json!({"metadata": {"annotations": {REVISION_ANNOTATION: "3"}}})), 3);
    }
}
