//! What an event says, as one sentence for people; `-o json` has all of it.

use control_plane_model::Event;
use protocol::message::Verdict;
use protocol::report::{Condition, Fact, State};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Conditions that say how far it is. Others are told beside them where they are true.
const PROGRESS: [&str; 2] = ["Ready", "Ended"];

/// Conditions that are true where all is well, so that nobody needs to read them.
const USUAL: [&str; 5] = ["Concluded", "Confined", "Connected", "OperatorReady", "Prepared"];

/// The details of an event. Of a kind or shape that is not known here: its members.
pub(super) fn details(event: &Event) -> String {
    let known = match event.what.as_str() {
        "Document" => document(&event.data),
        "Answer" => event.data.get("answer").and_then(read).map(|verdict| answer(&event.data, &verdict)),
        "State" if event.data.get("gone") == Some(&Value::Bool(true)) => Some("gone from the cluster".to_owned()),
        "State" => read::<State>(&event.data).map(|state| conditions(&state.conditions)),
        "Fact" => read(&event.data).map(|fact| told(&fact)),
        _ => text(&event.data, "message").or_else(|| text(&event.data, "reason")).map(str::to_owned),
    };
    known.unwrap_or_else(|| members(&event.data))
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

fn text<'a>(data: &'a Value, key: &str) -> Option<&'a str> {
    data.get(key)?.as_str()
}

fn document(data: &Value) -> Option<String> {
    Some(format!("wanted {}, generation {}", text(data, "state")?, data.get("generation")?))
}

fn answer(data: &Value, verdict: &Verdict) -> String {
    let word = match verdict {
        Verdict::Accepted { modified, .. } if !modified.is_empty() => {
            format!("accepted; the cluster changed {}", modified.join(", "))
        }
        Verdict::Accepted { .. } => "accepted".to_owned(),
        Verdict::Already => "was stored there already".to_owned(),
        Verdict::Stale { generation: Some(newer), .. } => format!("a newer one is stored there: {newer}"),
        Verdict::Stale { floor, .. } => format!("all up to {floor} was removed there"),
        Verdict::Conflict { .. } => "another content is stored there under the same generation".to_owned(),
        Verdict::Deferred { message, .. } => format!("not now: {message}"),
        Verdict::Refused { reasons, .. } => {
            let all = reasons.iter().map(|reason| format!("{} {}", reason.field, reason.message));
            format!("refused: {}", all.map(|one| one.trim().to_owned()).collect::<Vec<_>>().join("; "))
        }
        Verdict::Forgotten { .. } => "forgotten".to_owned(),
    };
    data.get("generation").map_or_else(|| word.clone(), |generation| format!("generation {generation}: {word}"))
}

fn conditions(all: &[Condition]) -> String {
    let sentence = |name: &str, condition: &Condition| match condition.message.as_str() {
        "" => name.to_owned(),
        message => format!("{name}: {message}"),
    };
    let progress = all.iter().filter(|one| PROGRESS.contains(&one.condition_type.as_str()));
    let progress = progress.map(|one| {
        // `Ready` says it shorter than `Serving`, and `Failed` better than `Ready=False`.
        let ready = one.status == "True" && one.condition_type == "Ready";
        sentence(if ready { "Ready" } else { &one.reason }, one)
    });
    let expected = |one: &&Condition| {
        PROGRESS.contains(&one.condition_type.as_str()) || USUAL.contains(&one.condition_type.as_str())
    };
    let others = all.iter().filter(|one| one.status == "True" && !expected(one));
    let others = others.map(|one| sentence(&one.condition_type, one));
    progress.chain(others).collect::<Vec<_>>().join("; ")
}

fn told(fact: &Fact) -> String {
    let code = fact.exit_code.map(|code| format!(" (exit code {code})")).unwrap_or_default();
    let count = fact.count.filter(|count| *count > 1).map(|count| format!(", {count} times")).unwrap_or_default();
    let what = fact.kind.as_str();
    match fact.message.as_str() {
        "" => format!("{what}{code}{count}"),
        message => format!("{what}{code}{count}: {message}"),
    }
}

/// Texts and numbers by name.
fn members(data: &Value) -> String {
    let mut words = Vec::new();
    for (key, value) in data.as_object().into_iter().flatten() {
        match value {
            Value::String(text) if !text.is_empty() => words.push(format!("{key}={text}")),
            Value::Number(_) | Value::Bool(_) => words.push(format!("{key}={value}")),
            Value::Object(_) => words.push(format!("{key}: {}", members(value))),
            Value::Null | Value::String(_) | Value::Array(_) => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(what: &str, data: Value) -> String {
        let seq = 1;
        let at = "2030-01-01T00:00:00Z".to_owned();
        details(&Event { seq, at, what: what.to_owned(), data_plane: None, kind: None, name: None, data })
    }

    #[test]
    fn an_event_is_one_sentence() {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": ""});
        let state = |conditions: Value| json!({"observedGeneration": 1, "conditions": conditions});
        let fact = json!({"id": "a", "kind": "TaskEnded", "generation": 1, "at": "", "reason": "Failed", "message": "", "exitCode": 3});
        let refused = json!({"answer": "refused", "class": "Policy", "reasons": [{"field": "/image", "message": "is in no allowed registry"}]});
        for (what, data, expected) in [
            ("Document", json!({"generation": 7, "state": "Present"}), "wanted Present, generation 7"),
            ("Answer", json!({"generation": 7, "answer": {"answer": "accepted"}}), "generation 7: accepted"),
            (
                "Answer",
                json!({"generation": 7, "answer": refused}),
                "generation 7: refused: /image is in no allowed registry",
            ),
            ("State", json!({"gone": true}), "gone from the cluster"),
            (
                "State",
                state(json!([
                    condition("Concluded", "True", "Ready", ""),
                    condition("Ready", "False", "Progressing", "new pods are starting"),
                    condition("Stalled", "False", "Progressing", ""),
                    condition("Stopping", "True", "RolledBack", "their last lines are read"),
                ])),
                "Progressing: new pods are starting; Stopping: their last lines are read",
            ),
            ("State", state(json!([condition("Ready", "True", "Serving", "1/1 pods ready")])), "Ready: 1/1 pods ready"),
            ("Fact", fact, "TaskEnded (exit code 3)"),
            ("Alarm", json!({"message": "two live users"}), "two live users"),
            ("Connected", json!({"version": "0.1.0"}), "version=0.1.0"),
        ] {
            assert_eq!(said(what, data.clone()), expected, "{data}");
        }
    }
}
