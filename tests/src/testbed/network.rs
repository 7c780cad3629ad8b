//! The two network namespaces of an instance, the link between them, the firewall, and the faults that a link can have.
//!
//! Nothing is added to the host's own network: no address, route or rule. There is no default route inside, so that unknown
//! destinations fail at once.

use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::instance::{CLUSTER_IP, CONTROL_PLANE_IP, CONTROL_PLANE_PORT, Instance, NODE_IP, Side};
use super::process::{clean, run};
use super::{Error, files};

const FIREWALL: &str = include_str!("../../testbed/config/firewall.nft");

/// How a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cut {
    /// The cluster's own end is down: sends fail at once.
    Down,
    /// Packets vanish silently in both directions; open connections hang.
    Drop,
    /// Every TCP packet of the cluster is answered with a reset.
    Reject,
    /// The far end is down: packets vanish, addresses no longer answer.
    PeerDown,
    /// What the cluster sends vanishes; what comes still arrives.
    DropOut,
    /// What comes vanishes; what the cluster sends still leaves.
    DropIn,
    /// Three of ten packets vanish, each way.
    Lossy,
    /// A narrow link with a full buffer: 96 kbit/s each way.
    Narrow,
}

/// A command that will run inside the network namespace, with the caller's own files and processes.
pub(crate) fn inside(instance: &Instance, side: Side) -> Command {
    let mut command = clean("nsenter");
    command.args(enter(instance, side)).arg("--");
    command
}

pub(crate) fn enter(instance: &Instance, side: Side) -> Vec<String> {
    vec![format!("--net={}", instance.netns_file(side).display())]
}

/// Gives one side an address, unless it has it, so that the other one reaches it.
///
/// # Errors
/// The kernel refuses.
pub(crate) async fn add_address(instance: &Instance, side: Side, address: IpAddr) -> Result<(), Error> {
    let (cluster, here) = (instance.netns(Side::Cluster), instance.netns(side));
    let known = [CONTROL_PLANE_IP, CLUSTER_IP, NODE_IP];
    if known.contains(&address.to_string().as_str()) {
        return Ok(());
    }
    match side {
        Side::Cluster => ip(&format!("-n {here} addr replace {address}/32 dev node0")).await.map(drop),
        Side::ControlPlane => {
            ip(&format!("-n {here} addr replace {address}/32 dev down0")).await?;
            ip(&format!("-n {cluster} route replace {address}/32 via {CONTROL_PLANE_IP}")).await.map(drop)
        }
    }
}

/// Makes namespaces, link and firewall; what is there already stays.
///
/// # Errors
/// The kernel refuses, or a tool is missing.
pub(crate) async fn ensure(instance: &Instance) -> Result<(), Error> {
    note_folder(instance)?;
    for side in [Side::Cluster, Side::ControlPlane] {
        if !instance.netns_file(side).exists() {
            ip(&format!("netns add {}", instance.netns(side))).await?;
        }
    }
    let (cluster, outside) = (instance.netns(Side::Cluster), instance.netns(Side::ControlPlane));
    if ip(&format!("-n {cluster} link show up0")).await.is_err() {
        // The kernel removes a dead namespace's links some time later: the far end of the old one may still be there.
        drop(ip(&format!("-n {outside} link del down0")).await);
        ip(&format!("link add up0 netns {cluster} type veth peer name down0 netns {outside}")).await?;
    }
    if ip(&format!("-n {cluster} link show node0")).await.is_err() {
        // A bridge without ports is the one kind of link without hardware that every kernel has.
        ip(&format!("-n {cluster} link add node0 type bridge")).await?;
    }
    for line in [
        format!("-n {cluster} link set lo up"),
        format!("-n {outside} link set lo up"),
        format!("-n {cluster} addr replace {CLUSTER_IP}/24 dev up0"),
        format!("-n {cluster} link set up0 up"),
        format!("-n {outside} addr replace {CONTROL_PLANE_IP}/24 dev down0"),
        format!("-n {outside} link set down0 up"),
        format!("-n {cluster} addr replace {NODE_IP}/32 dev node0"),
        format!("-n {cluster} link set node0 up"),
        format!("-n {cluster} route replace 10.96.0.0/16 dev node0 src {NODE_IP}"),
    ] {
        ip(&line).await?;
    }
    let mut forward = inside(instance, Side::Cluster);
    forward.args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    run("turning on forwarding", &mut forward).await?;
    let mut bridged = inside(instance, Side::Cluster);
    bridged.args(["sh", "-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 1 > $f"]);
    run("showing bridged packets to the firewall", &mut bridged).await?;
    nft(instance, FIREWALL).await
}

/// Whether both namespaces are there.
pub(crate) fn present(instance: &Instance) -> bool {
    [Side::Cluster, Side::ControlPlane].iter().all(|side| instance.netns_file(*side).exists())
}

/// Removes both namespaces, and `/run/netns` if the test bed was what made it a mount.
pub(crate) async fn remove(instance: &Instance) -> Result<(), Error> {
    for side in [Side::Cluster, Side::ControlPlane] {
        if instance.netns_file(side).exists() {
            ip(&format!("netns del {}", instance.netns(side))).await?;
        }
    }
    let marker = folder_marker(instance);
    let folder = Path::new("/run/netns");
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if marker.exists() && empty {
        if is_mount(folder) {
            run("unmounting /run/netns", clean("umount").args(["-l", "/run/netns"])).await?;
        }
        std::fs::remove_dir(folder).map_err(Error::io("remove", folder))?;
        files::remove(&marker)?;
    }
    Ok(())
}

/// Cuts the link until [`restore`].
pub(crate) async fn cut(instance: &Instance, how: Cut) -> Result<(), Error> {
    restore(instance).await?;
    let (cluster, outside) = (instance.netns(Side::Cluster), instance.netns(Side::ControlPlane));
    match how {
        Cut::Down => ip(&format!("-n {cluster} link set up0 down")).await.map(drop),
        Cut::PeerDown => ip(&format!("-n {outside} link set down0 down")).await.map(drop),
        Cut::Drop => nft(instance, &fault("drop", true, true)).await,
        Cut::DropOut => nft(instance, &fault("drop", true, false)).await,
        Cut::DropIn => nft(instance, &fault("drop", false, true)).await,
        Cut::Lossy => nft(instance, &fault("numgen random mod 10 < 3 drop", true, true)).await,
        Cut::Narrow => {
            for (namespace, link) in [(cluster, "up0"), (outside, "down0")] {
                tc(&format!("-n {namespace} qdisc replace dev {link} root tbf rate 96kbit burst 4kb latency 1s"))
                    .await?;
            }
            Ok(())
        }
        Cut::Reject => nft(instance, &fault("meta l4proto tcp reject with tcp reset", true, false)).await,
    }
}

/// Undoes every [`cut`].
pub(crate) async fn restore(instance: &Instance) -> Result<(), Error> {
    let (cluster, outside) = (instance.netns(Side::Cluster), instance.netns(Side::ControlPlane));
    nft(instance, "table inet fault\ndelete table inet fault\n").await?;
    for (namespace, link) in [(&cluster, "up0"), (&outside, "down0")] {
        // There is none unless the link was narrow.
        drop(tc(&format!("-n {namespace} qdisc del dev {link} root")).await);
    }
    ip(&format!("-n {cluster} link set up0 up")).await?;
    ip(&format!("-n {outside} link set down0 up")).await.map(drop)
}

/// The rules of a fault: on what pods send (forward), on what the node sends (output), on what arrives.
fn fault(verdict: &str, out: bool, inbound: bool) -> String {
    let chain = |name: &str, hook: &str, side: &str| {
        format!("chain {name} {{ type filter hook {hook}; policy accept; {side} \"up0\" {verdict}; }}\n")
    };
    let mut chains = String::new();
    if out {
        chains.push_str(&chain("out", "output priority -10", "oifname"));
        chains.push_str(&chain("pass", "forward priority -10", "oifname"));
    }
    if inbound {
        chains.push_str(&chain("in", "prerouting priority -310", "iifname"));
    }
    format!("table inet fault {{\n{chains}}}\n")
}

async fn tc(line: &str) -> Result<String, Error> {
    run(&format!("tc {line}"), clean("tc").args(line.split_whitespace())).await
}

/// Redirects connections to the control plane's port to another port of the same host; none ends that.
pub(crate) async fn redirect(instance: &Instance, to: Option<u16>) -> Result<(), Error> {
    let rules = to.map(|to| {
        let from = format!("iifname \"down0\" tcp dport {CONTROL_PLANE_PORT} redirect to :{to}");
        format!("table ip slow {{\nchain in {{\ntype nat hook prerouting priority dstnat;\n{from}\n}}\n}}\n")
    });
    let rules = format!("table ip slow\ndelete table ip slow\n{}", rules.unwrap_or_default());
    load(instance, Side::ControlPlane, &rules).await
}

async fn ip(line: &str) -> Result<String, Error> {
    run(&format!("ip {line}"), clean("ip").args(line.split_whitespace())).await
}

/// Loads rules on the cluster's side.
async fn nft(instance: &Instance, rules: &str) -> Result<(), Error> {
    load(instance, Side::Cluster, rules).await
}

async fn load(instance: &Instance, side: Side, rules: &str) -> Result<(), Error> {
    let mut command = inside(instance, side);
    command.args(["nft", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let spawned = |source| Error::Spawn { program: "nft".to_owned(), source };
    let mut child = command.spawn().map_err(spawned)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).await.map_err(spawned)?;
    }
    let output = child.wait_with_output().await.map_err(spawned)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Command {
        what: "loading firewall rules".to_owned(),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn folder_marker(instance: &Instance) -> std::path::PathBuf {
    instance.root().join(".made-run-netns")
}

/// Remembers that `/run/netns` was no mount before us.
fn note_folder(instance: &Instance) -> Result<(), Error> {
    if Path::new("/run/netns").exists() { Ok(()) } else { files::write(&folder_marker(instance), "") }
}

pub(crate) fn is_mount(path: &Path) -> bool {
    let wanted = path.to_string_lossy();
    files::read(Path::new("/proc/self/mountinfo"))
        .is_ok_and(|text| text.lines().any(|line| line.split(' ').nth(4) == Some(&*wanted)))
}
