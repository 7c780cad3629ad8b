//! Puts the [`History`] together at the end: the observer's part, the audit log, the control plane's stores, the cluster as it is.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use control_plane_mock::domain::SCHEMA;
use control_plane_mock::store::Store;
use pdp_agent::link::intake::Stored;
use pdp_agent::link::reporter::Report;
use protocol::name::{Kind, ResourceKey};
use serde_json::Value;

use super::history::{Fact, History, Key, Resource, Wanted, Written};
use super::watch::{NAMESPACE, Seen, version};
use crate::testbed::Testbed;

/// Our kinds that hold documents and have a state.
const KINDS: [(&str, &str, Kind); 3] = [
    ("Release", "releases", Kind::Release),
    ("Environment", "environments", Kind::Environment),
    ("TaskRun", "taskruns", Kind::TaskRun),
];

/// Takes over what the observer saw.
pub fn observed(history: &mut History, seen: &Seen) {
    history.versions.extend(seen.versions.iter().cloned());
    history.held.extend(seen.held.iter().cloned());
    history.jobs.extend(seen.jobs.iter().cloned());
    history.ended.extend(seen.ended.iter().cloned());
}

/// Reads the audit log: versions, and who wrote them.
///
/// # Errors
/// The cluster is external, or the log cannot be read.
pub fn audited(history: &mut History, bed: &Testbed) -> Result<()> {
    let folder = bed.instance()?.path("logs");
    let files = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let is_audit = |file: &PathBuf| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("audit") && name.to_string_lossy().ends_with(".log"))
    };
    for file in files.filter(is_audit) {
        let lines = std::io::BufReader::new(std::fs::File::open(&file)?).lines();
        for line in lines.map_while(std::result::Result::ok).filter(|line| line.contains("pdp-agent.dev")) {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            entry(history, &event);
        }
    }
    Ok(())
}

fn entry(history: &mut History, event: &Value) {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let code = event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or(0);
    let Some((kind, _, _)) = KINDS.into_iter().find(|(_, plural, _)| *plural == text("/objectRef/resource")) else {
        return;
    };
    let object = event.get("responseObject").unwrap_or(&Value::Null);
    let dry = text("/requestURI").contains("dryRun");
    if !(200..300).contains(&code) || dry || object.pointer("/metadata/uid").is_none() || text("/verb") == "delete" {
        return;
    }
    let version = version(kind, object);
    let account = text("/user/username").strip_prefix("system:serviceaccount:pdp-agent:pdp-agent-");
    let pod = event.pointer("/user/extra/authentication.kubernetes.io~1pod-name/0").and_then(Value::as_str);
    if let Some((role, pod)) = account.zip(pod) {
        history.written.insert(Written {
            key: version.key.clone(),
            uid: version.uid.clone(),
            resource_version: version.resource_version,
            role: role.to_owned(),
            pod: pod.to_owned(),
        });
    }
    history.versions.insert(version);
}

type Row = (String, String, String, String);

/// Answers and facts of one store; there may be other stores, from before a restore.
///
/// # Errors
/// It is no store.
pub async fn recorded(history: &mut History, store: &Path) -> Result<()> {
    let store = open(store)?;
    let sql = "SELECT kind, name, data, '' FROM event WHERE what = 'Answer' AND kind IS NOT NULL";
    for (kind, name, data, _) in rows(&store, sql).await? {
        let data: Value = serde_json::from_str(&data)?;
        let answer = data.pointer("/answer/answer").and_then(Value::as_str).unwrap_or_default();
        let generation = data.get("generation").and_then(Value::as_i64);
        if let (true, Some(generation)) = (matches!(answer, "accepted" | "already"), generation) {
            history.accepted.insert((Key::new(&kind, &name), generation));
        }
    }
    let sql = "SELECT kind, name, id, generation || ' ' || what FROM fact";
    for (kind, name, id, more) in rows(&store, sql).await? {
        let (generation, what) = more.split_once(' ').context("a fact is malformed")?;
        let (generation, what) = (generation.parse()?, what.to_owned());
        history.facts.insert(Fact { id, key: Key::new(&kind, &name), generation, what });
    }
    Ok(())
}

/// Wishes, states and runs of the store at the end.
///
/// # Errors
/// It is no store.
pub async fn wished(history: &mut History, store: &Path) -> Result<()> {
    let store = open(store)?;
    let sql = "SELECT kind, name, hash, json_object('generation', generation, 'state', state, 'answer', json(answer),
                 'quarantined', quarantined) FROM document WHERE kind <> 'DataPlane'";
    for (kind, name, hash, more) in rows(&store, sql).await? {
        let more: Value = serde_json::from_str(&more)?;
        let answer = more.pointer("/answer/answer").and_then(Value::as_str).unwrap_or("unanswered").to_owned();
        let quarantined = more.get("quarantined").and_then(Value::as_i64) == Some(1);
        let wanted = Wanted {
            generation: more.get("generation").and_then(Value::as_i64).unwrap_or(0),
            hash,
            present: more.get("state").and_then(Value::as_str) == Some("Present"),
            accepted: matches!(answer.as_str(), "accepted" | "already"),
            answer: if quarantined {
                format!("{answer}, quarantined")
            } else {
                more.get("answer").unwrap_or(&Value::Null).to_string()
            },
        };
        history.wanted.insert(Key::new(&kind, &name), wanted);
    }
    let sql = "SELECT kind, name, digest, '' FROM resource_state WHERE kind <> 'DataPlane'";
    for (kind, name, digest, _) in rows(&store, sql).await? {
        history.states.insert(Key::new(&kind, &name), digest);
    }
    for (name, result, _, _) in rows(&store, "SELECT name, coalesce(result, ''), '', '' FROM task_run").await? {
        history.runs.insert(name, Some(result).filter(|result| !result.is_empty()));
    }
    Ok(())
}

fn open(store: &Path) -> Result<Store> {
    Store::open(Some(store), SCHEMA, |_| {}).with_context(|| format!("open {}", store.display()))
}

async fn rows(store: &Store, sql: &'static str) -> Result<Vec<Row>> {
    let found = store.run(move |c| {
        let mut statement = c.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let rows: std::result::Result<Vec<Row>, _> = rows.collect();
        Ok(rows?)
    });
    Ok(found.await?)
}

/// The cluster as it is.
///
/// # Errors
/// The API server does not answer.
pub async fn stands(history: &mut History, bed: &Testbed) -> Result<()> {
    for (kind, plural, known) in KINDS {
        for object in list(bed, &format!("{plural}.pdp-agent.dev"), &["-n", NAMESPACE]).await? {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = ResourceKey { kind: known, name: text("/metadata/name") };
            let state = Report::of(&key, &object, &Stored::of(known, &object)).state;
            let resource = Resource {
                document: object.pointer("/spec/document/generation").and_then(Value::as_i64),
                hash: text("/spec/document/hash"),
                digest: protocol::report::digest(Some(&state)),
            };
            history.cluster.insert(Key::new(kind, &key.name), resource);
        }
    }
    for object in list(bed, "namespaces", &["-l", "pdp-agent.dev/environment"]).await? {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        history.namespaces.insert(text("/metadata/labels/pdp-agent.dev~1environment"), text("/metadata/name"));
    }
    let kinds = "deployments,services,configmaps,secrets,poddisruptionbudgets,networkpolicies,controllerrevisions,jobs";
    for object in list(bed, kinds, &["-A", "-l", "pdp-agent.dev/release"]).await? {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let release = text("/metadata/labels/pdp-agent.dev~1release").to_owned();
        let kind = text("/kind");
        // A Job stays for a while after its end, whatever becomes of the release.
        if kind == "Job" {
            continue;
        }
        if kind == "ControllerRevision" {
            *history.renderings.entry(release.clone()).or_default() += 1;
        }
        history.objects.entry(release).or_default().insert(format!("{kind}/{}", text("/metadata/name")));
    }
    Ok(())
}

/// Names of our resources that the cluster has now.
///
/// # Errors
/// The API server does not answer.
pub async fn present(bed: &Testbed) -> Result<BTreeSet<Key>> {
    let mut history = History::default();
    stands(&mut history, bed).await?;
    Ok(history.cluster.into_keys().collect())
}

async fn list(bed: &Testbed, kinds: &str, more: &[&str]) -> Result<Vec<Value>> {
    let text = bed.kubectl(&[&["get", kinds, "-o", "json"], more].concat()).await?;
    let mut list: Value = serde_json::from_str(&text)?;
    Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}
