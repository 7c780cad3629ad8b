//! Probes and metrics on the admin port: `/livez`, `/readyz`, `/metrics`. Read-only, and nothing secret is in reach.
//!
//! `/livez` says that this process makes progress; it never depends on the control plane, the API server or the vault, because
//! a restart mends none of them. `/readyz` says whether each part can do its work; `?verbose` lists the parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::telemetry::Metrics;

/// Readiness and liveness of the parts of this process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    checks: BTreeMap<&'static str, Result<(), String>>,
    hearts: BTreeMap<&'static str, (Instant, Duration)>,
}

/// One line of `/readyz`. Starts as not ready.
#[derive(Debug, Clone)]
pub struct Check {
    health: Health,
    name: &'static str,
}

/// The pulse of one loop, for `/livez`.
#[derive(Debug, Clone)]
pub struct Heart {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Adds a part to `/readyz`. A process on standby (it does not lead) reports ready.
    #[must_use]
    pub fn check(&self, name: &'static str) -> Check {
        let check = Check { health: self.clone(), name };
        check.not_ready("starting");
        check
    }

    /// Adds a loop that must beat at least every `limit`, whatever happens outside of this process.
    #[must_use]
    pub fn heart(&self, name: &'static str, limit: Duration) -> Heart {
        self.lock().hearts.insert(name, (Instant::now(), limit));
        Heart { health: self.clone(), name }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn liveness(&self) -> Vec<(&'static str, Result<(), String>)> {
        let beat = |(name, (last, limit)): (&&'static str, &(Instant, Duration))| {
            let age = last.elapsed();
            let line = if age <= *limit { Ok(()) } else { Err(format!("no progress for {} s", age.as_secs())) };
            (*name, line)
        };
        self.lock().hearts.iter().map(beat).collect()
    }

    fn readiness(&self) -> Vec<(&'static str, Result<(), String>)> {
        self.lock().checks.iter().map(|(name, state)| (*name, state.clone())).collect()
    }
}

impl Check {
    /// This part can do its work.
    pub fn ready(&self) {
        self.health.lock().checks.insert(self.name, Ok(()));
    }

    /// This part cannot do its work. Anybody in the cluster can read the reason, so it holds no secret.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.health.lock().checks.insert(self.name, Err(reason.into()));
    }
}

impl Heart {
    /// The loop finished one more iteration.
    pub fn beat(&self) {
        if let Some((last, _)) = self.health.lock().hearts.get_mut(self.name) {
            *last = Instant::now();
        }
    }
}

/// The admin port cannot be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Taken, or not an address of this machine.
    #[error("cannot listen on admin address {address}; choose another one by --admin-address")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("the admin server broke")]
    Serve(#[source] std::io::Error),
}

/// Opens the admin port; separate from [`serve`] so that a taken port ends the start at once.
///
/// # Errors
/// The address cannot be listened on.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError::Listen { address, source })
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    if let Ok(address) = listener.local_addr() {
        info!(%address, "probes and metrics are served");
    }
    let heart = health.heart("event loop", Duration::from_secs(10));
    let pulse = async {
        loop {
            heart.beat();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    // Speaks HTTP/2 as well where somebody begins with it: the client of the API server has it compiled in.
    let server = axum::serve(listener, router(health, metrics));
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = pulse => Ok(()),
        result = server => result.map_err(AdminError::Serve),
    }
}

fn router(health: Health, metrics: Metrics) -> Router {
    let live =
        async |State(health): State<Health>, RawQuery(query): RawQuery| page(&health.liveness(), query.as_deref());
    let ready =
        async |State(health): State<Health>, RawQuery(query): RawQuery| page(&health.readiness(), query.as_deref());
    let numbers = async move || {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.encode())
    };
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(numbers))
        .with_state(health);
    #[cfg(feature = "failpoints")]
    let router = router.merge(crate::failpoints::routes());
    router
}

/// In the format of the API server's own probes: `ok`, or one line per part.
fn page(lines: &[(&'static str, Result<(), String>)], query: Option<&str>) -> impl IntoResponse + use<> {
    let good = lines.iter().all(|(_, state)| state.is_ok());
    let verbose =
        query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")));
    let mut text = String::new();
    if verbose || !good {
        for (name, state) in lines {
            let written = match state {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(reason) => writeln!(text, "[-]{name} failed: {reason}"),
            };
            if written.is_err() {
                break;
            }
        }
    }
    text.push_str(if good { "ok\n" } else { "failed\n" });
    (if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn call(health: &Health, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router(health.clone(), Metrics::default()).oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_is_that_of_all_parts_and_says_which_is_missing() {
        let health = Health::default();
        let (link, api) = (health.check("link"), health.check("api-server"));
        link.ready();
        let (code, text) = call(&health, "GET", "/readyz").await;
        assert_eq!((code, text.as_str()), (503, "[-]api-server failed: starting\n[+]link ok\nfailed\n"));
        api.ready();
        assert_eq!(call(&health, "GET", "/readyz").await, (200, "ok\n".to_owned()));
        let (_, text) = call(&health, "GET", "/readyz?verbose").await;
        assert_eq!(text, "[+]api-server ok\n[+]link ok\nok\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_without_pulse_is_not_alive_while_parts_that_are_not_ready_are() {
        let health = Health::default();
        health.check("link").not_ready("the control plane does not answer");
        let heart = health.heart("loop", Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(call(&health, "GET", "/livez").await.0, 200);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(call(&health, "GET", "/livez").await.0, 503);
        heart.beat();
        assert_eq!(call(&health, "GET", "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn the_port_is_read_only() {
        let health = Health::default();
        assert_eq!(call(&health, "POST", "/livez").await.0, 405);
        assert_eq!(call(&health, "DELETE", "/metrics").await.0, 405);
        let (code, text) = call(&health, "GET", "/metrics").await;
        assert!(code == 200 && text.ends_with("# EOF\n"), "{text}");
        assert_eq!(call(&health, "GET", "/secrets").await.0, 404);
    }
}
