//! JSON Schema of everything on the wire, made from the types, kept beside them and held against what the code reads.
#![expect(clippy::unwrap_used, reason = "a file of tests")]

mod golden;

use protocol::message::{decode_agent, decode_control};
use protocol::{bulk, document, enrol, message};
use schemars::Schema;
use serde_json::{Value, json};

const MAX: i64 = 9_007_199_254_740_991;

fn messages() -> [(&'static str, Value); 9] {
    [
        ("agent-message", bounded(schemars::schema_for!(message::AgentMessage))),
        ("control-message", bounded(schemars::schema_for!(message::ControlMessage))),
        ("enrol-request", bounded(schemars::schema_for!(enrol::EnrolRequest))),
        ("renew-request", bounded(schemars::schema_for!(enrol::RenewRequest))),
        ("enrol-response", bounded(schemars::schema_for!(enrol::EnrolResponse))),
        ("enrol-error", bounded(schemars::schema_for!(enrol::EnrolError))),
        ("log-chunk-head", bounded(schemars::schema_for!(bulk::LogChunkHead))),
        ("stream-end", bounded(schemars::schema_for!(bulk::StreamEnd))),
        ("gap", bounded(schemars::schema_for!(bulk::Gap))),
    ]
}

fn bodies() -> [(&'static str, Value); 4] {
    [
        ("data-plane-spec", without_null(bounded(schemars::schema_for!(document::DataPlaneSpec)))),
        ("environment-spec", without_null(bounded(schemars::schema_for!(document::EnvironmentSpec)))),
        ("release-spec", without_null(bounded(schemars::schema_for!(document::ReleaseSpec)))),
        ("task-run-spec", without_null(bounded(schemars::schema_for!(document::TaskRunSpec)))),
    ]
}

/// Integers as the wire has them: the types alone would allow all that their bits hold.
fn bounded(schema: Schema) -> Value {
    fn bound(value: &mut Value) {
        let (low, high) = match value.get("format").and_then(Value::as_str) {
            Some("int64") => (Some(-MAX), MAX),
            Some("uint64") => (None, MAX),
            Some("int32") => (Some(i64::from(i32::MIN)), i64::from(i32::MAX)),
            Some("uint32") => (None, i64::from(u32::MAX)),
            Some(_) | None => return,
        };
        let Some(members) = value.as_object_mut() else { return };
        if let Some(low) = low {
            members.entry("minimum").or_insert(json!(low));
        }
        members.entry("maximum").or_insert(json!(high));
    }
    let mut value = schema.to_value();
    everywhere(&mut value, &bound);
    value
}

/// In the body of a document a field is left out, never null.
fn without_null(mut schema: Value) -> Value {
    fn strip(value: &mut Value) {
        let Some(members) = value.as_object_mut() else { return };
        if let Some(Value::Array(types)) = members.get_mut("type") {
            types.retain(|one| one != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                members.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(any)) = members.get_mut("anyOf") {
            any.retain(|one| one.get("type") != Some(&json!("null")));
            if let [Value::Object(one)] = any.as_mut_slice() {
                let one = std::mem::take(one);
                members.remove("anyOf");
                members.extend(one);
            }
        }
        if members.get("default") == Some(&Value::Null) {
            members.remove("default");
        }
    }
    everywhere(&mut schema, &strip);
    schema
}

fn everywhere(value: &mut Value, change: &dyn Fn(&mut Value)) {
    change(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| everywhere(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| everywhere(member, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn schema_files_are_those_of_the_types() {
    let folder = golden::folder("schema");
    let mut files = Vec::new();
    for (name, schema) in messages().into_iter().chain(bodies()) {
        // As a schema again, whose members have their own order.
        let text = serde_json::to_string_pretty(&Schema::try_from(schema).unwrap()).unwrap();
        golden::same(&folder.join(format!("{name}.json")), &format!("{text}\n"));
        files.push(format!("{name}.json"));
    }
    golden::only(&folder, &files);
}

/// Whether `value` is of `schema`, as far as schemas of this wire go.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(rules) = schema.as_object() else { return schema != &json!(false) };
    rules.iter().all(|(rule, is)| match rule.as_str() {
        "$ref" => fits(root, root.pointer(is.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
        "oneOf" => is.as_array().unwrap().iter().filter(|one| fits(root, one, value)).count() == 1,
        "anyOf" => is.as_array().unwrap().iter().any(|one| fits(root, one, value)),
        "const" => is == value,
        "enum" => is.as_array().unwrap().contains(value),
        "type" => is.as_array().map_or_else(|| is_of(is, value), |types| types.iter().any(|one| is_of(one, value))),
        "minimum" => number(value).is_none_or(|value| value >= number(is).unwrap()),
        "maximum" => number(value).is_none_or(|value| value <= number(is).unwrap()),
        "required" => value.as_object().is_none_or(|members| {
            is.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|members| {
            let known = is.as_object().unwrap();
            members.iter().all(|(name, one)| known.get(name).is_none_or(|schema| fits(root, schema, one)))
        }),
        "additionalProperties" | "patternProperties" => value.as_object().is_none_or(|members| {
            let known = rules.get("properties");
            let unknown = members.iter().filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()));
            let of = |schema: &Value| unknown.clone().all(|(_, one)| fits(root, schema, one));
            if rule == "patternProperties" {
                is.as_object().unwrap().values().all(of)
            } else {
                is.is_boolean() || of(is)
            }
        }),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|one| fits(root, is, one))),
        _ => true,
    })
}

fn number(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// Pointers of all values in `value` but those of a document's body.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut below = |name: &str, one: &Value| {
        let here = format!("{at}/{name}");
        if here != "/body" && here != "/type" {
            out.push(here.clone());
            pointers(one, &here, out);
        }
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, one)| below(&index.to_string(), one)),
        Value::Object(members) => members.iter().for_each(|(name, one)| below(name, one)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every message of the goldens with one value changed: what the schema allows is read, and what it does not is refused.
#[test]
fn schema_and_code_agree_on_null_on_what_is_left_out_and_on_the_bounds_of_numbers() {
    let [(_, agent), (_, control), ..] = messages();
    let reads: [fn(&str) -> bool; 2] = [|text| decode_agent(text).is_ok(), |text| decode_control(text).is_ok()];
    let mut refused = 0;
    for ((side, schema), reads) in [("agent", &agent), ("control", &control)].into_iter().zip(reads) {
        for file in std::fs::read_dir(golden::folder("goldens").join(side)).unwrap() {
            let path = file.unwrap().path();
            let message: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let mut places = Vec::new();
            pointers(&message, "", &mut places);
            for place in places {
                let mut variants = Vec::new();
                let numbers = [json!(MAX), json!(MAX + 1), json!(-MAX), json!(-MAX - 1), json!(u64::MAX), json!(-1)];
                let is_number = message.pointer(&place).unwrap().is_number();
                for new in numbers.iter().filter(|_| is_number).chain([&Value::Null]) {
                    let mut variant = message.clone();
                    *variant.pointer_mut(&place).unwrap() = new.clone();
                    variants.push(variant);
                }
                let (parent, name) = place.rsplit_once('/').unwrap();
                let mut variant = message.clone();
                if variant
                    .pointer_mut(parent)
                    .and_then(Value::as_object_mut)
                    .is_some_and(|all| all.remove(name).is_some())
                {
                    variants.push(variant);
                }
                for variant in variants {
                    let text = variant.to_string();
                    assert_eq!(fits(schema, schema, &variant), reads(&text), "{} {place}: {text:.400}", path.display());
                    refused += usize::from(!reads(&text));
                }
            }
        }
    }
    assert!(refused > 100, "only {refused} variants were refused");
}

#[test]
fn no_body_may_hold_null() {
    for (name, schema) in bodies() {
        let text = schema.to_string();
        assert!(!text.contains("\"null\"") && !text.contains(":null"), "{name}: {text}");
    }
}
