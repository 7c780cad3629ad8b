//! One TLS listener for agents and people: accept loop, handshakes, HTTP/1.1 with upgrades.
//!
//! A client certificate is optional in TLS and required where a handler asks for [`Peer`]; people come with a bearer token. The
//! number of agents that are let in at once is bounded, from the handshake to the end of the comparison. In a storm of reconnects the
//! others wait in the kernel's queue, so even a machine that is too slow for all of them finishes those that it has begun.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::faults::Fault;
use crate::gateway::ca::{self, Pair, Peer};
use crate::shared::Shared;

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Longest time until a request's head is there.
const HEAD: Duration = Duration::from_secs(30);

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rustls refuses.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The verifier of client certificates cannot be built.
    #[error("TLS cannot be set up: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// PEM that we wrote ourselves cannot be read.
    #[error("TLS cannot be set up: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
}

/// TLS 1.3 with our certificate; client certificates of our authorities (PEM) are asked for and not insisted on.
///
/// # Errors
/// The stored certificate or key cannot be used.
pub fn tls(server: &Pair, authority: &str) -> Result<TlsAcceptor, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(root?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let chain = CertificateDer::pem_slice_iter(server.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // Agents never resume: a resumed session would carry the identity of an older certificate.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until the server stops.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    let handshakes = Arc::new(Semaphore::new(shared.config.concurrent_handshakes.max(1)));
    let stop = shared.supervisor.stopping().clone();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&handshakes).acquire_owned() => match permit {
                Ok(permit) => permit,
                // It is never closed.
                Err(_) => return,
            },
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if shared.faults.take(None, |fault| matches!(fault, Fault::RefuseConnections).then_some(())).is_some() {
            continue;
        }
        let (acceptor, router, connection) = (acceptor.clone(), router.clone(), Arc::clone(&shared));
        shared.supervisor.spawn("connection", async move {
            let tls = tokio::time::timeout(HANDSHAKE, acceptor.accept(no_delay(socket))).await;
            match tls {
                Ok(Ok(tls)) => http(connection, tls, router, permit).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        });
    }
}

fn no_delay(socket: TcpStream) -> TcpStream {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "socket option was refused");
    }
    socket
}

/// One place in the limit of agents that are let in at once. Released by [`Admission::done`], otherwise when the connection ends.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Admission {
    /// Releases the place for the next agent.
    pub fn done(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

async fn http(
    shared: Arc<Shared>,
    tls: tokio_rustls::server::TlsStream<TcpStream>,
    router: Router,
    permit: OwnedSemaphorePermit,
) {
    let peer = tls.get_ref().1.peer_certificates().and_then(<[_]>::first).map(ca::read_peer);
    let peer = match peer {
        Some(Ok(peer)) => Some(Arc::new(peer)),
        Some(Err(error)) => {
            tracing::info!(%error, "client certificate is not one of a data plane");
            None
        }
        None => None,
    };
    // Without a client certificate this is no agent: the place is released right after the handshake.
    let admission = Admission(Arc::new(Mutex::new(peer.is_some().then_some(permit))));
    let service = WithPeer { inner: TowerToHyperService::new(router), peer, admission };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    tokio::pin!(connection);
    let stop = shared.supervisor.stopping();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Puts the client certificate beside each request.
struct WithPeer {
    inner: TowerToHyperService<Router>,
    peer: Option<Arc<Peer>>,
    admission: Admission,
}

impl hyper::service::Service<Request<Incoming>> for WithPeer {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(Arc::clone(peer));
            request.extensions_mut().insert(self.admission.clone());
        }
        Box::pin(self.inner.call(request))
    }
}
