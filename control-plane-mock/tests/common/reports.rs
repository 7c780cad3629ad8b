//! What an agent reports.

use super::*;

pub fn fact(kind: FactKind, generation: i64, ordinal: i64) -> Fact {
    Fact {
        id: format!("uid/{generation}/{kind:?}/{ordinal}"),
        kind,
        generation,
        at: "2026-01-01T00:00:00Z".into(),
        reason: if kind == FactKind::TaskEnded { "Succeeded" } else { "Done" }.into(),
        message: "it is so".into(),
        exit_code: (kind == FactKind::TaskEnded).then_some(0),
        count: None,
    }
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str, generation: i64) -> Condition {
    Condition {
        condition_type: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: Some(generation),
        last_transition_time: "2026-01-01T00:00:00Z".into(),
    }
}

pub fn ready(generation: i64) -> State {
    State {
        observed_generation: Some(generation),
        conditions: vec![condition("Ready", "True", "Serving", "all pods serve", generation)],
        replicas: Some(Replicas { desired: 1, updated: 1, ready: 1 }),
        ..State::default()
    }
}
