//! `make chaos`: breaks everything on a fresh test cluster while work goes on, and proves that nothing was lost or done twice.

use clap::Parser;
use tests::chaos::plan::Form;
use tests::chaos::{Settings, run};

#[derive(Parser)]
#[command(
    about = "Faults on a real cluster during a steady stream of work, and the proof that nothing was lost or done twice"
)]
struct Arguments {
    /// Name of the test cluster.
    #[arg(long, default_value = "chaos")]
    name: String,
    /// The short form, of less than five minutes.
    #[arg(long)]
    short: bool,
    /// Replays a schedule; the clock gives one otherwise.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Leave the cluster up.
    #[arg(long)]
    keep: bool,
    /// Only faults whose line contains this.
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { name, short, seed, keep, only } = Arguments::parse();
    let form = if short { Form::Short } else { Form::Full };
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    run(&Settings { name, form, seed: seed.unwrap_or(since.as_secs()), keep, only }).await
}
