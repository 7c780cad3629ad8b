//! The forwarder: listens on 127.0.0.1 of the host and connects inside the instance's network namespaces.
//!
//! A socket belongs to the network namespace of the thread that made it. So one thread per namespace enters it and does nothing
//! but make sockets; connecting and copying happen on the ordinary runtime.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::config::Record;
use super::instance::{API_PORT, CONTROL_PLANE_IP, CONTROL_PLANE_PORT, NODE_IP, REGISTRY_PORT, VAULT_PORT};
use super::{Error, Instance, Side};

/// Makes TCP sockets inside a network namespace. Cheap to clone; the thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Sockets {
    requests: mpsc::Sender<oneshot::Sender<std::io::Result<TcpSocket>>>,
    namespace: PathBuf,
}

impl Sockets {
    /// Enters the namespace that `file` holds open, on a thread of its own.
    ///
    /// # Errors
    /// The file is not there, or the caller may not enter.
    pub fn inside(file: &Path) -> Result<Self, Error> {
        let namespace = std::fs::File::open(file).map_err(Error::io("open", file))?;
        let (requests, inbox) = mpsc::channel::<oneshot::Sender<std::io::Result<TcpSocket>>>();
        let (entered, outcome) = mpsc::channel();
        let run = move || {
            let result = setns(&namespace, CloneFlags::CLONE_NEWNET);
            let failed = result.is_err();
            if entered.send(result).is_err() || failed {
                return;
            }
            while let Ok(reply) = inbox.recv() {
                // Nobody waits any more: nothing to do.
                drop(reply.send(TcpSocket::new_v4()));
            }
        };
        std::thread::Builder::new().name("netns".to_owned()).spawn(run).map_err(Error::io("enter", file))?;
        let entered = outcome.recv().unwrap_or(Err(nix::errno::Errno::ESRCH));
        entered.map_err(|errno| Error::io("enter", file)(errno.into()))?;
        Ok(Self { requests, namespace: file.to_owned() })
    }

    /// Connects to an address as it is known inside the namespace. Cancel safe. Has no time limit of its own.
    ///
    /// # Errors
    /// The connection is refused, times out or has no route.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream, Error> {
        self.socket().await?.connect(address).await.map_err(Error::io("connect to", address.to_string()))
    }

    /// Listens at an address that the namespace has.
    ///
    /// # Errors
    /// The address is taken, or the namespace has it not.
    pub async fn listen(&self, address: SocketAddr) -> Result<TcpListener, Error> {
        let failed = || Error::io("listen on", address.to_string());
        let socket = self.socket().await?;
        socket.set_reuseaddr(true).map_err(failed())?;
        socket.bind(address).map_err(failed())?;
        socket.listen(128).map_err(failed())
    }

    async fn socket(&self) -> Result<TcpSocket, Error> {
        let (reply, socket) = oneshot::channel();
        let gone = || Error::io("enter", &self.namespace)(std::io::Error::other("its thread has ended"));
        self.requests.send(reply).map_err(|_| gone())?;
        socket.await.map_err(|_| gone())?.map_err(Error::io("make a socket in", &self.namespace))
    }
}

/// Forwards until a listener fails; the process is ended by a signal.
///
/// # Errors
/// A port is taken, or a namespace cannot be entered.
pub async fn run(instance: &Instance) -> Result<(), Error> {
    let ports = Record::read(instance)?.ports;
    let cluster = Sockets::inside(&instance.netns_file(Side::Cluster))?;
    let outside = Sockets::inside(&instance.netns_file(Side::ControlPlane))?;
    let mut listeners = JoinSet::new();
    for (port, sockets, ip, target) in [
        (ports.api, &cluster, NODE_IP, API_PORT),
        (ports.registry, &cluster, NODE_IP, REGISTRY_PORT),
        (ports.vault, &cluster, NODE_IP, VAULT_PORT),
        (ports.control_plane, &outside, CONTROL_PLANE_IP, CONTROL_PLANE_PORT),
    ] {
        let ip: Ipv4Addr = ip.parse().unwrap_or(Ipv4Addr::LOCALHOST);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).await.map_err(Error::io("listen on", address.to_string()))?;
        listeners.spawn(serve(listener, sockets.clone(), SocketAddr::from((ip, target))));
    }
    match listeners.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(_)) | None => Ok(()),
    }
}

async fn serve(listener: TcpListener, sockets: Sockets, target: SocketAddr) -> Result<(), Error> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.map_err(Error::io("accept for", target.to_string()))?;
                let sockets = sockets.clone();
                connections.spawn(async move { join(client, &sockets, target).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(mut client: TcpStream, sockets: &Sockets, target: SocketAddr) {
    match sockets.connect(target).await {
        Ok(mut server) => {
            for stream in [&client, &server] {
                drop(stream.set_nodelay(true));
            }
            // How a connection ends is between its two ends.
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        }
        Err(error) => eprintln!("{error}"),
    }
}
