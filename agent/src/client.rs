//! The client of the API server.
//!
//! Built here because the client library's own keeps every connection that a burst of requests opened, each with buffers that grew
//! with the longest list. An idle agent holds its watches and one connection more.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::telemetry::{CountCalls, Metrics};

/// How long a connection waits for another request: longer than the pauses between those of one rollout.
const IDLE: Duration = Duration::from_secs(15);

/// Most that a connection reads ahead, bytes. Heads of answers have to fit in; bodies go through it piece by piece.
const BUFFER: usize = 32 * 1024;

/// Connects nothing yet: each request does when there is no free connection.
///
/// # Errors
/// The address, the trust or the credentials in `config` are malformed.
pub fn client(config: Config, metrics: &Metrics) -> kube::Result<Client> {
    let counts = CountCalls::new(metrics);
    if config.proxy_url.is_some() {
        // With a proxy the library's connector is used, since it does the tunnel; an agent in a cluster reaches the API server
        // directly.
        return Ok(ClientBuilder::try_from(config)?.with_layer(&counts).build());
    }
    let mut connector = TimeoutConnector::new(config.rustls_https_connector()?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(BUFFER)
        .build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).with_layer(&counts).build())
}
