//! `make demo`: plays the demo and leaves everything up. Ctrl-C removes what it made.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::demo::Demo;
use tests::testbed::{Instance, Testbed, UpOptions, down, up};
use tokio::signal::unix::{SignalKind, signal};

/// How much later than its commands the demo may hear of a Ctrl-C.
const LATE: Duration = Duration::from_millis(300);

#[derive(Parser)]
#[command(about = "A private data plane from nothing to a running service, on this machine")]
struct Args {
    /// Name of the test cluster.
    #[arg(long, default_value = "demo")]
    name: String,
    /// Install and build what this machine lacks without asking (also under CI=true).
    #[arg(long, short)]
    yes: bool,
    /// Remove a demo that is up, and begin anew.
    #[arg(long)]
    fresh: bool,
    /// Fail unless a demo is up already.
    #[arg(long, conflicts_with = "fresh")]
    standing: bool,
    /// Remove everything at the end.
    #[arg(long)]
    down: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.fresh
        && let Ok(instance) = Instance::named(&args.name)
    {
        down::down(&instance, false).await?;
    }
    let mut demo = Demo::new(&args.name);
    if args.standing && !demo.goes_on() {
        eprintln!("demo: {} is not up", args.name);
        return Ok(ExitCode::FAILURE);
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let options = UpOptions { yes: args.yes, ..UpOptions::default() };
    let prepared = tokio::select! {
        biased;
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        prepared = up::prepare(&options) => Some(prepared),
    };
    match prepared {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            eprintln!("demo: {error}");
            return Ok(ExitCode::FAILURE);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a question may still wait for its answer, and the runtime for it"
        )]
        None => std::process::exit(130),
    }
    let mut played = tokio::select! {
        biased;
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        played = demo.play() => Some(played),
    };
    // Ctrl-C ends the commands of the demo too: what failed may have failed for that.
    if matches!(played, Some(Err(_))) && tokio::time::timeout(LATE, interrupt.recv()).await.is_ok() {
        played = None;
    }
    let code = match &played {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            demo.failed(error);
            demo.say(
                "All is left as it is, to look at: testbed status, testbed logs. Remove it with `make demo-down`, or begin anew with `make demo FRESH=1`.",
            );
            ExitCode::FAILURE
        }
        None => ExitCode::from(130),
    };
    if played.is_none() && demo.goes_on() && !args.down {
        demo.say("");
        demo.say("The demo that was up before is left as it is. Remove it with `make demo-down`.");
    } else if played.is_none() || args.down {
        demo.say("");
        demo.say("Removing the test cluster …");
        if let Ok(bed) = Testbed::attach(&args.name) {
            bed.down().await?;
        }
    }
    Ok(code)
}
