//! Waiting for something to end, with progress, a deadline and Ctrl-C.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::age;
use super::error::Error;
use super::io::Io;
pub(super) use super::progress::Line;
use super::progress::Progress;

/// Longer than a release may take by default (300 s), so that its own end comes first.
const TIMEOUT: &str = "360s";

#[derive(Debug, Clone, Args)]
pub(super) struct Wait {
    /// Wait until it is done, and show how it goes
    #[arg(long, short)]
    pub(super) wait: bool,
    /// Longest time to wait: 300s, 5m
    #[arg(long, value_name = "TIME", value_parser = age::duration, default_value = TIMEOUT)]
    pub(super) timeout: Duration,
}

/// What is known now.
pub(super) struct Snapshot {
    /// State of each place.
    pub(super) lines: Vec<Line>,
    /// Set when it has ended.
    pub(super) end: Option<End>,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As wanted.
    Done,
    /// Otherwise: what happened, and what to do.
    Failed(String, String),
}

/// Pause between two requests: `OFTEN` at first, `SELDOM` after [`CALM`].
const OFTEN: Duration = Duration::from_millis(300);
const SELDOM: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(15);
/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Asks `look` again and again until it has ended.
///
/// A control plane that cannot be reached for a while is waited for as well. `hint` says what to do when time is over.
///
/// # Errors
/// `Failed`, `TimedOut`, `Unreachable` (at the deadline), `Interrupted`, or what `look` says otherwise.
pub(super) async fn watch(
    io: &mut Io,
    title: &str,
    hint: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<Snapshot, Error>,
) -> Result<(), Error> {
    let begin = Instant::now();
    let mut progress = Progress::new(title);
    let result = ask(io, &mut progress, title, hint, begin, timeout, &mut look).await;
    progress.clear(io);
    result
}

async fn ask(
    io: &mut Io,
    progress: &mut Progress,
    title: &str,
    hint: &str,
    begin: Instant,
    timeout: Duration,
    look: &mut impl AsyncFnMut() -> Result<Snapshot, Error>,
) -> Result<(), Error> {
    let elapsed = || i64::try_from(begin.elapsed().as_secs()).unwrap_or(i64::MAX);
    let mut lines: Vec<Line> = Vec::new();
    let mut lost: Option<Error> = None;
    let mut pause = Duration::ZERO;
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let rest = pause;
        let turn = async {
            sleep(rest).await;
            look().await
        };
        let mut turn = std::pin::pin!(turn);
        let seen = loop {
            tokio::select! {
                seen = &mut turn => break seen,
                _ = frames.tick() => redraw(io, progress, elapsed(), &lines),
                () = sleep_until(begin + timeout) => return Err(late(title, hint, timeout, &lines, lost)),
                _ = tokio::signal::ctrl_c() => return Err(Error::Interrupted(format!("{title}: no longer waiting; {hint}"))),
            }
        };
        pause = if begin.elapsed() < CALM { OFTEN } else { SELDOM };
        match seen {
            Ok(Snapshot { lines: now, end }) => {
                (lines, lost) = (now, None);
                // On a terminal the last frame gives way to the result.
                if end.is_none() || io.err_width.columns().is_none() {
                    progress.show(io, elapsed(), &lines);
                }
                match end {
                    None => {}
                    Some(End::Done) => return Ok(()),
                    Some(End::Failed(message, hint)) => return Err(Error::Failed { message, hint }),
                }
            }
            Err(Error::Unreachable { message, hint }) => {
                lines.retain(|line| line.place != CONTROL_PLANE);
                lines.push(Line { place: CONTROL_PLANE.into(), phase: "Unreachable".into(), message: message.clone() });
                lost = Some(Error::Unreachable { message, hint });
                progress.show(io, elapsed(), &lines);
            }
            Err(other) => return Err(other),
        }
    }
}

/// Name in the line that shows that the control plane cannot be reached.
const CONTROL_PLANE: &str = "control plane";

fn redraw(io: &mut Io, progress: &mut Progress, elapsed: i64, lines: &[Line]) {
    if io.err_width.columns().is_some() {
        progress.show(io, elapsed, lines);
    }
}

fn late(title: &str, hint: &str, timeout: Duration, lines: &[Line], lost: Option<Error>) -> Error {
    if let Some(lost) = lost {
        return lost;
    }
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let mut message = format!("{title}: not done after {}", age::short(seconds));
    for Line { place, phase, message: why } in lines {
        message.push_str(&format!("\n{place}: {phase}: {why}"));
    }
    Error::TimedOut { message, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_is_late_has_ended_before_the_waiting() {
        const PROGRESS_DEADLINE: Duration = Duration::from_secs(300);
        assert!(age::duration(TIMEOUT).unwrap() >= PROGRESS_DEADLINE + Duration::from_secs(60));
    }
}
