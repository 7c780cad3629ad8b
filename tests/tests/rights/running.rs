//! The operator itself, in this process, with the token of its account in a real installation.

use pdp_agent::admin::Health;
use pdp_agent::elector::{Epoch, Leadership, State};
use pdp_agent::operator::{self, OperatorContext};
use pdp_agent::settings::Settings;
use pdp_agent::telemetry::{LevelHandle, Metrics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::installation::Installation;

pub(crate) struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    pub(crate) fn start(installation: &Installation, account: &Account) -> Self {
        let context = OperatorContext {
            client: account.client(),
            settings: Settings {
                namespace: installation.namespace.clone(),
                fullname: installation.name.clone(),
                agent: format!("{}.{}", installation.namespace, installation.name),
                admission_policies: true,
                admin_address: "127.0.0.1:0".parse().unwrap(),
                instance: "test".to_owned(),
            },
            leadership: Leadership::fixed(State::Leading(Epoch { lease: "test".to_owned(), transitions: 1 })),
            metrics: Metrics::default(),
            health: Health::default(),
            level: LevelHandle::detached(),
        };
        let stop = CancellationToken::new();
        let token = stop.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { operator::run(context, token).await.unwrap() });
        Self { stop, tasks }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}
