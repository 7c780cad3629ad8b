//! What the REST API shows and takes: the types that the control plane and `pdpctl` share.
//!
//! [`component`] is the file that developers write, checked at both ends; [`problem`] the one shape of a refusal; all else what
//! goes over the API as JSON, a file for each kind of thing. Nothing here does IO, keeps state or knows a server.

pub mod component;
pub mod problem;

mod components;
mod data_planes;
mod deployments;
mod environments;
mod named;
mod observed;
mod tokens;

pub use components::{ComponentRow, NewComponent, Release};
pub use data_planes::{DataPlane, DataPlaneSettings, Enrolment};
pub use deployments::{Action, Deployment, NewDeployment};
pub use environments::{Environment, EnvironmentSettings, NewEnvironment};
pub use named::{Named, NewNamed};
pub use observed::{Event, LogLine, ResourceStatus, TaskRun};
pub use tokens::{AccessToken, AccessTokenRow, NewAccessToken};
