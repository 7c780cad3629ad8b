//! The clients of the API server.
//!
//! Built here because the client library's own speaks HTTP/1.1 alone and keeps every connection that a burst of requests opened, each
//! with buffers that grew with the longest list. Here watches and calls share one connection over HTTP/2.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _, RustlsTlsError};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::telemetry::{CountCalls, Metrics};
use waiting::Waiting;

mod waiting;

/// How long a connection of HTTP/1.1 waits for another request: longer than the pauses between those of one rollout.
const IDLE: Duration = Duration::from_secs(15);

/// Most that a connection of HTTP/1.1 reads ahead, bytes. Heads of answers have to fit in; bodies go through it piece by piece.
const BUFFER: usize = 32 * 1024;

/// How often a connection of HTTP/2 is asked whether its other end is there, and how long that may take to answer. A connection that
/// was cut off is given up after both.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

/// Calls at once. An API server takes 100 streams on a connection (`--http2-max-streams-per-connection`), the watches among them; what
/// is more would wait inside the connection, where no deadline of ours is seen.
const AT_ONCE: usize = 64;

/// How often the kernel asks the other end of an idle connection, three times before it gives up. It is the only sign of life of a
/// watch over HTTP/1.1.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Idle connections of HTTP/1.1 that are kept where the server has no HTTP/2.
const KEPT: usize = 4;

/// The two ways to the API server of one process.
#[derive(Clone)]
pub struct Clients {
    /// For watches and calls: one connection over HTTP/2, or several over HTTP/1.1 where the server has no other.
    pub shared: Client,
    /// For what must not wait behind those, and what must not hold them up: Leases and log streams. A connection each, over HTTP/1.1.
    pub apart: Client,
}

impl Clients {
    /// Connects nothing yet: each request does when there is no free connection.
    ///
    /// # Errors
    /// The address, the trust or the credentials in `config` are malformed.
    pub fn new(config: &Config, metrics: &Metrics) -> kube::Result<Self> {
        let counts = CountCalls::new(metrics);
        if config.proxy_url.is_some() {
            // With a proxy the library's connector is used, since it does the tunnel; an agent in a cluster reaches the API server
            // directly.
            let client = ClientBuilder::try_from(config.clone())?.with_layer(&counts).build();
            return Ok(Self { shared: client.clone(), apart: client });
        }
        Ok(Self { shared: client(config, &counts, true)?, apart: client(config, &counts, false)? })
    }
}

fn client(config: &Config, counts: &CountCalls, shared: bool) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(3));
    // Small requests of many callers follow each other on one connection.
    tcp.set_nodelay(true);
    let tls = if shared { negotiating(config, tcp)? } else { config.rustls_https_connector_with_connector(tcp)? };
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let mut http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
    http.pool_timer(TokioTimer::new()).timer(TokioTimer::new()).pool_idle_timeout(IDLE).http1_max_buf_size(BUFFER);
    if shared {
        // A connection counts as idle while watches are its only streams: it would be let go, and not be asked any more.
        http.pool_idle_timeout(None).pool_max_idle_per_host(KEPT);
        http.http2_keep_alive_interval(PING).http2_keep_alive_timeout(PONG).http2_keep_alive_while_idle(true);
    }
    let http = http.build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let namespace = config.default_namespace.clone();
    if !shared {
        return Ok(ClientBuilder::new(service, namespace).with_layer(counts).build());
    }
    let bounded = ServiceBuilder::new().concurrency_limit(AT_ONCE).layer_fn(Waiting::new).service(service);
    Ok(ClientBuilder::new(bounded, namespace).with_layer(counts).build())
}

/// The library's connector with both versions on offer: the server chooses while the connection is made.
fn negotiating(config: &Config, tcp: HttpConnector) -> kube::Result<HttpsConnector<HttpConnector>> {
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name =
            name.clone().try_into().map_err(RustlsTlsError::InvalidServerName).map_err(kube::Error::RustlsTls)?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_all_versions().wrap_connector(tcp))
}

#[cfg(test)]
mod tests;
