//! Failpoints: how tests make a running agent misbehave. Only in builds with the feature `failpoints`, which is never shipped: the
//! image's build looks for the names below in the binary and refuses one that has them.
//!
//! A setting for a whole process is read from an environment variable that begins with `FAILPOINT_`, so that the chart's `extraEnv`
//! can set it; points where the process ends are armed while it runs. Every call site is behind `#[cfg(feature = "failpoints")]`.

use serde_json::{Value, json};

use crate::operator::reconcile::rendering::Rendering;

mod point;

pub use point::{Act, Edge, reach, routes};

/// The version that this agent renders with, a number.
pub const RENDERER: &str = "FAILPOINT_RENDERER";

/// Prefix of the line that a process prints before it ends at a point.
pub const REACHED: &str = "FAILPOINT_REACHED ";

/// Annotation that tells apart pods of another renderer.
pub const RENDERED_BY: &str = "pdp-agent.dev/rendered-by";

/// As an agent of another version would have rendered it: another number, and other pods.
#[must_use]
pub fn rendered(mut rendering: Rendering) -> Rendering {
    let Some(version) = std::env::var(RENDERER).ok().and_then(|text| text.parse().ok()) else { return rendering };
    rendering.renderer = version;
    for object in rendering.objects.iter_mut().chain(&mut rendering.job) {
        if let Some(metadata) = object.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut) {
            metadata.insert("annotations".to_owned(), json!({ RENDERED_BY: version.to_string() }));
        }
    }
    rendering
}
