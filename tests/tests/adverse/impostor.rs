//! A server in the control plane's network with a certificate of any validity, to test how an agent reports it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use nix::sched::{CloneFlags, setns};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tests::testbed::{Side, Testbed};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Where it listens, as an agent reaches it.
pub(crate) const URL: &str = "https://control-plane.test:8444";

/// Days before or after now.
pub(crate) type Days = (i64, i64);

/// See the module. Ends when it is dropped.
pub(crate) struct Impostor {
    authority: Issuer<'static, KeyPair>,
    /// Its CA, PEM.
    pub(crate) ca: String,
    shown: Arc<Mutex<TlsAcceptor>>,
    _serving: JoinSet<()>,
}

impl Impostor {
    /// Begins to answer with a certificate that is valid between these days.
    pub(crate) fn start(bed: &Testbed, days: Days) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().pem();
        let authority = Issuer::new(params, key);
        let shown = Arc::new(Mutex::new(acceptor(&authority, days)));
        let namespace = std::fs::File::open(bed.instance().unwrap().netns_file(Side::ControlPlane)).unwrap();
        let bind = move || {
            // A socket belongs to the network in which it was made; only this thread enters it.
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let listener = std::net::TcpListener::bind("10.77.1.1:8444").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let listener = TcpListener::from_std(std::thread::spawn(bind).join().unwrap()).unwrap();
        let mut serving = JoinSet::new();
        let current = Arc::clone(&shown);
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = current.lock().unwrap().clone();
                // It never comes further than this: the agent leaves.
                drop(tokio::time::timeout(Duration::from_secs(5), acceptor.accept(stream)).await);
            }
        });
        Self { authority, ca, shown, _serving: serving }
    }

    /// From now on with a certificate that is valid between these days.
    pub(crate) fn show(&self, days: Days) {
        *self.shown.lock().unwrap() = acceptor(&self.authority, days);
    }
}

fn acceptor(authority: &Issuer<'static, KeyPair>, days: Days) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["control-plane.test".to_owned()]).unwrap();
    set_times(&mut params, days);
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Sets both ends of a certificate's life.
pub(crate) fn set_times(params: &mut CertificateParams, (from, until): Days) {
    let day = Duration::from_secs(24 * 3600);
    let at = |days: i64| {
        let distance = day * u32::try_from(days.unsigned_abs()).unwrap();
        if days < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance }
    };
    params.not_before = at(from).into();
    params.not_after = at(until).into();
}
