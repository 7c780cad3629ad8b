//! `make demo`: plays the demo and leaves everything up. Ctrl-C removes what it made.

use std::process::ExitCode;

use clap::Parser;
use tests::demo::Demo;
use tests::testbed::Testbed;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "A private data plane from nothing to a running service, on this machine")]
struct Args {
    /// Name of the test cluster.
    #[arg(long, default_value = "demo")]
    name: String,
    /// Remove everything at the end.
    #[arg(long)]
    down: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let mut demo = Demo::new(&args.name);
    let mut terminate = signal(SignalKind::terminate())?;
    let played = tokio::select! {
        played = demo.play() => Some(played),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    let code = match &played {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            demo.failed(error);
            demo.say(
                "All is left as it is, to look at: testbed status, testbed logs. Remove it with `make demo-down`.",
            );
            ExitCode::FAILURE
        }
        None => ExitCode::from(130),
    };
    if played.is_none() || args.down {
        demo.say("Removing the test cluster …");
        if let Ok(bed) = Testbed::attach(&args.name) {
            bed.down().await?;
        }
    }
    Ok(code)
}
