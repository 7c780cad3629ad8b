//! Two waiting lines: keys with work in progress, and new ones.
//!
//! Work in progress goes first: what its next round needs is still in memory, and of many releases at once the first are ready long
//! before the last is begun. Now and then a new key goes before, so that constant changes in the cluster do not hold up new
//! requests.

use std::collections::{BTreeMap, HashMap};

use super::Key;

/// Up to this many keys with work in progress run in a row before one new key gets a turn.
const IN_A_ROW: u8 = 8;

/// Which line a resource waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// An earlier round is continued: something of it in the cluster changed, or its time has come.
    Begun,
    /// Its desired state changed.
    Fresh,
}

/// Each resource stands in one line at most, in the order of coming.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: BTreeMap<u64, Key>,
    fresh: BTreeMap<u64, Key>,
    places: HashMap<Key, (Line, u64)>,
    numbers: u64,
    row: u8,
}

impl Lines {
    /// Adds a resource to the end of a line. One that waits already keeps its place, unless it moves from the second line to the
    /// first.
    pub(super) fn push(&mut self, key: Key, line: Line) {
        match self.places.get(&key) {
            Some((Line::Fresh, number)) if line == Line::Begun => drop(self.fresh.remove(number)),
            Some(_) => return,
            None => {}
        }
        self.numbers += 1;
        self.places.insert(key.clone(), (line, self.numbers));
        let number = self.numbers;
        self.line(line).insert(number, key);
    }

    /// The next resource.
    pub(super) fn pop(&mut self) -> Option<Key> {
        let turn = self.row >= IN_A_ROW;
        let (line, other) = if turn { (Line::Fresh, Line::Begun) } else { (Line::Begun, Line::Fresh) };
        let (taken, (_, key)) = match self.line(line).pop_first() {
            Some(first) => (line, first),
            None => (other, self.line(other).pop_first()?),
        };
        let counts = taken == Line::Begun && !self.fresh.is_empty();
        self.row = if counts { self.row + 1 } else { 0 };
        self.places.remove(&key);
        Some(key)
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    const fn line(&mut self, line: Line) -> &mut BTreeMap<u64, Key> {
        match line {
            Line::Begun => &mut self.begun,
            Line::Fresh => &mut self.fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::Release(name.to_owned())
    }

    fn taken(lines: &mut Lines) -> Vec<String> {
        let name = |key| match key {
            Key::Release(name) | Key::Environment(name) | Key::TaskRun(name) => name,
            Key::DataPlane => "default".to_owned(),
        };
        std::iter::from_fn(|| lines.pop()).map(name).collect()
    }

    #[test]
    fn what_has_begun_goes_first_and_each_stands_once() {
        let mut lines = Lines::default();
        for (name, line) in
            [("a", Line::Fresh), ("b", Line::Fresh), ("c", Line::Begun), ("b", Line::Begun), ("c", Line::Fresh)]
        {
            lines.push(key(name), line);
        }
        assert_eq!(lines.len(), 3);
        assert!(lines.contains(&key("b")) && !lines.contains(&key("d")));
        assert_eq!(taken(&mut lines), ["c", "b", "a"]);
        assert_eq!((lines.len(), lines.pop()), (0, None));
    }

    #[test]
    fn unrest_holds_up_no_wish() {
        let mut lines = Lines::default();
        lines.push(key("wish"), Line::Fresh);
        lines.push(key("next"), Line::Fresh);
        let mut order = Vec::new();
        for round in 0..40 {
            lines.push(key(&format!("restless-{round}")), Line::Begun);
            lines.push(key(&format!("restless-too-{round}")), Line::Begun);
            order.extend(lines.pop());
        }
        let wishes = [key("wish"), key("next")].map(|wish| order.iter().position(|taken| *taken == wish));
        assert_eq!(wishes, [Some(8), Some(17)]);
    }
}
