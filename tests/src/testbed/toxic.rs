//! A slow link: toxiproxy between the cluster and the control plane, in the control plane's network.
//!
//! The kernels that tests run on may have no netem, so delay is made by a proxy: what comes to the control plane's port is led to it. It
//! passes bytes on and knows nothing of them. Connections that are open stay as they are.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::instance::{CONTROL_PLANE_IP, CONTROL_PLANE_PORT};
use super::process::{Background, Process};
use super::{Cache, Error, Side, Testbed, files, network, parts, recipe, wait_until};

/// Where the proxy listens for the cluster.
const PORT: u16 = 8444;
/// Where it takes orders, in the control plane's network only.
const ORDERS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8474);

impl Testbed {
    /// Builds what a slow link needs, unless it is there. Takes seconds.
    ///
    /// # Errors
    /// The build fails.
    pub async fn prepare_slow_link(&self) -> Result<(), Error> {
        super::up::ready(vec![*recipe::TOXIPROXY.recipe], true).await
    }

    /// From now on new connections to the control plane are slow: every piece takes `delay` (give or take a half) longer, each way,
    /// and no more than `rate` KB/s come back. After [`Self::prepare_slow_link`].
    ///
    /// # Errors
    /// The proxy does not start or does not obey.
    pub async fn slow_link(&self, delay: Duration, rate: u32) -> Result<(), Error> {
        let instance = self.own("a slow link")?;
        let config = instance.path("config/toxiproxy.json");
        let upstream = format!("{CONTROL_PLANE_IP}:{CONTROL_PLANE_PORT}");
        let listen = format!("{CONTROL_PLANE_IP}:{PORT}");
        let proxy = json!([{ "name": "link", "listen": listen, "upstream": upstream, "enabled": true }]);
        files::write(&config, proxy.to_string())?;
        let mut enter = vec!["nsenter".to_owned()];
        enter.extend(network::enter(instance, Side::ControlPlane));
        enter.push("--".to_owned());
        Background {
            name: "toxiproxy",
            enter,
            init: None,
            program: Cache::from_env().file(&recipe::TOXIPROXY),
            args: ["-host", "127.0.0.1", "-port", "8474", "-config"]
                .map(str::to_owned)
                .into_iter()
                .chain([config.display().to_string()])
                .collect(),
            env: Vec::new(),
            folder: instance.state(),
            log: instance.log("toxiproxy"),
            pid_file: parts::pid_file(instance, "toxiproxy"),
        }
        .start()
        .await?;
        let (half, whole) = (delay.as_millis() / 2, delay.as_millis());
        for (name, stream, kind, attributes) in [
            ("out", "upstream", "latency", json!({ "latency": whole, "jitter": half })),
            ("in", "downstream", "latency", json!({ "latency": whole, "jitter": half })),
            ("rate", "downstream", "bandwidth", json!({ "rate": rate })),
        ] {
            let toxic = json!({ "name": name, "type": kind, "stream": stream, "attributes": attributes }).to_string();
            wait_until(Duration::from_secs(10), "toxiproxy to obey", || order(self, &toxic)).await?;
        }
        network::redirect(instance, Some(PORT)).await
    }

    /// Undoes [`Self::slow_link`]; slow connections are cut.
    ///
    /// # Errors
    /// The proxy does not end.
    pub async fn fast_link(&self) -> Result<(), Error> {
        let instance = self.own("a slow link")?;
        network::redirect(instance, None).await?;
        match Process::read(&parts::pid_file(instance, "toxiproxy")).filter(|process| process.alive()) {
            Some(process) => process.stop(Duration::from_secs(5)).await,
            None => Ok(()),
        }
    }
}

/// Adds one toxic.
async fn order(bed: &Testbed, toxic: &str) -> Result<(), String> {
    let mut stream = bed.connect(Side::ControlPlane, ORDERS).await.map_err(|error| error.to_string())?;
    let head = "POST /proxies/link/toxics HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length";
    let mut answer = String::new();
    let work = async {
        stream.write_all(format!("{head}: {}\r\n\r\n{toxic}", toxic.len()).as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    work.await.map_err(|error| error.to_string())?;
    let known = answer.contains("toxic already exists");
    if answer.contains(" 200 OK") || known { Ok(()) } else { Err(answer) }
}
