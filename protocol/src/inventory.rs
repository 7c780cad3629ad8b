//! What is stored, as digests: two sides find out what differs without sending it all.
//!
//! A resource lies in one of 256 buckets, by the first byte of the SHA-256 of its key (`Kind/name`). The digest of a bucket is
//! the SHA-256 of its lines `key NUL generation NUL hash NUL Present|Absent LF`, sorted by the bytes of the key; an empty bucket
//! has the empty digest. The root is the SHA-256 of the 256 digests in order, in lower-case hexadecimal, each ended by LF.
//! Both sides compute it of documents as received; TaskRuns and local resources stay outside.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::document::Desired;
use crate::message::InventoryEntry;
use crate::mutant::{self, Mutant};
use crate::name::ResourceKey;

/// Digests of a changing set of resources. A change costs nothing; a question costs the buckets that changed since the last.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    buckets: BTreeMap<u8, Bucket>,
    count: u64,
    recomputed: u64,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    /// By the text of the key, whose byte order is that of the lines.
    entries: BTreeMap<String, InventoryEntry>,
    digest: Option<String>,
}

/// One resource that the two sides do not have alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub key: ResourceKey,
    /// What the control plane has issued last; none if it knows nothing of it.
    pub desired: Option<InventoryEntry>,
    /// What the data plane has stored; none if nothing.
    pub stored: Option<InventoryEntry>,
}

/// The bucket of a resource.
#[must_use]
pub fn bucket_of(key: &ResourceKey) -> u8 {
    Sha256::digest(key.to_string()).first().copied().unwrap_or_default()
}

impl Inventory {
    /// Puts an entry in, in place of the one with the same key.
    pub fn insert(&mut self, entry: InventoryEntry) {
        let bucket = self.buckets.entry(bucket_of(&entry.key)).or_default();
        let text = entry.key.to_string();
        if bucket.entries.get(&text) == Some(&entry) {
            return;
        }
        bucket.digest = None;
        if bucket.entries.insert(text, entry).is_none() {
            self.count += 1;
        }
    }

    /// Takes an entry out, if there is one.
    pub fn remove(&mut self, key: &ResourceKey) {
        let number = bucket_of(key);
        let Some(bucket) = self.buckets.get_mut(&number) else { return };
        if bucket.entries.remove(&key.to_string()).is_some() {
            self.count -= 1;
            bucket.digest = None;
        }
        if bucket.entries.is_empty() {
            self.buckets.remove(&number);
        }
    }

    /// The entry of one resource.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> Option<&InventoryEntry> {
        self.buckets.get(&bucket_of(key))?.entries.get(&key.to_string())
    }

    /// Number of resources.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Highest generation of all; 0 when empty.
    #[must_use]
    pub fn highest(&self) -> i64 {
        self.iter().map(|entry| entry.generation).max().unwrap_or(0)
    }

    /// All entries, by bucket.
    pub fn iter(&self) -> impl Iterator<Item = &InventoryEntry> {
        self.buckets.values().flat_map(|bucket| bucket.entries.values())
    }

    /// The 256 digests, in order.
    pub fn digests(&mut self) -> Vec<String> {
        (0..=u8::MAX).map(|number| self.digest(number).to_owned()).collect()
    }

    /// Digest of all digests.
    pub fn root(&mut self) -> String {
        let mut hash = Sha256::new();
        for number in 0..=u8::MAX {
            hash.update(self.digest(number));
            hash.update("\n");
        }
        hex(&hash.finalize())
    }

    /// The entries of one bucket, in the order of their lines.
    #[must_use]
    pub fn entries(&self, number: u8) -> Vec<InventoryEntry> {
        self.buckets.get(&number).map_or_else(Vec::new, |bucket| bucket.entries.values().cloned().collect())
    }

    /// Numbers of the buckets whose digests differ from `theirs`. A list of another length than 256 differs where it ends.
    pub fn differing(&mut self, theirs: &[String]) -> Vec<u8> {
        (0..=u8::MAX)
            .filter(|number| theirs.get(usize::from(*number)).map(String::as_str) != Some(self.digest(*number)))
            .collect()
    }

    /// What differs in one bucket, `self` being the desired side.
    #[must_use]
    pub fn differences(&self, number: u8, stored: &[InventoryEntry]) -> Vec<Difference> {
        let mut found: BTreeMap<String, Difference> = BTreeMap::new();
        for entry in self.entries(number) {
            let key = entry.key.clone();
            found.insert(key.to_string(), Difference { key, desired: Some(entry), stored: None });
        }
        for entry in stored {
            let key = entry.key.clone();
            let difference = found.entry(key.to_string()).or_insert(Difference { key, desired: None, stored: None });
            difference.stored = Some(entry.clone());
        }
        found.into_values().filter(|difference| difference.desired != difference.stored).collect()
    }

    /// How many bucket digests were computed so far, to show that quiet ones cost nothing.
    #[must_use]
    pub const fn recomputed(&self) -> u64 {
        self.recomputed
    }

    fn digest(&mut self, number: u8) -> &str {
        let Some(bucket) = self.buckets.get_mut(&number) else { return "" };
        let recomputed = &mut self.recomputed;
        bucket.digest.get_or_insert_with(|| {
            *recomputed += 1;
            let mut hash = Sha256::new();
            let mut line = String::new();
            for (key, entry) in &bucket.entries {
                line.clear();
                let state = match entry.state {
                    Desired::Present => "Present",
                    Desired::Absent => "Absent",
                };
                let _infallible = if mutant::is(Mutant::InventoryOfNames) {
                    writeln!(line, "{key}")
                } else {
                    writeln!(line, "{key}\0{}\0{}\0{state}", entry.generation, entry.hash)
                };
                hash.update(&line);
            }
            hex(&hash.finalize())
        })
    }
}

impl FromIterator<InventoryEntry> for Inventory {
    fn from_iter<T: IntoIterator<Item = InventoryEntry>>(entries: T) -> Self {
        let mut inventory = Self::default();
        entries.into_iter().for_each(|entry| inventory.insert(entry));
        inventory
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::name::Kind;

    #[test]
    fn the_lines_are_as_described() {
        let entry = entry("web", 7, Desired::Absent);
        let number = usize::from(bucket_of(&entry.key));
        assert_eq!(number, usize::from(Sha256::digest("Release/web")[0]));
        let mut inventory = Inventory::from_iter([entry]);
        let line = "Release/web\u{0}7\u{0}h7\u{0}Absent\n";
        assert_eq!(inventory.digests()[number], hex(&Sha256::digest(line)));
        let listing: String = (0..256)
            .map(|n| if n == number { format!("{}\n", hex(&Sha256::digest(line))) } else { "\n".to_owned() })
            .collect();
        assert_eq!(inventory.root(), hex(&Sha256::digest(listing)));
    }

    #[test]
    fn only_changed_buckets_are_computed_again() {
        let mut inventory: Inventory = (0..1000).map(|n| entry(&format!("r{n}"), 1, Desired::Present)).collect();
        inventory.root();
        let before = inventory.recomputed();
        inventory.root();
        assert_eq!(inventory.recomputed(), before);
        inventory.insert(entry("r5", 2, Desired::Present));
        inventory.insert(entry("r6", 1, Desired::Present));
        inventory.root();
        assert_eq!(inventory.recomputed(), before + 1);
    }

    proptest! {
        #[test]
        fn a_root_depends_on_the_entries_alone(changes in prop::collection::vec((0_u8..20, 0_i64..4), 0..60)) {
            let mut changed = Inventory::default();
            let mut model = BTreeMap::new();
            for (name, generation) in changes {
                let entry = entry(&format!("r{name}"), generation, Desired::Present);
                if generation == 0 {
                    changed.remove(&entry.key);
                    model.remove(&entry.key);
                } else {
                    changed.insert(entry.clone());
                    model.insert(entry.key.clone(), entry);
                }
                changed.root();
            }
            let mut fresh: Inventory = model.into_values().rev().collect();
            prop_assert_eq!(fresh.root(), changed.root());
            prop_assert_eq!(fresh.count(), changed.count());
            prop_assert!(fresh.differing(&changed.digests()).is_empty());
        }

        #[test]
        fn differences_are_found_and_nothing_else(desired in any_set(), stored in any_set()) {
            let mut left: Inventory = desired.iter().map(|(n, g)| entry(&format!("r{n}"), *g, Desired::Present)).collect();
            let mut right: Inventory = stored.iter().map(|(n, g)| entry(&format!("r{n}"), *g, Desired::Present)).collect();
            let found: Vec<_> = left.differing(&right.digests()).into_iter()
                .flat_map(|number| left.differences(number, &right.entries(number))).collect();
            let wrong = (0_u8..20).filter(|n| desired.get(n) != stored.get(n)).count();
            prop_assert_eq!(found.len(), wrong);
            prop_assert_eq!(left.root() == right.root(), wrong == 0);
        }
    }

    fn any_set() -> impl Strategy<Value = BTreeMap<u8, i64>> {
        prop::collection::btree_map(0_u8..20, 1_i64..4, 0..20)
    }

    fn entry(name: &str, generation: i64, state: Desired) -> InventoryEntry {
        let key = ResourceKey { kind: Kind::Release, name: name.to_owned() };
        InventoryEntry { key, generation, hash: format!("h{generation}"), state }
    }
}
