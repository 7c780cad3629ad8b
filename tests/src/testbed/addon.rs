//! Parts that a cluster has only on demand.

use super::{Cache, Error, Instance};

/// A part that `up --with` installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Addon {
    /// Resource metrics of pods and nodes (`kubectl top`, autoscalers).
    MetricsServer,
}

impl Addon {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MetricsServer => "metrics-server",
        }
    }

    pub(crate) async fn install(self, _instance: &Instance, _cache: &Cache, _yes: bool) -> Result<(), Error> {
        Ok(())
    }
}
