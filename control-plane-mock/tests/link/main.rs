//! The side of the agents: enrolment, documents, answers, reports, fencing, restore. Over real TLS and WebSocket on loopback.

#[path = "../common/mod.rs"]
mod common;

mod documents;
mod gateways;
mod identity;
mod removal;
mod reports;
mod rollback;
mod sessions;

use std::time::Duration;

use common::*;
use control_plane_mock::Config;
use control_plane_mock::faults::{Fault, Scripted};
use protocol::message::{DeferReason, FieldError, RefusalClass, Verdict};
use protocol::name::Kind;
use protocol::report::FactKind;
use protocol::session::{CloseCode, Disconnect};
use rcgen::KeyPair;
use serde_json::{Value, json};

fn deploy(component: &Value, environment: &str) -> Value {
    json!({ "environment": environment, "file": component })
}
