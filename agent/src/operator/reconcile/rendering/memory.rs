//! Renderings that were made or read lately; the others are read again when needed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Rendering;

/// Most that are kept.
const MOST: usize = 64;

/// Most that are kept parsed: those of releases that are rolling out just now.
const MOST_READ: usize = 8;

/// The latest last.
#[derive(Debug, Default)]
pub struct Memory(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    namespace: String,
    revision: String,
    /// As JSON: as values in memory it is seven times as large.
    text: Box<[u8]>,
    read: Option<Arc<Rendering>>,
}

impl Kept {
    fn is(&self, namespace: &str, revision: &str) -> bool {
        self.namespace == namespace && self.revision == revision
    }
}

impl Memory {
    /// One that is kept.
    pub fn get(&mut self, namespace: &str, revision: &str) -> Option<Arc<Rendering>> {
        let at = self.0.iter().position(|kept| kept.is(namespace, revision))?;
        if let Some(read) = self.0.get(at).and_then(|kept| kept.read.clone()) {
            return Some(read);
        }
        let mut kept = self.0.remove(at)?;
        let read = Arc::new(serde_json::from_slice(&kept.text).ok()?);
        kept.read = Some(Arc::clone(&read));
        self.0.push_back(kept);
        self.0.iter_mut().rev().filter(|kept| kept.read.is_some()).skip(MOST_READ).for_each(|kept| kept.read = None);
        Some(read)
    }

    /// Keeps one as it is stored. The oldest makes room.
    pub fn put(&mut self, namespace: &str, revision: &str, rendering: &Rendering) {
        self.forget(namespace, revision);
        let Ok(text) = serde_json::to_vec(rendering) else { return };
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        let (namespace, revision) = (namespace.to_owned(), revision.to_owned());
        self.0.push_back(Kept { namespace, revision, text: text.into(), read: None });
    }

    /// What is stored has to be read again.
    pub fn forget(&mut self, namespace: &str, revision: &str) {
        self.0.retain(|kept| !kept.is(namespace, revision));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendering(image: &str) -> Rendering {
        serde_json::from_value(
            serde_json::json!({ "renderer": 1, "image": image, "deadlineSeconds": 1, "objects": [] }),
        )
        .unwrap()
    }

    #[test]
    fn the_oldest_makes_room_and_a_place_holds_one() {
        let mut memory = Memory::default();
        for number in 0..MOST {
            memory.put("shop", &format!("r{number}"), &rendering("a"));
        }
        memory.put("shop", "r0", &rendering("b"));
        memory.put("other", "r2", &rendering("c"));
        let mut image = |namespace, revision| memory.get(namespace, revision).map(|rendering| rendering.image.clone());
        assert_eq!(image("shop", "r0").as_deref(), Some("b"), "it is the latest but one");
        assert_eq!(image("shop", "r1"), None, "it was the oldest");
        assert_eq!(image("shop", "r2").as_deref(), Some("a"));
        assert_eq!(image("other", "r2").as_deref(), Some("c"));
        memory.forget("other", "r2");
        assert_eq!(memory.get("other", "r2"), None);
        assert_eq!(memory.0.len(), MOST - 1);
    }

    #[test]
    fn few_are_kept_read() {
        let mut memory = Memory::default();
        for number in 0..MOST {
            memory.put("shop", &format!("r{number}"), &rendering("a"));
        }
        for number in 0..MOST {
            memory.get("shop", &format!("r{number}")).unwrap();
        }
        assert_eq!(memory.0.iter().filter(|kept| kept.read.is_some()).count(), MOST_READ);
        let (one, again) = (memory.get("shop", "r60").unwrap(), memory.get("shop", "r60").unwrap());
        assert!(Arc::ptr_eq(&one, &again), "it is read once");
    }
}
