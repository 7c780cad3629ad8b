//! What no container may do, whatever it runs.

use serde_json::{Value, json};

use crate::kinds::SecurityLevel;

pub(super) fn container_security(level: SecurityLevel) -> Value {
    match level {
        SecurityLevel::Restricted => json!({
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "capabilities": {"drop": ["ALL"]},
        }),
        SecurityLevel::Baseline => json!({"allowPrivilegeEscalation": false, "privileged": false}),
    }
}
