//! `make hostile`: a control plane that sends all that it can, on a fresh test cluster.

use std::time::Duration;

use clap::Parser;

#[derive(Parser)]
#[command(about = "A control plane that sends all that it can; fails if the customer's limits do not hold")]
struct Arguments {
    /// Name of a fresh test cluster that is up.
    #[arg(long)]
    name: String,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { name, seconds } = Arguments::parse();
    tests::hostile::run(&name, Duration::from_secs(seconds)).await
}
