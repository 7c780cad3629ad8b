//! HTTPS to the control plane, and what its failures mean.
//!
//! Only the CA that was given is trusted, redirects are not followed, and the token leaves over TLS (or to this machine) only.

use std::error::Error as _;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use control_plane_model::problem::{Code, Problem};
use reqwest::{Method, Response, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Error;

/// Time to connect, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for one request and its answer; streams and long polls excepted.
const REQUEST: Duration = Duration::from_secs(20);

/// Query parameters.
pub(super) type Query<'a> = [(&'a str, String)];

/// A server, what it is trusted by, and a token.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Client {
    /// Makes a client; nothing is sent.
    ///
    /// # Errors
    /// `Usage` for an address or a CA that cannot be used.
    pub(super) fn new(server: &str, ca: Option<&str>, token: Option<SecretString>) -> Result<Self, Error> {
        let base = address(server)?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pdpctl/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        builder = builder.tls_backend_preconfigured(tls(&base, ca)?);
        let http = builder.build().map_err(|error| Error::usage(format!("no client for {server}: {error}"), ""))?;
        Ok(Self { http, base, token })
    }

    /// Address of the server.
    pub(super) fn server(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Host of the server.
    pub(super) fn host(&self) -> String {
        self.base.host_str().unwrap_or("default").to_owned()
    }

    /// Version of the control plane.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let answer: serde_json::Value = self.get(&["version"], &[]).await?;
        Ok(answer.get("version").and_then(|version| version.as_str()).unwrap_or("of unknown version").to_owned())
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &Query<'_>) -> Result<T, Error> {
        let response = self.send(Method::GET, path, query, None::<&()>, Some(REQUEST)).await?;
        self.read(response).await
    }

    /// Asks for something that may take `patience`.
    pub(super) async fn get_slow<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query<'_>,
        patience: Duration,
    ) -> Result<T, Error> {
        let response = self.send(Method::GET, path, query, None::<&()>, Some(REQUEST + patience)).await?;
        self.read(response).await
    }

    /// Asks to make or do something.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Error> {
        let response = self.send(Method::POST, path, &[], Some(body), Some(REQUEST)).await?;
        self.read(response).await
    }

    /// Asks to replace something.
    pub(super) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Error> {
        let response = self.send(Method::PUT, path, &[], Some(body), Some(REQUEST)).await?;
        self.read(response).await
    }

    /// Asks to do something whose answer says nothing more.
    pub(super) async fn post_only(&self, path: &[&str]) -> Result<(), Error> {
        self.send(Method::POST, path, &[], None::<&()>, Some(REQUEST)).await.map(drop)
    }

    /// Asks to delete something.
    pub(super) async fn delete(&self, path: &[&str], query: &Query<'_>) -> Result<(), Error> {
        self.send(Method::DELETE, path, query, None::<&()>, Some(REQUEST)).await.map(drop)
    }

    /// Opens a stream that ends when the server or the caller ends it.
    pub(super) async fn stream(&self, path: &[&str], query: &Query<'_>) -> Result<Response, Error> {
        self.send(Method::GET, path, query, None::<&()>, None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &Query<'_>,
        body: Option<&impl Serialize>,
        timeout: Option<Duration>,
    ) -> Result<Response, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Each part is encoded, so that a name cannot reach another route.
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Unreachable {
            message: format!("{} answers something that this pdpctl does not understand: {error}", self.server()),
            hint: "is it a control plane, and of the same version? compare: pdpctl version".into(),
        })
    }

    async fn refusal(&self, response: Response) -> Error {
        let status = response.status();
        let bytes = response.bytes().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice::<Problem>(&bytes) {
            return problem.into();
        }
        let server = self.server();
        match status.as_u16() {
            401 => Problem::new(Code::Unauthenticated, format!("{server} does not accept the token")).into(),
            403 => Problem::new(Code::Forbidden, format!("{server} does not allow this")).into(),
            502..=504 => Error::Unreachable {
                message: format!("{server} cannot be reached: something on the way answers {status}"),
                hint: "the control plane may be starting; try again".into(),
            },
            300..=399 => Error::Unreachable {
                message: format!("{server} redirects, which is not followed"),
                hint: "log in with the control plane's own address".into(),
            },
            _ => Error::Unreachable {
                message: format!("{server} answers {status} in a form that no control plane uses"),
                hint: "check the address and its port".into(),
            },
        }
    }

    /// What a failure to talk means, with what to do.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> Error {
        let (why, hint) = explain(error, &self.host());
        Error::Unreachable { message: format!("{} cannot be reached: {why}", self.server()), hint: hint.to_owned() }
    }
}

/// Reads an address, adding `https://` where no scheme is named.
fn address(server: &str) -> Result<Url, Error> {
    let hint = "write https://HOST:PORT";
    let text = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let mut url =
        Url::parse(&text).map_err(|error| Error::usage(format!("{server} is not an address: {error}"), hint))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage(
            "the address holds a user name or password",
            "leave it out; the token says who you are",
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(Error::usage("the token is not sent without TLS", "write https://")),
        other => Err(Error::usage(format!("{other}:// is not spoken here"), hint)),
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

fn tls(base: &Url, ca: Option<&str>) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(pem) = ca {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|error| {
                Error::usage(format!("the CA file holds a certificate that cannot be read: {error}"), CA_HINT)
            })?;
        }
        if roots.is_empty() {
            return Err(Error::usage("the CA file holds no certificate", CA_HINT));
        }
    } else if base.scheme() == "https" {
        return Err(Error::usage(format!("no CA is known for {base}"), CA_HINT));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| Error::usage(format!("TLS cannot be set up: {error}"), ""))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

const CA_HINT: &str = "give the control plane's CA as PEM: --ca-file FILE, or PDPCTL_CA_FILE\n\
    (a server with a public certificate: /etc/ssl/certs/ca-certificates.crt)";

/// Cause and hint; errors of other kinds keep their own text.
#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn explain(error: &reqwest::Error, host: &str) -> (String, &'static str) {
    let mut source = error.source();
    let mut last = error.to_string();
    while let Some(cause) = source {
        if let Some(tls) = tls_in(cause) {
            return explain_tls(tls, host);
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                ErrorKind::ConnectionRefused => {
                    return (
                        "the connection is refused".into(),
                        "is the control plane running, and is the port right?",
                    );
                }
                ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                    return ("the connection was cut".into(), "the control plane may be restarting; try again");
                }
                ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                    return ("there is no way to that network".into(), "check the address, the VPN and HTTPS_PROXY");
                }
                _ => {}
            }
        }
        last = cause.to_string();
        source = cause.source();
    }
    if error.is_dns() {
        return (format!("the name {host} is not known here"), "check the name, and this machine's DNS");
    }
    if error.is_timeout() {
        return (
            "it does not answer in time".into(),
            "a firewall may drop the packets; check address, VPN and HTTPS_PROXY",
        );
    }
    (last, "check the address and the network")
}

/// A TLS error, also inside of IO errors, which hide what they hold from `source`.
fn tls_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    error.downcast_ref().or_else(|| tls_in(error.downcast_ref::<std::io::Error>()?.get_ref()?))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn explain_tls(error: &rustls::Error, host: &str) -> (String, &'static str) {
    use rustls::CertificateError as Bad;
    const TIME: &str = "check this machine's clock, then the server's certificate";
    if let rustls::Error::InvalidCertificate(bad) = error {
        return match bad {
            Bad::UnknownIssuer | Bad::BadSignature => (
                "its certificate was not issued by the CA of this context".into(),
                "log in again with the right --ca-file; if the CA did not change, somebody may be in between",
            ),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                (format!("its certificate is not for the name {host}"), "use a name that stands in the certificate")
            }
            Bad::Expired | Bad::ExpiredContext { .. } => ("its certificate has expired".into(), TIME),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => ("its certificate is not valid yet".into(), TIME),
            other => (format!("its certificate cannot be trusted: {other:?}"), "check the server's certificate"),
        };
    }
    if matches!(error, rustls::Error::InvalidMessage(_)) {
        return ("it does not speak TLS on that port".into(), "check the port");
    }
    (format!("TLS fails: {error}"), "check the port, and who answers there")
}
