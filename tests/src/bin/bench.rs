//! `make bench`: measures the acknowledgement of documents against raw writes, and what the agent takes at rest.

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
#[command(about = "Measures the agent on a fresh test cluster, against raw writes to the same API server")]
enum Command {
    /// Brings a fresh test cluster up, measures, prints tables, removes it.
    Run {
        /// Name of the test cluster.
        #[arg(long, default_value = "bench")]
        name: String,
        /// Leave it up.
        #[arg(long)]
        keep: bool,
        /// Documents one at a time.
        #[arg(long, default_value_t = 200)]
        documents: usize,
        /// Seconds at rest over which CPU time is counted.
        #[arg(long, default_value_t = 60)]
        rest: u64,
        /// Releases to the empty cluster.
        #[arg(long, default_value_t = 1_000)]
        releases: usize,
        /// Sessions that are cut, each after more than a minute.
        #[arg(long, default_value_t = 20)]
        cuts: usize,
        /// Seconds over which writes are counted while nothing is wished.
        #[arg(long, default_value_t = 60)]
        quiet: u64,
        /// Simulated agents on the control plane; 0 leaves that part out.
        #[arg(long, default_value_t = 20_000)]
        agents: usize,
        /// What is measured on the cluster, all unless told.
        #[arg(long, value_enum, value_delimiter = ',', default_values = ["documents", "flood", "cuts"])]
        parts: Vec<tests::bench::Part>,
    },
    /// Passes connections on, late; started by `run`.
    #[command(hide = true)]
    Delay {
        /// Where to listen.
        #[arg(long)]
        listen: std::net::SocketAddr,
        /// Where to pass on to.
        #[arg(long)]
        to: std::net::SocketAddr,
    },
    /// Many simulated agents on the control-plane mock, without a cluster.
    Agents {
        /// How many.
        #[arg(long, default_value_t = 20_000)]
        agents: usize,
        /// Agents that shall come back a second after a restart.
        #[arg(long, default_value_t = 500)]
        reconnects_per_second: u32,
    },
    /// A process full of simulated agents; started by `agents`.
    #[command(hide = true)]
    AgentsLoad {
        /// The gateway.
        #[arg(long)]
        gateway: std::net::SocketAddr,
        /// The gateway's CA, a file.
        #[arg(long)]
        ca: PathBuf,
        /// Key and certificates.
        #[arg(long)]
        file: PathBuf,
    },
    /// Writes raw, inside the cluster's network; started by `run`.
    #[command(hide = true)]
    Raw {
        /// Kubeconfig with all rights.
        #[arg(long)]
        kubeconfig: PathBuf,
        /// Address of the API server.
        #[arg(long)]
        server: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Run { name, keep, documents, rest, releases, cuts, quiet, agents, parts } => {
            let settings = tests::bench::Settings { name, keep, documents, rest, releases, cuts, quiet, agents, parts };
            tests::bench::run(&settings).await
        }
        Command::Delay { listen, to } => tests::bench::flood::delay(listen, to).await,
        Command::Agents { agents, reconnects_per_second } => {
            tests::bench::agents::run(&tests::bench::agents::Settings { agents, reconnects_per_second }).await
        }
        Command::AgentsLoad { gateway, ca, file } => tests::bench::agents::serve(gateway, &ca, &file).await,
        Command::Raw { kubeconfig, server } => tests::bench::raw::serve(&kubeconfig, &server).await,
    }
}
