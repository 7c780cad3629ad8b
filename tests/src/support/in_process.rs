//! The operator itself, in the process of a test.

use std::sync::Arc;

use kube::Client;
use pdp_agent::admin::Health;
use pdp_agent::elector::{Epoch, Leadership, State};
use pdp_agent::operator::clock::Clock;
use pdp_agent::operator::cluster::Http;
use pdp_agent::operator::{self, OperatorContext};
use pdp_agent::settings::Settings;
use pdp_agent::telemetry::{LevelHandle, Metrics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Leads until it is stopped; ends with this object.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// As the account of `client`.
    #[must_use]
    pub fn start(client: Client, settings: Settings) -> Self {
        let context = OperatorContext {
            api: Arc::new(Http::new(client.clone())),
            source: client,
            clock: Clock::System,
            settings,
            leadership: Leadership::fixed(State::Leading(Epoch { lease: "test".to_owned(), transitions: 1 })),
            metrics: Metrics::default(),
            health: Health::default(),
            level: LevelHandle::detached(),
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { operator::run(context, token).await });
        Self { stop, tasks }
    }

    /// Waits until it has ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.expect("it runs").expect("it ended in order");
    }
}
