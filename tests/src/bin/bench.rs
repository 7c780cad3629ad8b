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
        Command::Run { name, keep, documents, rest } => {
            tests::bench::run(&tests::bench::Settings { name, keep, documents, rest }).await
        }
        Command::Raw { kubeconfig, server } => tests::bench::raw::serve(&kubeconfig, &server).await,
    }
}
