//! The tables of docs/rights.md, read as rights: what a customer reads there is what the chart renders, and all of it.
//!
//! A first cell is `RESOURCES: VERBS`, more of the same after semicolons, `of` before names that it is limited to.

use std::collections::BTreeSet;

use serde_json::Value;

/// Role, resource, verb, and whether names limit it.
pub(crate) type Right = (String, String, String, bool);

const KINDS: [&str; 5] = ["dataplanepolicies", "dataplanes", "environments", "releases", "taskruns"];

/// Rights and names of admission policies as the page lists them.
pub(crate) fn read(page: &str) -> (BTreeSet<Right>, BTreeSet<String>) {
    let (mut rights, mut policies) = (BTreeSet::new(), BTreeSet::new());
    let mut role = None;
    for line in page.lines().map(|line| line.replace('`', "")) {
        if line.starts_with('#') {
            role = None;
        } else if let Some(rest) = line.strip_prefix("Role ").or_else(|| line.strip_prefix("ClusterRole ")) {
            let kind = line.split_once(' ').map_or("", |(kind, _)| kind);
            let name = rest.split([',', ':']).next().unwrap_or_default();
            role = Some(format!("{kind} {name}"));
        }
        let Some(cell) = line.strip_prefix("| ").and_then(|row| row.split('|').next()).map(str::trim) else { continue };
        match &role {
            Some(role) if cell.contains(':') => rights.extend(cell_rights(role, cell)),
            Some(_) => {}
            None if cell.starts_with("<name>-") => _ = policies.insert(cell.to_owned()),
            None => {}
        }
    }
    (rights, policies)
}

fn cell_rights(role: &str, cell: &str) -> Vec<Right> {
    let mut found = Vec::new();
    let mut resources = Vec::new();
    for part in cell.split(';') {
        let verbs = match part.split_once(':') {
            Some((list, verbs)) => {
                resources = list.split(',').flat_map(|word| resource(word.trim())).collect::<Vec<_>>();
                verbs
            }
            None => part,
        };
        let (verbs, named) = verbs.split_once(" of ").map_or((verbs, false), |(verbs, _)| (verbs, true));
        for verb in verbs.split(',') {
            let right = |one: &String| (role.to_owned(), one.clone(), verb.trim().to_owned(), named);
            found.extend(resources.iter().map(right));
        }
    }
    found
}

fn resource(word: &str) -> Vec<String> {
    match word {
        "our kinds" => KINDS.map(str::to_owned).to_vec(),
        // The policy has no status.
        "…/status" => KINDS.iter().skip(1).map(|kind| format!("{kind}/status")).collect(),
        other => vec![other.to_owned()],
    }
}

/// The same of what the chart renders for a release of this name.
pub(crate) fn rendered(objects: &[Value], release: &str) -> (BTreeSet<Right>, BTreeSet<String>) {
    let (mut rights, mut policies) = (BTreeSet::new(), BTreeSet::new());
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for object in objects {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let name = name.replacen(release, "<name>", 1);
        match object["kind"].as_str() {
            Some("ValidatingAdmissionPolicy") => _ = policies.insert(name),
            Some(kind @ ("Role" | "ClusterRole")) => {
                for rule in object["rules"].as_array().into_iter().flatten() {
                    let named = rule.get("resourceNames").is_some();
                    for resource in words(&rule["resources"]) {
                        for verb in words(&rule["verbs"]) {
                            rights.insert((format!("{kind} {name}"), resource.clone(), verb, named));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    (rights, policies)
}
