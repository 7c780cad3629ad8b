//! The agent's own log and metrics.
//!
//! Log lines are constant sentences with fields, JSON or text, and the level can be changed while running. Metrics are
//! registered by the module that counts; this one owns the registry.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use protocol::spec::LogLevel;

/// Name prefix of every metric.
pub const PREFIX: &str = "pdp_agent";

/// The registry of metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix(PREFIX))) }
    }
}

impl Metrics {
    /// Gives the registry to a module that adds its metrics: once each, at start. Names leave out the prefix and, for
    /// counters, `_total`; label values come from closed sets.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
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

/// Changes the level of the agent's log while it runs. Cheap to clone.
#[derive(Clone)]
pub struct LevelHandle {
    set: Arc<dyn Fn(LogLevel) + Send + Sync>,
}

impl LevelHandle {
    /// Takes effect at once for the whole process.
    pub fn set_level(&self, level: LogLevel) {
        (self.set)(level);
    }

    /// A handle that changes nothing, for tests.
    #[must_use]
    pub fn detached() -> Self {
        Self { set: Arc::new(|_| {}) }
    }
}

impl std::fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LevelHandle")
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
