//! What the end-to-end tests, the simulation and the demo share. [`testbed`] is the test cluster: a real Kubernetes with registry and
//! vault behind a firewall; [`installation`] an agent and a control plane on it.

pub mod bench;
pub mod chaos;
pub mod demo;
#[cfg(test)]
mod faults_page;
pub mod guest;
pub mod hostile;
pub mod installation;
pub mod load;
pub mod support;
pub mod testbed;
