//! Tables as kubectl prints them, made to fit.
//!
//! The last column may *flow*: where a row does not fit, its text is wrapped in its column if that is wide enough, else below
//! its row. Other columns are cut in the middle, the widest first. Without a width every row is one whole line.

use protocol::text::steers;

/// Narrowest column in which text is wrapped.
const FLOW: usize = 36;
/// Narrowest width that a cut column keeps.
const LEAST: usize = 12;

/// Rows below a heading.
#[derive(Debug, Clone)]
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    flows: bool,
}

impl Table {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), flows: false }
    }

    /// Lets the last column flow.
    pub(super) const fn flowing(mut self) -> Self {
        self.flows = true;
        self
    }

    /// Adds a row; control characters, which could steer a terminal, become spaces.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// The table in at most `width` columns, each line ended.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        // A flowing column in which nothing stands is left out.
        let flows = self.flows && self.rows.iter().any(|row| row.last().is_some_and(|last| !last.is_empty()));
        let columns = if self.flows && !flows { self.head.len().saturating_sub(1) } else { self.head.len() };
        let fixed = if flows { columns.saturating_sub(1) } else { columns };
        let mut widths: Vec<usize> = (0..columns).map(|column| self.widest(column)).collect();
        let limit = width.unwrap_or(usize::MAX);
        let gap = if widths.iter().sum::<usize>() + 3 * columns.saturating_sub(1) <= limit { 3 } else { 2 };
        // Of the flowing column only the heading counts here: its text can go below the row, so other columns are not cut for it.
        let spare = if flows { self.head.last().map_or(0, |head| head.len() + gap) } else { 0 };
        loop {
            let used = widths.iter().take(fixed).sum::<usize>() + gap * fixed.saturating_sub(1) + spare;
            // The first column names the row; it is cut last.
            let named = widths.iter().take(fixed).skip(1).all(|width| *width <= LEAST);
            let widest = widths.iter_mut().take(fixed).skip(usize::from(!named)).max_by_key(|width| **width);
            match widest {
                Some(widest) if used > limit && *widest > LEAST => {
                    *widest = LEAST.max(*widest - (used - limit).min(*widest))
                }
                Some(_) | None => break,
            }
        }
        let before = widths.iter().take(fixed).map(|width| width + gap).sum::<usize>();
        let room = limit.saturating_sub(before);
        let mut text = String::new();
        let head: Vec<String> = self.head.iter().map(|&name| name.to_owned()).collect();
        for cells in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths).take(fixed) {
                push_padded(&mut line, &cut(cell, *width), width + gap);
            }
            let lines = match cells.last().filter(|_| flows) {
                Some(last) if last.chars().count() <= room => vec![last.clone()],
                Some(last) if room >= FLOW => wrap(last, room),
                Some(last) => {
                    push_line(&mut text, &line);
                    wrap(last, limit.saturating_sub(4))
                        .iter()
                        .for_each(|part| push_line(&mut text, &format!("    {part}")));
                    continue;
                }
                None => vec![String::new()],
            };
            for (index, part) in lines.iter().enumerate() {
                let start = if index == 0 { line.clone() } else { " ".repeat(before) };
                push_line(&mut text, &format!("{start}{part}"));
            }
        }
        text
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(self.head.get(column).map(|head| head.len())).max().unwrap_or(0)
    }
}

fn push_padded(line: &mut String, cell: &str, width: usize) {
    line.push_str(cell);
    line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Text without characters that would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if steers(character) { ' ' } else { character }).collect()
}

/// At most `width` characters: the middle is left out, since both ends of a name or an image say most.
pub(super) fn cut(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let end = width.saturating_sub(1) / 2;
    let start = width.saturating_sub(1) - end;
    text.chars().take(start).chain(['…']).chain(text.chars().skip(count - end)).collect()
}

/// Lines of at most `width` characters, broken at spaces where there are any.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    wrap_behind(0, text, width)
}

/// The same, where `taken` characters stand on the first line already.
pub(super) fn wrap_behind(mut taken: usize, text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while let Some(line) = lines.last_mut() {
            let gap = usize::from(!line.is_empty());
            let used = taken + line.chars().count();
            if used + gap + rest.len() <= width {
                line.extend(std::iter::repeat_n(' ', gap).chain(rest));
                break;
            }
            if used == 0 {
                let later = rest.split_off(width);
                line.extend(rest);
                rest = later;
            }
            lines.push(String::new());
            taken = 0;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["COMPONENT", "PHASE", "IMAGE", "MESSAGE"]).flowing();
        let image = "registry.test:5000/demo/httpbin@sha256:0123456789ab";
        table.row(vec!["httpbin".into(), "Ready".into(), image.into(), "2/2 pods ready".into()]);
        let long =
            "ImagePull: the registry says that there is no such image; check the name, and that the digest was pushed";
        table.row(vec!["shop".into(), "Stalled".into(), image.into(), long.into()]);
        table
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [40, 60, 80, 100, 160] {
            let text = sample().render(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            let words: String = text.split_whitespace().collect();
            assert!(words.contains("thedigestwaspushed"), "{width}:\n{text}");
        }
    }

    #[test]
    fn without_a_width_each_row_is_one_line() {
        assert_eq!(sample().render(None).lines().count(), 3);
    }

    #[test]
    fn tables_look_like_this() {
        insta::assert_snapshot!(format!(
            "{}\n{}\n{}",
            sample().render(Some(80)),
            sample().render(Some(120)),
            sample().render(Some(160))
        ));
    }

    #[test]
    fn a_flowing_column_without_text_is_left_out() {
        let mut table = Table::new(&["NAME", "MESSAGE"]).flowing();
        table.row(vec!["httpbin".into(), String::new()]);
        assert_eq!(table.render(Some(80)), "NAME\nhttpbin\n");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(vec!["\u{1b}[2Jgone\n".into()]);
        table.row(vec!["web\u{202e}txt\u{2069}".into()]);
        assert_eq!(table.render(None), "NAME\n [2Jgone\nweb txt\n");
    }

    #[test]
    fn a_word_without_spaces_is_broken() {
        assert_eq!(wrap("abcdef gh", 4), ["abcd", "ef", "gh"]);
        assert_eq!(wrap("ab cd", 5), ["ab cd"]);
    }
}
