//! JSON Schema of everything on the wire, made from the types and kept beside them.

mod golden;

use protocol::{bulk, document, enrol, message};
use schemars::Schema;

#[test]
fn schema_files_are_those_of_the_types() {
    let schemas: Vec<(&str, Schema)> = vec![
        ("agent-message", schemars::schema_for!(message::AgentMessage)),
        ("control-message", schemars::schema_for!(message::ControlMessage)),
        ("enrol-request", schemars::schema_for!(enrol::EnrolRequest)),
        ("renew-request", schemars::schema_for!(enrol::RenewRequest)),
        ("enrol-response", schemars::schema_for!(enrol::EnrolResponse)),
        ("enrol-error", schemars::schema_for!(enrol::EnrolError)),
        ("log-chunk-head", schemars::schema_for!(bulk::LogChunkHead)),
        ("stream-end", schemars::schema_for!(bulk::StreamEnd)),
        ("gap", schemars::schema_for!(bulk::Gap)),
        ("data-plane-spec", schemars::schema_for!(document::DataPlaneSpec)),
        ("environment-spec", schemars::schema_for!(document::EnvironmentSpec)),
        ("release-spec", schemars::schema_for!(document::ReleaseSpec)),
        ("task-run-spec", schemars::schema_for!(document::TaskRunSpec)),
    ];
    let folder = golden::folder("schema");
    let mut files = Vec::new();
    for (name, schema) in schemas {
        let text = serde_json::to_string_pretty(&schema).unwrap();
        golden::same(&folder.join(format!("{name}.json")), &format!("{text}\n"));
        files.push(format!("{name}.json"));
    }
    golden::only(&folder, &files);
}
