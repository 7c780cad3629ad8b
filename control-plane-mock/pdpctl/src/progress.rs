//! How waiting looks: lines that are redrawn on a terminal, one line per change elsewhere.

use std::collections::BTreeMap;

use super::age;
use super::io::Io;
use super::io::Width;
use super::table::{cut, plain, wrap};

/// State of one place that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Data plane.
    pub(super) place: String,
    /// One word.
    pub(super) phase: String,
    pub(super) message: String,
}

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Draws on standard error.
pub(super) struct Progress {
    title: String,
    drawn: usize,
    turns: usize,
    shown: BTreeMap<String, (String, String)>,
}

impl Progress {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), drawn: 0, turns: 0, shown: BTreeMap::new() }
    }

    /// Shows the present state; `elapsed` in whole seconds.
    pub(super) fn show(&mut self, io: &mut Io, elapsed: i64, lines: &[Line]) {
        let Some(width) = io.err_width.columns() else {
            let text = self.changes(elapsed, lines);
            if !text.is_empty() {
                io.complain(&text);
            }
            return;
        };
        let spinner = SPINNER.get(self.turns % SPINNER.len()).copied().unwrap_or('-');
        self.turns += 1;
        let frame = frame(&self.title, spinner, elapsed, lines, width, io.color);
        // Each frame goes out as one write, so that it does not flicker.
        let text = format!("{}{}", self.erase(), frame.concat());
        self.drawn = frame.len();
        drop(io.err.write_all(text.as_bytes()).and_then(|()| io.err.flush()));
    }

    /// Takes what was drawn away, so that results or complaints stand in its place.
    pub(super) fn clear(&mut self, io: &mut Io) {
        if io.err_width != Width::Unlimited {
            let text = self.erase();
            self.drawn = 0;
            drop(io.err.write_all(text.as_bytes()).and_then(|()| io.err.flush()));
        }
    }

    /// Up to the first drawn line, and all below erased.
    fn erase(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A\r\u{1b}[J", self.drawn) }
    }

    /// Lines that say something new.
    fn changes(&mut self, elapsed: i64, lines: &[Line]) -> String {
        let mut text = String::new();
        if self.turns == 0 {
            text.push_str(&format!("{}\n", self.title));
        }
        self.turns += 1;
        for Line { place, phase, message } in lines {
            let now = (phase.clone(), message.clone());
            if self.shown.get(place) != Some(&now) {
                let message = plain(message);
                text.push_str(format!("{:>5}  {place}  {phase}  {message}", age::short(elapsed)).trim_end());
                text.push('\n');
                self.shown.insert(place.clone(), now);
            }
        }
        text
    }
}

/// One frame: a title, then a line per place, none wider than `width`, each ended.
fn frame(title: &str, spinner: char, elapsed: i64, lines: &[Line], width: usize, color: bool) -> Vec<String> {
    // A full last column would wrap on some terminals.
    let width = width.saturating_sub(1);
    let elapsed = age::short(elapsed);
    let title = clip(title, width.saturating_sub(elapsed.len() + 4));
    let mut all = vec![format!("{spinner} {title}  {elapsed}\n")];
    let widest = |of: fn(&Line) -> &str| lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0);
    let places = widest(|line| &line.place).min(width / 3);
    let phases = widest(|line| &line.phase).max(11);
    let before = 2 + places + 2 + phases + 2;
    for Line { place, phase, message } in lines.iter().take(PLACES) {
        let painted = paint(phase, color);
        let pad = " ".repeat(phases.saturating_sub(phase.chars().count()));
        let mut message = wrap(&plain(message), width.saturating_sub(before).max(LEAST)).into_iter();
        let first = message.next().unwrap_or_default();
        let line = format!("  {:<places$}  {painted}{pad}  {first}", cut(&plain(place), places));
        all.push(format!("{}\n", line.trim_end()));
        let rest: Vec<String> = message.collect();
        all.extend(rest.iter().take(MORE).map(|part| format!("{}{part}\n", " ".repeat(before))));
        if rest.len() > MORE
            && let Some(last) = all.last_mut()
        {
            *last = format!("{} …\n", clip(last.trim_end(), width - 2));
        }
    }
    if lines.len() > PLACES {
        all.push(format!("  and {} more\n", lines.len() - PLACES));
    }
    all
}

/// Places that are drawn; a frame must not be higher than the terminal.
const PLACES: usize = 5;
/// Lines of a message after its first.
const MORE: usize = 2;
/// Narrowest column of messages.
const LEAST: usize = 8;

/// The first `width` characters.
fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A phase in its colour.
pub(super) fn paint(phase: &str, color: bool) -> String {
    let code = match phase {
        _ if !color => return phase.to_owned(),
        "Ready" | "Removed" | "Succeeded" => 32,
        "Failed" | "Refused" | "RolledBack" | "Cancelled" => 31,
        "Stalled" | "Waiting" | "Paused" | "Unknown" | "Unreachable" => 33,
        _ => 36,
    };
    format!("\u{1b}[{code}m{phase}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let line = |place: &str, phase: &str, message: &str| Line {
            place: place.into(),
            phase: phase.into(),
            message: message.into(),
        };
        vec![
            line("eu-1", "Progressing", "Rollout: 1 new pod is not ready yet, 1/2 pods ready, 1 new"),
            line(
                "us-east-customer",
                "Waiting",
                "the data plane is not connected (last seen 2026-11-21T12:00:00Z); this is sent as soon as it is there",
            ),
        ]
    }

    #[test]
    fn frames_look_like_this() {
        let title = "Deploying httpbin v1.0/3 to dev";
        let at = |width| frame(title, '⠹', 12, &lines(), width, false).concat();
        insta::assert_snapshot!(format!("{}\n{}", at(80), at(160)));
    }

    #[test]
    fn a_frame_never_wraps() {
        let many: Vec<Line> = (0..9).flat_map(|_| lines()).collect();
        for width in [40, 60, 80, 160] {
            let frame =
                frame("Deploying a component with a long name to an environment", '⠹', 3600, &many, width, false);
            assert!(frame.len() <= 2 + PLACES * (1 + MORE), "{frame:?}");
            assert!(frame.iter().all(|line| line.trim_end().chars().count() < width), "{width}: {frame:?}");
        }
    }

    #[test]
    fn elsewhere_each_change_is_one_line() {
        let mut progress = Progress::new("Deploying httpbin v1.0/3 to dev");
        let first = progress.changes(0, &lines());
        let same = progress.changes(1, &lines());
        let mut later = lines();
        later[0].phase = "Ready".into();
        later[0].message = "2/2 pods ready".into();
        let changed = progress.changes(9, &later);
        assert_eq!(same, "");
        insta::assert_snapshot!(format!("{first}{changed}"));
    }
}
