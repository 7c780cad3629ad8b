//! What the end-to-end tests share. [`testbed`] is the test cluster: a real Kubernetes with registry and vault behind a firewall.

pub mod testbed;
