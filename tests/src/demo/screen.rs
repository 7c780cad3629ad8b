//! What the demo shows: steps, the commands a person could type, what they printed, what it proves and how long it took.
//!
//! Fits any width from 60 columns; colours only where the output is a terminal and `NO_COLOR` is not set.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// A terminal, or a file that looks like one.
#[derive(Debug)]
pub struct Screen {
    width: usize,
    colour: bool,
    steps: usize,
    step: usize,
    since: Instant,
    begun: Instant,
    times: Vec<(String, Duration)>,
}

impl Screen {
    /// A screen for a demo of `steps` steps.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        Self {
            width: width.clamp(60, 120),
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            steps,
            step: 0,
            since: Instant::now(),
            begun: Instant::now(),
            times: Vec::new(),
        }
    }

    /// Opens a step.
    pub fn step(&mut self, title: &str) {
        self.step += 1;
        self.since = Instant::now();
        self.times.push((title.to_owned(), Duration::ZERO));
        let head = format!("{}/{}  {title}", self.step, self.steps);
        self.line("");
        for (index, line) in wrap(&head, self.width.saturating_sub(6)).iter().enumerate() {
            let lead = if index == 0 { "" } else { "      " };
            self.line(&self.paint("1;36", &format!("{lead}{line}")));
        }
    }

    /// Words about what happens.
    pub fn say(&self, text: &str) {
        for line in wrap(text, self.width.saturating_sub(5)) {
            self.line(&format!("     {line}"));
        }
    }

    /// A command as a person would type it.
    pub fn command(&self, text: &str) {
        for (index, line) in wrap(text, self.width.saturating_sub(9)).iter().enumerate() {
            let lead = if index == 0 { "$" } else { " " };
            self.line(&format!("     {}", self.paint("2", &format!("{lead} {line}"))));
        }
    }

    /// One line that a command printed; what does not fit goes on below.
    pub fn output(&self, text: &str) {
        let room = self.width.saturating_sub(9);
        let text = plain(text);
        let text: Vec<char> = text.trim_end().chars().collect();
        if text.len() <= room + 2 {
            return self.line(&format!("       {}", String::from_iter(text)));
        }
        for (index, part) in text.chunks(room).enumerate() {
            let lead = if index == 0 { "       " } else { "         " };
            self.line(&format!("{lead}{}", String::from_iter(part)));
        }
    }

    /// Closes a step: what it proved.
    pub fn proves(&mut self, text: &str) {
        let took = self.since.elapsed();
        if let Some(last) = self.times.last_mut() {
            last.1 = took;
        }
        let lines = wrap(&format!("{text} ({})", seconds(took)), self.width.saturating_sub(7));
        for (index, line) in lines.iter().enumerate() {
            let lead = if index == 0 { self.paint("1;32", "✔") } else { " ".to_owned() };
            self.line(&format!("   {lead} {line}"));
        }
    }

    /// A table of all steps with their times.
    pub fn summary(&self) {
        self.line("");
        for (title, took) in &self.times {
            let room = self.width.saturating_sub(14);
            let title = match title.char_indices().nth(room) {
                None => title.clone(),
                Some(_) => title.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
            };
            self.line(&format!("   {title:<room$} {:>8}", seconds(*took)));
        }
        let room = self.width.saturating_sub(14);
        self.line(&format!("   {:<room$} {:>8}", "all", seconds(self.begun.elapsed())));
    }

    /// Something went wrong: shown apart.
    pub fn error(&self, text: &str) {
        self.line("");
        for line in text.lines() {
            self.line(&self.paint("1;31", line));
        }
    }

    fn line(&self, text: &str) {
        // A closed pipe (`| head`) is no reason to fail.
        drop(writeln!(std::io::stdout(), "{text}"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// Breaks `text` at spaces into lines of at most `width` characters; a longer word stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(line) = lines.last_mut() {
            if last > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `text` without escape sequences and control characters.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                chars.by_ref().find(char::is_ascii_alphabetic);
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_spaces_and_never_exceed_the_width() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("averyverylongword b", 5), ["averyverylongword", "b"]);
        assert_eq!(wrap("", 5), [""]);
    }

    #[test]
    fn escapes_of_other_programs_do_not_reach_the_screen() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\tx\r"), "red    x");
    }

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
