//! Work that runs side by side, and its progress: which job, how far, about how long still. On a terminal a few lines that are redrawn;
//! elsewhere a line now and then.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// How often the lines are drawn on a terminal, and told elsewhere.
const REDRAW: Duration = Duration::from_millis(250);
const TELL: Duration = Duration::from_secs(20);

/// Weight of the expected rate, in seconds, as if it had been measured for this long: the first minute says little.
const PRIOR: f64 = 45.0;

/// Processors of this machine.
pub(crate) fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |count| u32::try_from(count.get()).map_or(1.0, f64::from))
}

type Work = Box<dyn FnOnce(&Report) -> Result<(), Error> + Send>;

/// One thing to do.
pub(crate) struct Job {
    name: &'static str,
    /// Seconds of one processor, as expected.
    cost: f64,
    work: Work,
}

impl Job {
    pub(crate) fn new(
        name: &'static str,
        cost: f64,
        work: impl FnOnce(&Report) -> Result<(), Error> + Send + 'static,
    ) -> Self {
        Self { name, cost, work: Box::new(work) }
    }
}

/// What is known of a job.
#[derive(Debug, Clone, Default)]
struct Line {
    name: &'static str,
    cost: f64,
    lane: usize,
    done: usize,
    total: usize,
    /// The part of the cost that is spent, where that is not the part that is done.
    share: Option<f64>,
    now: String,
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Waits,
    Runs(Instant),
    Ended(Duration),
}

impl Line {
    /// The part of its cost that is spent.
    fn spent(&self) -> f64 {
        match self.state {
            State::Waits => 0.0,
            State::Runs(_) => self.cost * self.share.unwrap_or_else(|| fraction(self.done, self.total)),
            State::Ended(_) => self.cost,
        }
    }
}

pub(crate) fn fraction(done: usize, total: usize) -> f64 {
    let float = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    if total == 0 { 0.0 } else { (float(done) / float(total)).min(1.0) }
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<Line>,
    failed: bool,
}

/// Told by a job while it works.
pub(crate) struct Report {
    lines: Arc<Mutex<Lines>>,
    index: usize,
}

impl Report {
    /// Where the job is; `total` 0 when that is not known. Returns whether to go on: not when another job has failed.
    pub(crate) fn at(&self, done: usize, total: usize, now: &str) -> bool {
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.lines.get_mut(self.index) {
            line.done = done;
            line.total = total;
            now.trim().clone_into(&mut line.now);
        }
        !lines.failed
    }

    /// How much of the cost is spent, from 0 to 1: for work whose pieces differ much in size.
    pub(crate) fn spent(&self, share: f64) {
        if let Some(line) = lock(&self.lines).lines.get_mut(self.index) {
            line.share = Some(share);
        }
    }
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines, and who shows them.
pub(crate) struct Board {
    begun: Instant,
    terminal: bool,
    shown: usize,
}

impl Board {
    /// Runs the lanes side by side, in each one job after the other.
    ///
    /// # Errors
    /// The first job that fails; the others are stopped.
    pub(crate) fn run(lanes: Vec<Vec<Job>>) -> Result<(), Error> {
        let lines = Arc::new(Mutex::new(Lines::default()));
        let mut threads = Vec::new();
        for (lane, jobs) in lanes.into_iter().enumerate() {
            let mut numbered = Vec::new();
            for job in jobs {
                let mut all = lock(&lines);
                numbered.push((all.lines.len(), job.work));
                all.lines.push(Line { name: job.name, cost: job.cost, lane, ..Line::default() });
            }
            let lines = Arc::clone(&lines);
            threads.push(thread::spawn(move || in_order(&lines, numbered)));
        }
        let mut board = Self { begun: Instant::now(), terminal: std::io::stderr().is_terminal(), shown: 0 };
        let mut told = Instant::now();
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(REDRAW);
            if board.terminal {
                board.draw(&lock(&lines).lines);
            } else if told.elapsed() >= TELL {
                told = Instant::now();
                board.tell(&lock(&lines).lines);
            }
        }
        board.clear();
        let outcomes: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
        for outcome in outcomes {
            outcome.map_err(|_| Error::new("a job ended unexpectedly", "run again"))??;
        }
        board.ended(&lock(&lines).lines);
        Ok(())
    }

    fn draw(&mut self, lines: &[Line]) {
        let width = width();
        let mut text = Vec::new();
        for lane in 0..=lines.iter().map(|line| line.lane).max().unwrap_or_default() {
            let running = lines.iter().find(|line| line.lane == lane && matches!(line.state, State::Runs(_)));
            text.extend(running.map(|line| drawn(line, width)));
        }
        text.push(cut(&format!("  {}", self.times(lines)), width));
        self.clear();
        let mut out = std::io::stderr().lock();
        drop(writeln!(out, "{}", text.join("\n")));
        drop(out.flush());
        self.shown = text.len();
    }

    /// Removes what was drawn last.
    fn clear(&mut self) {
        if self.shown > 0 {
            drop(write!(std::io::stderr(), "\u{1b}[{}A\r\u{1b}[J", self.shown));
            self.shown = 0;
        }
    }

    fn tell(&self, lines: &[Line]) {
        let running: Vec<_> = lines.iter().filter(|line| matches!(line.state, State::Runs(_))).map(told).collect();
        eprintln!("  {}: {}", self.times(lines), running.join("; "));
    }

    fn times(&self, lines: &[Line]) -> String {
        let passed = self.begun.elapsed();
        let left = left(lines, passed.as_secs_f64(), cores());
        format!("{} so far, {}", span(passed), about(left))
    }

    /// Prints how long the jobs took, unless all was done within ten seconds.
    fn ended(&self, lines: &[Line]) {
        if self.begun.elapsed() < Duration::from_secs(10) {
            return;
        }
        let of = |line: &Line| match line.state {
            State::Ended(took) if took >= Duration::from_secs(1) => Some(format!("{} {}", line.name, span(took))),
            State::Ended(_) | State::Waits | State::Runs(_) => None,
        };
        let times: Vec<_> = lines.iter().filter_map(of).collect();
        eprintln!("  all is there after {} (side by side: {})", span(self.begun.elapsed()), times.join(", "));
    }
}

fn in_order(lines: &Arc<Mutex<Lines>>, jobs: Vec<(usize, Work)>) -> Result<(), Error> {
    for (index, work) in jobs {
        let begun = Instant::now();
        let set = |state: State| {
            if let Some(line) = lock(lines).lines.get_mut(index) {
                line.state = state;
            }
        };
        if lock(lines).failed {
            return Ok(());
        }
        set(State::Runs(begun));
        let outcome = work(&Report { lines: Arc::clone(lines), index });
        set(State::Ended(begun.elapsed()));
        if let Err(error) = outcome {
            // A job that was stopped because another one failed reports no error.
            let mut all = lock(lines);
            if all.failed {
                return Ok(());
            }
            all.failed = true;
            return Err(error);
        }
    }
    Ok(())
}

/// Seconds that the rest takes: at the measured rate, at first mostly at the expected one.
fn left(lines: &[Line], passed: f64, cores: f64) -> f64 {
    let spent: f64 = lines.iter().map(Line::spent).sum();
    let all: f64 = lines.iter().map(|line| line.cost).sum();
    let rate = PRIOR.mul_add(cores, spent) / (PRIOR + passed);
    (all - spent) / rate.max(0.1)
}

fn about(seconds: f64) -> String {
    if seconds < 50.0 {
        "less than a minute left".to_owned()
    } else {
        format!("about {:.0} min left", (seconds / 60.0).ceil())
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

fn told(line: &Line) -> String {
    if line.total == 0 {
        format!("{} ({})", line.name, line.now)
    } else {
        format!("{} {}/{}", line.name, line.done, line.total)
    }
}

/// Name, bar, count and what it is at, in one line of the terminal.
fn drawn(line: &Line, width: usize) -> String {
    let bar = (width / 4).min(30);
    let full = (0..bar).filter(|place| fraction(place + 1, bar) <= fraction(line.done, line.total)).count();
    let count = if line.total == 0 { String::new() } else { format!("{}/{} ", line.done, line.total) };
    let text = format!("  {:<10} [{}{}] {count}{}", line.name, "#".repeat(full), "-".repeat(bar - full), line.now);
    cut(&text, width)
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.saturating_sub(1)).collect()
}

/// Columns of the terminal. Asked each time: people change it.
fn width() -> usize {
    let tty = std::fs::File::open("/dev/tty").ok();
    let asked = tty.and_then(|tty| std::process::Command::new("stty").arg("size").stdin(tty).output().ok());
    let printed = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let columns = printed.split_whitespace().nth(1).and_then(|columns| columns.parse().ok());
    columns.filter(|columns| *columns >= 40).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: State, done: usize) -> Line {
        Line {
            name: "cluster",
            cost: 400.0,
            done,
            total: 100,
            now: "k8s.io/api/core/v1".to_owned(),
            state,
            ..Line::default()
        }
    }

    #[test]
    fn the_time_left_falls_with_what_is_done_and_trusts_what_it_sees() {
        let begun = State::Runs(Instant::now());
        assert!((left(&[line(begun, 0)], 0.0, 2.0) - 200.0).abs() < 1.0);
        // Half of it took five minutes where a hundred seconds were expected.
        let slow = left(&[line(begun, 50)], 300.0, 2.0);
        assert!((220.0..300.0).contains(&slow), "{slow}");
        assert!(left(&[line(State::Ended(Duration::ZERO), 100)], 300.0, 2.0) < 1.0);
    }

    #[test]
    fn a_line_fits_the_terminal() {
        let text = drawn(&line(State::Runs(Instant::now()), 50), 80);
        assert_eq!(text, "  cluster    [##########----------] 50/100 k8s.io/api/core/v1");
        assert_eq!(drawn(&line(State::Waits, 50), 40).chars().count(), 39);
    }

    #[test]
    fn when_one_lane_fails_the_other_stops_and_the_failure_is_told() {
        let fails = Job::new("fails", 1.0, |_| Err(Error::new("no", "yes")));
        let waits = Job::new("waits", 1.0, |report| {
            while report.at(0, 0, "") {
                thread::yield_now();
            }
            Err(Error::new("stopped", ""))
        });
        let error = Board::run(vec![vec![waits], vec![fails]]).unwrap_err();
        assert_eq!(error.problem, "no");
    }
}
