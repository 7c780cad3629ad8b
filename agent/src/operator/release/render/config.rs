//! Configuration: one ConfigMap named by its content, and one Secret whose name is bound late.
//!
//! Both are immutable: a change is a new object, so that pods of two generations each see their own.

use std::collections::BTreeMap;

use protocol::document::{Medium, SecretRef, Volume};
use serde_json::{Value, json};

use super::Input;
use crate::operator::object::{self, ObjectKind};
use crate::operator::reconcile::rendering::{self, SECRETS};
use crate::operator::release::parsed::{Setting, Source};

/// Permissions of a file with a secret: its owner is root, and the pod's group may read it.
const SECRET_MODE: u32 = 0o440;

/// Where a container finds its settings.
pub(super) struct Config {
    /// The ConfigMap, if there is anything plain.
    pub(super) config_map: Option<Value>,
    /// Keys of the Secret, if there is anything secret.
    pub(super) secrets: BTreeMap<String, SecretRef>,
    /// `env` of the container.
    pub(super) env: Vec<Value>,
    /// `volumeMounts` of the container.
    pub(super) mounts: Vec<Value>,
    /// `volumes` of the pod.
    pub(super) volumes: Vec<Value>,
}

pub(super) fn plan(input: &Input<'_>) -> Config {
    let (mut data, mut bytes) = (BTreeMap::new(), BTreeMap::new());
    let mut secrets = BTreeMap::new();
    let release = input.release;
    let keyed = |prefix: &str, index: usize, setting: &Setting| match prefix {
        "env" => format!("env.{}", setting.target),
        _ => format!("file.{index}"),
    };
    for (prefix, settings) in [("env", &release.env), ("file", &release.files)] {
        for (index, setting) in settings.iter().enumerate() {
            let key = keyed(prefix, index, setting);
            match &setting.source {
                Source::Plain(value) => drop(data.insert(key, value.clone())),
                Source::Bytes(value) => drop(bytes.insert(key, value.clone())),
                Source::Secret(reference) => drop(secrets.insert(key, reference.clone())),
            }
        }
    }
    let config_map = (!data.is_empty() || !bytes.is_empty()).then(|| {
        // Without bytes the name is that of versions that knew none.
        let content = if bytes.is_empty() { json!(data) } else { json!([data, bytes]) };
        let digest = object::short_digest(content.to_string().as_bytes(), 10);
        let mut map = super::head(input, ObjectKind::ConfigMap, &format!("{}-config-{digest}", input.name));
        map["immutable"] = json!(true);
        super::set(&mut map, "data", (!data.is_empty()).then(|| json!(data)));
        super::set(&mut map, "binaryData", (!bytes.is_empty()).then(|| json!(bytes)));
        map
    });
    let map_name = config_map.as_ref().and_then(|map| map.pointer("/metadata/name")).cloned().unwrap_or_default();
    let secret_name = rendering::slot(SECRETS);

    // Values come by reference: `$(NAME)` in a plain value would be expanded by the kubelet, a referenced one is taken as it is.
    let variable = |(index, setting): (usize, &Setting)| {
        let key = keyed("env", index, setting);
        match &setting.source {
            Source::Plain(_) | Source::Bytes(_) => {
                json!({"name": setting.target, "valueFrom": {"configMapKeyRef": {"name": map_name, "key": key}}})
            }
            Source::Secret(_) => {
                json!({"name": setting.target, "valueFrom": {"secretKeyRef": {"name": secret_name, "key": key}}})
            }
        }
    };
    let mount = |(index, setting): (usize, &Setting)| {
        let volume = match &setting.source {
            Source::Plain(_) | Source::Bytes(_) => "config",
            Source::Secret(_) => "secret",
        };
        json!({"name": volume, "mountPath": setting.target, "subPath": keyed("file", index, setting), "readOnly": true})
    };
    let is_secret = |file: &Setting| matches!(file.source, Source::Secret(_));
    let mut volumes = Vec::new();
    for (secret, volume) in [
        (false, json!({"name": "config", "configMap": {"name": map_name}})),
        (true, json!({"name": "secret", "secret": {"secretName": secret_name, "defaultMode": SECRET_MODE}})),
    ] {
        let files = || release.files.iter().enumerate().filter(|(_, file)| is_secret(file) == secret);
        if files().next().is_none() {
            continue;
        }
        let mut volume = volume;
        if files().any(|(_, file)| file.mode.is_some()) {
            let items = files().map(|(index, file)| {
                let key = keyed("file", index, file);
                let mut item = json!({"key": key, "path": key});
                super::set(&mut item, "mode", file.mode.map(|mode| json!(mode)));
                item
            });
            volume[if secret { "secret" } else { "configMap" }]["items"] = json!(items.collect::<Vec<_>>());
        }
        volumes.push(volume);
    }
    let scratch = |(index, volume): (usize, &Volume)| {
        let mut folder = json!({"sizeLimit": volume.size});
        let memory = volume.medium == Some(Medium::Memory);
        super::set(&mut folder, "medium", memory.then(|| json!("Memory")));
        json!({"name": format!("volume-{index}"), "emptyDir": folder})
    };
    volumes.extend(release.volumes.iter().enumerate().map(scratch));
    let mut mounts: Vec<Value> = release.files.iter().enumerate().map(mount).collect();
    let writable =
        |(index, volume): (usize, &Volume)| json!({"name": format!("volume-{index}"), "mountPath": volume.path});
    mounts.extend(release.volumes.iter().enumerate().map(writable));
    Config { config_map, secrets, env: release.env.iter().enumerate().map(variable).collect(), mounts, volumes }
}
