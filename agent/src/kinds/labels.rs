//! Labels, annotations and names by which objects of the agent are known, to every role.

/// Field manager of all writes.
pub const MANAGER: &str = "pdp-agent";

/// Label: id of the data plane from enrolment, or [`LOCAL`](super::LOCAL).
pub const DATA_PLANE: &str = "pdp-agent.dev/data-plane";
/// Label: name of the Release that an object belongs to.
pub const RELEASE: &str = "pdp-agent.dev/release";
/// Label: name of the Environment that an object belongs to.
pub const ENVIRONMENT: &str = "pdp-agent.dev/environment";
/// Label: name of the TaskRun that a Job belongs to.
pub const TASK_RUN: &str = "pdp-agent.dev/task-run";
/// Label on namespaces that the operator created.
pub const INSTALLATION: &str = "pdp-agent.dev/installation";
/// Label on those namespaces: which agent made them. Policies compare its value, and so does everything here.
pub const AGENT: &str = "pdp-agent.dev/agent";
/// Annotation on workloads: name of the rendering.
pub const RENDERING: &str = "pdp-agent.dev/rendering";
/// Annotation on workloads: what the slots are bound to, JSON.
pub const BINDING: &str = "pdp-agent.dev/binding";

/// Container of a release's own program.
pub const CONTAINER: &str = "main";
/// Init container that holds a pod back until the network plugin has closed it, and the subcommand of the agent that runs in it.
pub const GATE: &str = "start-gate";
