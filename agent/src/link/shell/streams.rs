//! Log streams of one session, as the loop sees them: requests in, ends out. The streams themselves run beside the loop.

use std::time::Duration;

use protocol::bulk::{BULK_SUBPROTOCOL, MAX_BULK_FRAME};
use protocol::message::{StreamEnded, Welcome};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::link::dial::{DialError, Dialer, Limits, Socket};
use crate::link::enrol::Credentials;
use crate::link::logs::{self, LogContext, LogRequest};
use crate::settings::{ControlPlaneUrl, LinkSettings};
use crate::supervisor::joined;

/// Requests that wait while a bulk connection is opened.
const REQUESTS: usize = 64;
/// Ends that wait for the loop; as many as `logs::serve` asks for.
const ENDS: usize = 128;
/// Path of bulk connections where the address in welcome has none.
const BULK_PATH: &str = "/v1/bulk";

/// Log streams of one session. Dropping it ends them.
pub(super) struct LogStreams {
    requests: mpsc::Sender<LogRequest>,
    ended: mpsc::Receiver<StreamEnded>,
    round_trip: watch::Sender<Option<Duration>>,
    serving: JoinSet<()>,
    stop: CancellationToken,
}

impl LogStreams {
    /// Begins to serve a session.
    pub(super) fn new(
        context: LogContext,
        dialer: Dialer,
        credentials: Credentials,
        link: &LinkSettings,
        welcome: &Welcome,
    ) -> Self {
        let (requests, incoming) = mpsc::channel(REQUESTS);
        let (ends, ended) = mpsc::channel(ENDS);
        let stop = CancellationToken::new();
        let address = address(&welcome.bulk, &welcome.session, link);
        let open = move || open(dialer.clone(), credentials.clone(), address.clone());
        let (round_trip, _) = watch::channel(None);
        let mut serving = JoinSet::new();
        serving.spawn(logs::serve(context, open, incoming, ends, round_trip.clone(), stop.clone()));
        Self { requests, ended, round_trip, serving, stop }
    }

    /// Passes a request on; false when too many wait.
    pub(super) fn request(&self, request: LogRequest) -> bool {
        self.requests.try_send(request).is_ok()
    }

    /// Whether a bulk connection is open: it needs the round trip of the control connection.
    pub(super) fn is_carrying(&self) -> bool {
        self.round_trip.receiver_count() > 0
    }

    pub(super) fn round_trip(&self, round_trip: Duration) {
        self.round_trip.send_replace(Some(round_trip));
    }

    /// Waits for an end that goes over the control connection. Cancel safe.
    pub(super) async fn ended(&mut self) -> StreamEnded {
        match self.ended.recv().await {
            Some(ended) => ended,
            None => {
                self.serving.join_next().await.and_then(joined);
                std::future::pending().await
            }
        }
    }
}

impl Drop for LogStreams {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn open(
    dialer: Dialer,
    credentials: Credentials,
    address: Option<(ControlPlaneUrl, String)>,
) -> Result<Socket, DialError> {
    let Some((url, path)) = address else {
        let detail = "the address for bulk connections in welcome is malformed, or its host is neither the control plane's own nor \
                      one of controlPlane.bulkHosts";
        return Err(DialError::Http { detail: detail.to_owned() });
    };
    let limits = Limits { frame: MAX_BULK_FRAME, write_buffer: 4 * MAX_BULK_FRAME };
    dialer.websocket(&url, &path, BULK_SUBPROTOCOL, &credentials.client, limits).await
}

/// Server and path of `wss://host:port[/path][?query]`; the session is in the query. The control plane chooses the address, so only
/// hosts that the customer named are dialled: else it could probe what listens in the customer's network.
fn address(bulk: &str, session: &str, link: &LinkSettings) -> Option<(ControlPlaneUrl, String)> {
    let uri: http::Uri = bulk.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("wss"))?;
    let url: ControlPlaneUrl = format!("https://{authority}").parse().ok()?;
    let named = |host: &String| host.eq_ignore_ascii_case(&url.host);
    if !named(&link.control_plane.host) && !link.bulk_hosts.iter().any(named) {
        return None;
    }
    let path = if uri.path().len() > 1 { uri.path() } else { BULK_PATH };
    let query = match uri.query() {
        Some(query) if query.split('&').any(|pair| pair.starts_with("session=")) => query.to_owned(),
        Some(query) => format!("{query}&session={session}"),
        None => format!("session={session}"),
    };
    Some((url, format!("{path}?{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> LinkSettings {
        LinkSettings {
            control_plane: "https://gw1.example.com".parse().unwrap(),
            bulk_hosts: vec!["gw2.example.com".to_owned()],
            ca_bundle_file: None,
            pins: Vec::new(),
            enrolment_token_file: None,
        }
    }

    #[test]
    fn bulk_connections_go_to_no_host_that_the_customer_has_not_named() {
        for (bulk, allowed) in [
            ("wss://gw1.example.com:9443", true),
            ("wss://GW1.example.com", true),
            ("wss://gw2.example.com", true),
            ("wss://gw3.example.com", false),
            ("wss://gw1.example.com.evil.test", false),
            ("wss://10.96.0.1", false),
            ("wss://kubernetes.default.svc:443", false),
            ("wss://[::1]:10250", false),
        ] {
            assert_eq!(address(bulk, "s1", &link()).is_some(), allowed, "{bulk}");
        }
    }

    #[test]
    fn the_address_of_bulk_connections_names_server_and_session() {
        for (bulk, expected) in [
            ("wss://gw1.example.com:8443", Some("https://gw1.example.com:8443 /v1/bulk?session=s1")),
            ("wss://gw1.example.com/v1/bulk?session=s1", Some("https://gw1.example.com:443 /v1/bulk?session=s1")),
            ("wss://gw1.example.com/bulk?shard=2", Some("https://gw1.example.com:443 /bulk?shard=2&session=s1")),
            ("ws://gw1.example.com", None),
            ("https://gw1.example.com", None),
            ("wss://user:pw@gw1.example.com", None),
            ("", None),
        ] {
            let found = address(bulk, "s1", &link()).map(|(url, path)| format!("{url} {path}"));
            assert_eq!(found.as_deref(), expected, "{bulk}");
        }
    }
}
