//! A control plane, started and stopped: for the server binary and for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::Config;
use crate::domain::SCHEMA;
use crate::faults::Faults;
use crate::gateway::authority;
use crate::gateway::ca::{self, Authority, Pair};
use crate::gateway::gateways::{self, Claim};
use crate::gateway::hub::Hub;
use crate::record::Record;
use crate::shared::Shared;
use crate::store::{self, Store};
use crate::supervisor::Supervisor;
use crate::{router, server};

/// A control plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] store::Error),
    /// Another process is this gateway.
    #[error(transparent)]
    Gateway(#[from] gateways::Error),
    /// The authority cannot be made or read.
    #[error(transparent)]
    Authority(#[from] ca::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] server::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// A running control plane. Stopped by [`ControlPlane::shutdown`]; dropped without it, it ends with its runtime.
#[derive(Debug)]
pub struct ControlPlane {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin_token: String,
    /// The claim on the gateway's name. The last field, so that it is released last.
    _claim: Claim,
}

impl ControlPlane {
    /// Opens the store, makes what is missing in it, and listens.
    ///
    /// # Errors
    /// The store cannot be opened, or the address is taken.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_with_token(config, None).await
    }

    /// As [`ControlPlane::start`], with an administrator's token that stays the same over restarts.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with_token(config: Config, admin_token: Option<String>) -> Result<Self, Error> {
        let claim = Claim::take(config.store.as_deref(), &config.gateway).await?;
        let hub = Arc::new(Hub::default());
        let woken = Arc::clone(&hub);
        let store = Store::open(config.store.as_deref(), SCHEMA, move |ids| woken.woken(ids))?;
        let admin_token = admin_token.unwrap_or_else(|| store::new_token("pdpa"));
        let (hash, gateway) = (store::token_hash(&admin_token), config.gateway.clone());
        let instance = store.instance().to_owned();
        let fresh = ca::new_root()?;
        let (root, other, store_id, gateway_secret) = store
            .run(move |c| {
                crate::domain::gateways::enter(c, &gateway, &instance, &hash)?;
                let stored = store::setting(c, "ca_certificate")?.zip(store::setting(c, "ca_key")?);
                let root = match stored {
                    Some((certificate, key)) => Pair { certificate, key },
                    None => {
                        store::set_setting(c, "ca_certificate", &fresh.certificate)?;
                        store::set_setting(c, "ca_key", &fresh.key)?;
                        store::set_setting(c, "store_id", &uuid::Uuid::new_v4().to_string())?;
                        fresh
                    }
                };
                let secret = match store::setting(c, "gateway_secret")? {
                    Some(secret) => secret,
                    None => {
                        let secret = store::new_token("pdpg");
                        store::set_setting(c, "gateway_secret", &secret)?;
                        secret
                    }
                };
                Ok((root, authority::other(c)?, store::setting(c, "store_id")?.unwrap_or_default(), secret))
            })
            .await?;
        let authority = Authority::new(root, config.certificate_lifetime)?;
        let authority = match other {
            Some(other) => authority.beside(&other),
            None => authority,
        };
        let own = authority.server(&config.sans)?;
        let acceptor = server::tls(&own, &authority.bundle)?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| Error::Listen { address: config.listen, source })?;
        let address = listener.local_addr().map_err(|source| Error::Listen { address: config.listen, source })?;
        let public_address = config.public_address.clone().unwrap_or_else(|| address.to_string());
        // Other gateways share the store's file, so they run on this machine and can use loopback.
        let among_us = match address.ip().is_unspecified() {
            true => SocketAddr::from(([127, 0, 0, 1], address.port())),
            false => address,
        };
        let gateway = config.gateway.clone();
        store.run(move |c| crate::domain::gateways::listens(c, &gateway, &among_us.to_string())).await?;
        let shared = Arc::new(Shared {
            record: Record::new(config.record_limit),
            config,
            store,
            authority,
            faults: Faults::default(),
            hub,
            supervisor: Supervisor::default(),
            store_id,
            public_address,
            gateway_secret,
            enrolled: AtomicU64::new(0),
        });
        shared.supervisor.spawn("gateways", gateways::watch(Arc::clone(&shared)));
        let router = router::router(Arc::clone(&shared));
        let serving = server::serve(Arc::clone(&shared), listener, acceptor, router);
        shared.supervisor.spawn("listener", serving);
        tracing::info!(%address, store = shared.store_id, "control plane listens");
        Ok(Self { shared, address, admin_token, _claim: claim })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://` address of the API and of enrolment.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.shared.public_address)
    }

    /// Token of the administrator.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// Root certificates, PEM; the one that issues comes first.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.shared.authority.bundle
    }

    /// Everything received so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    /// The script of faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The store, for what the API does not show.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// How many data planes are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.hub.connected()
    }

    /// Closes all links with `GoingAway` and waits until everything has ended, at most some seconds.
    pub async fn shutdown(self) {
        self.shared.supervisor.shutdown().await;
        let gateway = self.shared.config.gateway.clone();
        let left =
            self.shared.store.run(move |c| crate::domain::gateways::gone(c, &gateway, "the control plane stopped"));
        drop(tokio::time::timeout(Duration::from_secs(2), left).await);
        // The store closes when its last handle is dropped, which may be later. The WAL is written back now, so that a test that reopens
        // the file does not collide with it.
        let flushed = self.shared.store.run(|c| Ok(c.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?));
        drop(tokio::time::timeout(Duration::from_secs(2), flushed).await);
    }
}
