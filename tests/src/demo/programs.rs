//! Programs that the demo starts: commands whose lines it shows. All of them end with it.

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::testbed::group;

/// Runs a command to its end and hands on each line of both its outputs. When dropped, ends it and all that it started.
pub(super) async fn lines_of(mut command: Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()).context("it has no process id")?);
    let mut out = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut err = BufReader::new(child.stderr.take().context("no output")?).lines();
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let line = tokio::select! {
            line = out.next_line(), if out_open => { out_open = matches!(line, Ok(Some(_))); line? }
            line = err.next_line(), if err_open => { err_open = matches!(line, Ok(Some(_))); line? }
        };
        if let Some(line) = line {
            each(&line);
        }
    }
    Ok(child.wait().await?)
}

/// A process group that ends with this value.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let deadline = Instant::now() + Duration::from_secs(5);
            let mut members = group(self.0);
            members.iter().for_each(|member| drop(member.signal(signal)));
            while !members.is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                members = group(self.0);
            }
        }
    }
}
