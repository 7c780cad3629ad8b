//! End-to-end tests on the test cluster: the real chart, the real image, a control plane across the firewall. One module per concern;
//! every test has a project of its own, so they run side by side against one agent.

mod deploy;
mod support;
