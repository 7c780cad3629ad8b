//! What tests do to the parts of a cluster and to its networks, and the control plane that runs at the far end.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use super::config::Record;
use super::instance::{Ports, Side};
use super::parts::{self, Part};
use super::process::{Background, Process};
use super::{Cut, Error, Sockets, Testbed, network};

/// Processes.
impl Testbed {
    /// Sends a signal to a part and returns its process. `SIGSTOP` freezes it, `SIGCONT` lets it go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<Process, Error> {
        part.signal(self.own("a signal to one of its processes")?, signal)
    }

    /// Kills a part and waits until it has ended.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn kill(&self, part: Part) -> Result<(), Error> {
        self.signal(part, Signal::SIGKILL)?.ended(Duration::from_secs(10)).await
    }

    /// Stops a part, if it runs, and starts it again. Does not wait until it is ready.
    ///
    /// # Errors
    /// It ends at once.
    pub async fn restart(&self, part: Part) -> Result<Process, Error> {
        let instance = self.own("restarting one of its processes")?;
        part.restart(instance, Record::read(instance)?.settings()).await
    }
}

/// Networks.
impl Testbed {
    /// A command inside one of the two networks, with the host's files. Give it arguments and start it.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn in_netns(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Result<Command, Error> {
        let mut command = network::inside(self.own("its networks")?, side);
        command.arg(program);
        Ok(command)
    }

    /// Connects to an address inside one of the two networks. Has no time limit of its own.
    ///
    /// # Errors
    /// The connection is refused, times out or has no route.
    pub async fn connect(&self, side: Side, address: std::net::SocketAddr) -> Result<TcpStream, Error> {
        Sockets::inside(&self.own("its networks")?.netns_file(side))?.connect(address).await
    }

    /// Listens at an address of one side. The side is given the address if it has it not, and keeps it; the cluster is told the way
    /// to one of the far side. Connections are taken by the kernel until the listener is dropped, whether anybody accepts them or not.
    ///
    /// # Errors
    /// The address is taken, or the cluster is external.
    pub async fn listen(&self, side: Side, address: std::net::SocketAddr) -> Result<TcpListener, Error> {
        let instance = self.own("its networks")?;
        network::add_address(instance, side, address.ip()).await?;
        Sockets::inside(&instance.netns_file(side))?.listen(address).await
    }

    /// Cuts the link between the two networks.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn cut_link(&self, how: Cut) -> Result<(), Error> {
        network::cut(self.own("cutting the link")?, how).await
    }

    /// Undoes [`Self::cut_link`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn restore_link(&self) -> Result<(), Error> {
        network::restore(self.own("restoring the link")?).await
    }

    /// Ports on 127.0.0.1 of the host.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn ports(&self) -> Result<Ports, Error> {
        Ok(Record::read(self.own("its ports")?)?.ports)
    }
}

/// The control plane.
impl Testbed {
    /// Starts a program as the control plane in its own network, in place of one that runs. It should listen on
    /// `10.77.1.1:8443`; the host reaches it at `127.0.0.1:` [`Ports::control_plane`].
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub async fn start_control_plane(
        &self,
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Process, Error> {
        let instance = self.own("a control plane in a network of its own")?;
        self.stop_control_plane().await?;
        let mut enter = vec!["nsenter".to_owned()];
        enter.extend(network::enter(instance, Side::ControlPlane));
        enter.push("--".to_owned());
        Background {
            name: "the control plane",
            enter,
            init: None,
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| instance.state()),
            log: instance.log("control-plane"),
            pid_file: parts::pid_file(instance, "control-plane"),
        }
        .start()
        .await
    }

    /// Stops the control plane, if one runs.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop_control_plane(&self) -> Result<(), Error> {
        match self.control_plane()? {
            Some(process) => process.stop(Duration::from_secs(10)).await,
            None => Ok(()),
        }
    }

    /// The control plane's process, if it runs.
    ///
    /// # Errors
    /// The cluster is external.
    pub fn control_plane(&self) -> Result<Option<Process>, Error> {
        let file = parts::pid_file(self.own("its control plane")?, "control-plane");
        Ok(Process::read(&file).filter(|process| process.alive()))
    }
}
