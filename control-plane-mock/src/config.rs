//! What a control plane is started with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one control plane. `Default` is what tests want: loopback, a free port, memory.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// File of the store; memory without one.
    pub store: Option<PathBuf>,
    /// Names and addresses in the server's certificate.
    pub sans: Vec<String>,
    /// `host:port` by which agents reach this gateway; the address listened on when left out.
    pub public_address: Option<String>,
    /// Life of client certificates.
    pub certificate_lifetime: Duration,
    /// How long after its end a certificate may still be renewed by its key.
    pub renewal_grace: Duration,
    /// Life of enrolment tokens, at most an hour.
    pub token_lifetime: Duration,
    /// Name of this gateway in the store, unique among those that share it. Letters, digits, dashes.
    pub gateway: String,
    /// After which time a refusal by policy or quota is asked for again.
    pub retry_refused: Duration,
    /// First delay after a lost session is spread over this time at least.
    pub reconnect_spread: Duration,
    /// Agents that shall come back a second when all of them lose their link at once: the spread grows with their number.
    pub reconnects_per_second: u32,
    /// Agents that are let in at once, from the handshake to the end of the comparison; more wait in the kernel's queue.
    pub concurrent_handshakes: usize,
    /// Messages and requests that are kept for [`crate::record::Record`]; older ones are dropped.
    pub record_limit: usize,
    /// Reference of the chart in the install command that is shown to people.
    pub chart: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            store: None,
            sans: ["control-plane.test", "localhost", "127.0.0.1", "10.77.1.1"].map(str::to_owned).to_vec(),
            public_address: None,
            certificate_lifetime: Duration::from_secs(24 * 3600),
            renewal_grace: Duration::from_secs(30 * 24 * 3600),
            token_lifetime: Duration::from_secs(3600),
            gateway: "gateway-1".into(),
            retry_refused: Duration::from_secs(300),
            reconnect_spread: Duration::from_millis(500),
            reconnects_per_second: 500,
            concurrent_handshakes: 128,
            record_limit: 20_000,
            chart: "./helm/pdp-agent".into(),
        }
    }
}
