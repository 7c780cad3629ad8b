//! Sends HTTP requests to one address until its standard input closes or its time is over, then prints what came of it as JSON.
//! Started by the demo and the tests inside the cluster's network namespace.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use tests::load;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Args {
    /// Address to connect to.
    #[arg(long)]
    target: SocketAddr,
    /// Host header.
    #[arg(long, default_value = "demo")]
    host: String,
    /// Path of every request.
    #[arg(long, default_value = "/")]
    path: String,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Keep connections open between requests.
    #[arg(long)]
    keep_alive: bool,
    /// Requests on one kept connection before it is left for a new one.
    #[arg(long, default_value_t = 100)]
    per_connection: u64,
    /// Milliseconds between the starts of two requests of one worker.
    #[arg(long, default_value_t = 0)]
    pace_ms: u64,
    /// Seconds until the run ends by itself.
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// `TEXT=NAME`: count answers that contain TEXT as NAME.
    #[arg(long = "mark")]
    marks: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let stop = CancellationToken::new();
    let marks = args
        .marks
        .iter()
        .map(|mark| mark.rsplit_once('=').map(|(text, name)| (text.to_owned(), name.to_owned())))
        .collect::<Option<_>>()
        .ok_or_else(|| anyhow::anyhow!("--mark wants TEXT=NAME"))?;
    let plan = load::Plan {
        target: args.target,
        host: args.host,
        path: args.path,
        workers: args.workers,
        keep_alive: args.keep_alive,
        per_connection: args.per_connection,
        pace: Duration::from_millis(args.pace_ms),
        limit: Duration::from_secs(args.limit),
        marks,
    };
    let closed = stop.clone();
    // A plain thread: a runtime would wait for a read of standard input that never ends.
    std::thread::spawn(move || {
        if std::io::stdin().read_to_end(&mut Vec::new()).is_ok() {
            closed.cancel();
        }
    });
    let report = load::run(plan, stop).await;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
