//! Each sample with each of its places spoilt in each way: whatever a file says, each field is reported, and what comes out is a
//! component file.

use std::path::Path;

use control_plane_model::component::from_yaml;
use serde_json::{Value, json};

use super::ledger::Fate;
use super::*;

const IMAGE: &str = "registry.test/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The samples of the formats, as trees in which words stand as they are written.
fn samples() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir("tests/import").unwrap() {
        for place in [".choreo", ""] {
            for form in Form::ALL {
                let path = folder.as_ref().unwrap().path().join(place).join(form.file_name());
                if let Some(tree) = as_written(&path, form) {
                    found.push((path.display().to_string(), tree));
                }
            }
        }
    }
    found
}

fn as_written(path: &Path, form: Form) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(Foreign::read(&text, &form.schema()).unwrap().tree().clone())
}

fn imported(tree: &Value) -> Result<Import, Stop> {
    let beside = |_: &str| Err("there is none".to_owned());
    import(&Ask { text: &tree.to_string(), name: Some("web"), image: IMAGE, component_type: None, beside: &beside })
}

/// JSON pointers of all its places, the whole first.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| places(member, &format!("{at}/{key}"), found))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| places(item, &format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn leaves(value: &Value, at: &str) -> Vec<String> {
    let mut all = Vec::new();
    places(value, at, &mut all);
    let is_leaf = |at: &String| match value.pointer(at) {
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) | None => true,
    };
    let mut leaves: Vec<_> = all.into_iter().filter(is_leaf).map(|at| ledger::shown(&at)).collect();
    leaves.sort();
    leaves
}

#[test]
fn whatever_stands_anywhere_each_field_is_reported_once_and_the_result_is_good() {
    let spoilt = [
        json!(null),
        json!(""),
        json!("Odd one/.."),
        json!(0),
        json!(70_000),
        json!(true),
        json!([]),
        json!({}),
        json!(["Public", "Public"]),
        json!({"name": "x", "type": "REST"}),
        json!([{"name": "x", "to": "A", "value": "1"}, {"name": "x", "to": "A"}, 3]),
    ];
    let (mut tried, mut understood) = (0, 0);
    for (path, tree) in samples() {
        let mut all = Vec::new();
        places(&tree, "", &mut all);
        for (place, new) in all.iter().flat_map(|place| spoilt.iter().map(move |new| (place, new))) {
            let mut tree = tree.clone();
            *tree.pointer_mut(place).unwrap() = new.clone();
            tried += 1;
            let Ok(Import { component, rows, nothing, .. }) = imported(&tree) else { continue };
            understood += 1;
            let at = || format!("{path}: {place} is {new}");
            let mut said: Vec<_> = rows.iter().filter(|row| row.line.is_some()).map(|row| row.field.clone()).collect();
            said.sort();
            assert_eq!(said, leaves(&tree, ""), "{}", at());
            assert_eq!(component.is_none(), nothing.is_some(), "{}", at());
            if let Some(component) = component {
                let again = from_yaml(&command::text_of(&component).unwrap());
                assert_eq!(again.unwrap_or_else(|problems| panic!("{}: {problems:?}", at())), component, "{}", at());
            }
        }
    }
    assert!(tried > 2000 && understood * 2 > tried, "{understood} of {tried}");
}

#[test]
fn an_item_that_is_refused_names_what_is_to_blame() {
    let tree = json!({"schemaVersion": "1.2", "configurations": {"env": [{"name": "A", "value": "1"}, {"name": "1A", "value": "2"}]}});
    let Import { component, rows, .. } = imported(&tree).unwrap_or_else(|stop| panic!("{stop:?}"));
    assert_eq!(component.unwrap().env.unwrap().len(), 1);
    let said = |field: &str| rows.iter().find(|row| row.field == field).unwrap();
    assert_eq!(said("configurations.env[0].value").to, "env[0].value");
    assert!(said("configurations.env[1].name").why.contains("named by letters, digits and _"));
    assert_eq!(
        said("configurations.env[1].value").why,
        "its variable is left out because of configurations.env[1].name"
    );
}

#[test]
fn what_breaks_several_rules_goes_alone_and_a_list_that_is_too_long_goes_whole() {
    let value = format!("\0{}", "x".repeat(40_000));
    let variables = json!([{"name": "A", "value": value}, {"name": "B", "value": "2"}]);
    let endpoint = |n: usize| json!({"name": format!("e{n}"), "service": {"port": 8000 + n}, "type": "TCP"});
    let endpoints: Vec<_> = (0..17).map(endpoint).collect();
    let tree = json!({"schemaVersion": "1.2", "configurations": {"env": variables}, "endpoints": endpoints});
    let Import { component, rows, .. } = imported(&tree).unwrap_or_else(|stop| panic!("{stop:?}"));
    let Component { env, endpoints, .. } = component.unwrap();
    let values: Vec<_> = env.unwrap().into_iter().map(|variable| (variable.name, variable.value)).collect();
    assert_eq!(values, [("A".to_owned(), None), ("B".to_owned(), Some("2".to_owned()))]);
    assert_eq!(endpoints, None);
    let said = |field: &str| rows.iter().find(|row| row.field == field).unwrap();
    assert_eq!(said("endpoints[16].service.port").why, "`endpoints` has 17 items, 16 are allowed");
    assert_eq!(
        (said("configurations.env[0].name").fate, said("configurations.env[0].value").fate),
        (Fate::Mapped, Fate::Refused)
    );
}
