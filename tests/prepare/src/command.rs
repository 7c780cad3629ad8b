//! Commands that are run to their end, and their last words when they fail.

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// How many of the last lines are told when a command fails.
const LINES: usize = 30;

/// Runs the command and returns what it printed to standard output.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.extend(String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned));
    Err(failed(what, &output.status.to_string(), lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default()))
}

/// Runs the command and gives each line of its standard error to `each`, which says whether to go on. A carriage return ends a line too.
pub(crate) fn follow(what: &str, command: &mut Command, mut each: impl FnMut(&str) -> bool) -> Result<(), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| not_started(command, &error))?;
    let mut last = VecDeque::new();
    let mut stopped = false;
    if let Some(errors) = child.stderr.take() {
        let mut line = Vec::new();
        for byte in BufReader::new(errors).bytes() {
            match byte.map_err(Error::io("read the output of", what))? {
                b'\n' | b'\r' => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    line.clear();
                    if !stopped && !each(&text) {
                        stopped = true;
                        child.kill().map_err(Error::io("end", what))?;
                    }
                    if last.len() == LINES {
                        last.pop_front();
                    }
                    last.push_back(text);
                }
                byte => line.push(byte),
            }
        }
    }
    let status = child.wait().map_err(Error::io("wait for", what))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(what, &status.to_string(), last.make_contiguous()))
}

fn not_started(command: &Command, error: &std::io::Error) -> Error {
    let program = command.get_program().to_string_lossy();
    Error::new(format!("{program} could not be started: {error}"), format!("install {program}, or put it on the PATH"))
}

fn failed(what: &str, status: &str, lines: &[String]) -> Error {
    let words: Vec<_> = lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect();
    Error::new(format!("{what} failed ({status}):\n{}", words.join("\n")), "see to that, and run again")
}

pub(crate) fn make_executable(file: &Path) -> Result<(), Error> {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).map_err(Error::io("write", file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_shows_its_last_words() {
        let error = run("the test", Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.problem.contains("the test failed (exit status: 3):\nwhy"), "{error}");
    }

    #[test]
    fn lines_come_one_by_one_and_a_no_ends_the_command() {
        let mut seen = Vec::new();
        let mut endless = Command::new("sh");
        endless.args(["-c", "printf 'a\\rb\\n' >&2; exec yes >&2"]);
        follow("the test", &mut endless, |line| {
            seen.push(line.to_owned());
            line != "y"
        })
        .unwrap_err();
        assert_eq!(seen, ["a", "b", "y"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run("the test", &mut Command::new("no-such-program-here")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-here"), "{error}");
    }
}
