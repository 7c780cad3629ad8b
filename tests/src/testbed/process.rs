//! Programs that run to their end, and programs that are left running. The latter are known by a pid file and nothing else.
//!
//! A pid file holds the process id as the host sees it and the start time, so that a reused id is never taken for ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{Error, files, wait_until};

/// Where programs of the machine are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the program to its end and returns what it printed.
///
/// # Errors
/// It could not be started, or ended with another exit code than 0; the error carries its last lines.
pub(crate) async fn run(what: &str, command: &mut Command) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| Error::Spawn { program: program(command), source })?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = errors.lines().chain(printed.lines()).filter(|line| !line.trim().is_empty()).collect();
    let output_tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
    Err(Error::Command { what: what.to_owned(), status: output.status.to_string(), output: output_tail })
}

/// A command with a clean environment: only `PATH` and `HOME`.
pub(crate) fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("HOME", "/root");
    command
}

fn program(command: &Command) -> String {
    command.as_std().get_program().to_string_lossy().into_owned()
}

/// A process that was started earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id on the host.
    pub pid: i32,
    /// Start time in clock ticks since boot; with the id it names one process for ever.
    pub started: u64,
}

impl Process {
    /// The process with this id, if it runs. One that was killed runs until its last thread has ended: until then its ports and locks are
    /// taken, though its first thread is a zombie already.
    pub(crate) fn with_pid(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in brackets and may hold blanks: count from the last bracket.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        let threads: u32 = fields.nth(16)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        (!matches!(state, "Z" | "X") || threads > 1).then_some(Self { pid, started })
    }

    pub(crate) fn read(pid_file: &Path) -> Option<Self> {
        files::read_json::<Self>(pid_file).ok()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn alive(self) -> bool {
        Self::with_pid(self.pid) == Some(self)
    }

    /// Time since it was started, to a hundredth of a second.
    #[must_use]
    pub fn age(self) -> Duration {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime: f64 = uptime.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default();
        // Linux counts in hundredths here, whatever its own clock does.
        Duration::try_from_secs_f64(uptime).unwrap_or_default().saturating_sub(Duration::from_millis(self.started * 10))
    }

    /// Resident memory in bytes.
    #[must_use]
    pub fn memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// Sends a signal. A process that has ended is not an error.
    ///
    /// # Errors
    /// The signal may not be sent.
    pub fn signal(self, signal: Signal) -> Result<(), Error> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::io("signal", format!("/proc/{}", self.pid))(errno.into())),
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn ended(self, limit: Duration) -> Result<(), Error> {
        wait_until(limit, &format!("the end of process {}", self.pid), async || {
            if self.alive() { Err("it still runs") } else { Ok(()) }
        })
        .await
    }

    /// Asks it to end, and kills it after `grace`.
    ///
    /// # Errors
    /// A signal may not be sent, or it does not end even so.
    pub async fn stop(self, grace: Duration) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        if self.ended(grace).await.is_ok() {
            return Ok(());
        }
        self.signal(Signal::SIGKILL)?;
        self.ended(Duration::from_secs(10)).await
    }

    /// The first child of a process.
    pub(crate) fn child_of(parent: i32) -> Option<Self> {
        let line = format!("PPid:\t{parent}");
        let is_child = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.lines().any(|other| other == line))
        };
        all_pids().into_iter().find(is_child).and_then(Self::with_pid)
    }

    /// Inode of one of its namespaces (`net`, `pid`).
    pub(crate) fn namespace(pid: i32, kind: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
    }
}

/// The processes of a process group that still run.
#[must_use]
pub fn group(id: i32) -> Vec<Process> {
    let member = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        fields.split_whitespace().nth(2).and_then(|group| group.parse().ok()) == Some(id)
    };
    all_pids().into_iter().filter(member).filter_map(Process::with_pid).collect()
}

/// All processes of the machine.
#[must_use]
pub fn processes() -> Vec<Process> {
    all_pids().into_iter().filter_map(Process::with_pid).collect()
}

/// Ids of all processes of the machine.
pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process that is `inner` in the pid namespace of `init`.
fn on_host(init: i32, inner: i32) -> Option<Process> {
    let wanted = Process::namespace(init, "pid")?;
    let pid = all_pids().into_iter().find(|pid| {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        ids.split_whitespace().last().and_then(|id| id.parse().ok()) == Some(inner)
            && Process::namespace(*pid, "pid").as_ref() == Some(&wanted)
    })?;
    Process::with_pid(pid)
}

/// A program to be left running.
pub(crate) struct Background<'a> {
    /// Name for messages.
    pub(crate) name: &'a str,
    /// Put before the program: how to get into its namespaces.
    pub(crate) enter: Vec<String>,
    /// Process 1 of the pid namespace that `enter` enters, if it does.
    pub(crate) init: Option<i32>,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) pid_file: PathBuf,
}

impl Background<'_> {
    /// Starts the program in a session of its own, so that it survives the caller, and writes its pid file.
    ///
    /// # Errors
    /// It could not be started, or ended at once; the error carries the end of its log.
    pub(crate) async fn start(self) -> Result<Process, Error> {
        let inner = self.pid_file.with_extension("inner");
        files::remove(&inner)?;
        files::remove(&self.pid_file)?;
        for folder in [self.log.parent(), self.pid_file.parent()].into_iter().flatten() {
            files::make_folder(folder)?;
        }
        let log =
            fs::OpenOptions::new().create(true).append(true).open(&self.log).map_err(Error::io("write", &self.log))?;
        let errors = log.try_clone().map_err(Error::io("write", &self.log))?;
        let mut words = self.enter.clone();
        // The shell writes its own id and becomes the program, so the id is the program's.
        words.extend(["setsid", "--fork", "sh", "-c", "echo $$ > \"$0\"; exec \"$@\""].map(str::to_owned));
        words.push(inner.display().to_string());
        words.push(self.program.display().to_string());
        words.extend(self.args);
        let mut words = words.into_iter();
        let mut command = clean(words.next().unwrap_or_default());
        command.args(words).envs(self.env).current_dir(&self.folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        let status = command.status().await.map_err(|source| Error::Spawn { program: program(&command), source })?;
        let failed = |status: String| Error::Command {
            what: format!("starting {}", self.name),
            status,
            output: files::tail(&self.log, 8),
        };
        if !status.success() {
            return Err(failed(status.to_string()));
        }
        let found = wait_until(Duration::from_secs(5), &format!("the process of {}", self.name), async || {
            let id: i32 = files::read(&inner)
                .map_err(|error| error.to_string())?
                .trim()
                .parse()
                .map_err(|_| "its id is not written yet".to_owned())?;
            let process = match self.init {
                Some(init) => on_host(init, id),
                None => Process::with_pid(id),
            };
            process.ok_or_else(|| "it ended at once".to_owned())
        })
        .await;
        files::remove(&inner)?;
        let process = found.map_err(|error| failed(error.to_string()))?;
        files::write_json(&self.pid_file, &process)?;
        Ok(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_background_program_is_known_by_its_pid_file_until_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let background = Background {
            name: "sleep",
            enter: vec![],
            init: None,
            program: "sleep".into(),
            args: vec!["600".into()],
            env: vec![],
            folder: folder.path().into(),
            log: folder.path().join("log"),
            pid_file: folder.path().join("sleep.pid"),
        };
        let process = background.start().await.unwrap();
        assert_eq!(Process::read(&folder.path().join("sleep.pid")), Some(process));
        assert!(process.alive());
        process.stop(Duration::from_secs(5)).await.unwrap();
        assert!(!process.alive());
    }

    /// As a process that was killed and has much to give back.
    #[tokio::test]
    async fn a_process_runs_until_its_last_thread_has_ended() {
        let program = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); \
                       ctypes.CDLL(None).pthread_exit(None)";
        let mut child = Command::new("python3").args(["-c", program]).kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap().cast_signed();
        wait_until(Duration::from_secs(20), "its first thread to end", async || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        })
        .await
        .unwrap();
        let process = Process::with_pid(pid).unwrap();
        assert!(process.alive());
        process.signal(Signal::SIGKILL).unwrap();
        child.wait().await.unwrap();
        assert!(!process.alive());
    }

    #[tokio::test]
    async fn a_failed_program_shows_its_last_words() {
        let error = run("the test", clean("sh").args(["-c", "echo why >&2; exit 3"])).await.unwrap_err();
        assert_eq!(error.to_string(), "the test failed (exit status: 3): why");
    }

    #[test]
    fn a_reused_process_id_is_not_taken_for_ours() {
        let own = Process::with_pid(std::process::id().cast_signed()).unwrap();
        assert!(own.alive());
        assert!(!Process { started: own.started + 1, ..own }.alive());
    }
}
