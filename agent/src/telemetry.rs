//! The agent's own log and metrics.
//!
//! Log lines are constant sentences with fields, JSON or text, and the level can be changed while running. Metrics are
//! registered by the module that counts; this one owns the registry. No secret value ever gets here: types that hold one cannot
//! be printed, and other crates' own log lines are let through from `Warn` up only.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

mod calls;
mod log;
mod process;

pub use calls::CountCalls;
pub use log::{LevelHandle, LogFormat, start};

/// Name prefix of every metric.
pub const PREFIX: &str = "pdp_agent";

/// The registry of metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process));
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.sub_registry_with_prefix(PREFIX).register("build", "What this process was built from", build);
        Self { registry: Arc::new(Mutex::new(registry)) }
    }
}

impl Metrics {
    /// Gives the registry to a module that adds its metrics: once each, at start. Names leave out the prefix and, for
    /// counters, `_total`; label values come from closed sets.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(self.registry.lock().unwrap_or_else(PoisonError::into_inner).sub_registry_with_prefix(PREFIX))
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            // Writing into a String cannot fail; an encoder's own error leaves what was written.
            Err(std::fmt::Error) => text,
        }
    }
}

/// An error with its sources in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their source in their own sentence.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_our_prefix_and_those_of_the_process_their_usual_names() {
        let metrics = Metrics::default();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        metrics.register(|registry| registry.register("things", "Things that happened", counter.clone()));
        counter.inc();
        let text = metrics.encode();
        for line in
            ["pdp_agent_things_total 1\n", "pdp_agent_build_info{version=", "process_resident_memory_bytes ", "# EOF"]
        {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_chain_says_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct E {
            text: &'static str,
            #[source]
            source: Option<Box<Self>>,
        }
        let inner = E { text: "connection refused", source: None };
        let middle = E { text: "request failed: connection refused", source: Some(Box::new(inner)) };
        let outer = E { text: "no lease", source: Some(Box::new(middle)) };
        assert_eq!(chain(&outer), "no lease: request failed: connection refused");
    }
}
