//! Work in order within one resource, in parallel across resources, and never more at once than allowed.

use std::collections::{HashMap, VecDeque};

use protocol::name::ResourceKey;

/// Queues of work by resource. Its length is bounded by who fills it: the session's window.
#[derive(Debug)]
pub struct Lanes<W> {
    waiting: HashMap<ResourceKey, VecDeque<W>>,
    ready: VecDeque<ResourceKey>,
    running: usize,
    limit: usize,
}

impl<W> Lanes<W> {
    /// At most `limit` at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { waiting: HashMap::new(), ready: VecDeque::new(), running: 0, limit }
    }

    /// Adds work to the end of a lane.
    pub fn push(&mut self, key: ResourceKey, work: W) {
        // A lane that is in the map is ready or running: its turn comes.
        if !self.waiting.contains_key(&key) {
            self.ready.push_back(key.clone());
        }
        self.waiting.entry(key).or_default().push_back(work);
    }

    /// The next piece that may start now. `finished` must follow.
    pub fn start(&mut self) -> Option<(ResourceKey, W)> {
        if self.running >= self.limit {
            return None;
        }
        let key = self.ready.pop_front()?;
        let work = self.waiting.get_mut(&key)?.pop_front()?;
        self.running += 1;
        Some((key, work))
    }

    /// A piece is done: the next one of its lane may start.
    pub fn finished(&mut self, key: ResourceKey) {
        self.running = self.running.saturating_sub(1);
        if self.waiting.get(&key).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Pieces that wait, and pieces that run.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        (self.waiting.values().map(VecDeque::len).sum(), self.running)
    }
}

#[cfg(test)]
mod tests {
    use protocol::name::Kind;

    use super::*;

    fn key(name: &str) -> ResourceKey {
        ResourceKey { kind: Kind::Release, name: name.into() }
    }

    #[test]
    fn one_lane_is_in_order_and_lanes_are_in_parallel() {
        let mut lanes = Lanes::new(2);
        for (name, work) in [("a", 1), ("a", 2), ("b", 3), ("c", 4)] {
            lanes.push(key(name), work);
        }
        assert_eq!(lanes.start(), Some((key("a"), 1)));
        assert_eq!(lanes.start(), Some((key("b"), 3)));
        assert_eq!(lanes.start(), None, "the limit");
        lanes.finished(key("b"));
        assert_eq!(lanes.start(), Some((key("c"), 4)), "a still runs");
        lanes.finished(key("a"));
        assert_eq!(lanes.start(), Some((key("a"), 2)));
        lanes.finished(key("c"));
        lanes.finished(key("a"));
        assert_eq!((lanes.start(), lanes.depth()), (None, (0, 0)));
        lanes.push(key("a"), 5);
        assert_eq!(lanes.start(), Some((key("a"), 5)));
        lanes.push(key("a"), 6);
        assert_eq!(lanes.start(), None, "a runs");
    }
}
