//! Names of resources: what both sides derive alike from the same words.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Kinds of resources that documents describe. The set grows; an unknown kind is refused, never ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// Settings of the installation that the control plane may make.
    DataPlane,
    /// One project in one environment.
    Environment,
    /// One component of one deployment track in one environment.
    Release,
    /// One execution of a task.
    TaskRun,
}

impl Kind {
    /// Every kind, in the order in which dependent resources are best sent.
    pub const ALL: [Self; 4] = [Self::DataPlane, Self::Environment, Self::Release, Self::TaskRun];

    /// The kind of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name as it stands on the wire and in `kubectl`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataPlane => "DataPlane",
            Self::Environment => "Environment",
            Self::Release => "Release",
            Self::TaskRun => "TaskRun",
        }
    }

    /// Name of its custom resources in paths and rights.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::DataPlane => "dataplanes",
            Self::Environment => "environments",
            Self::Release => "releases",
            Self::TaskRun => "taskruns",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of one resource on one data plane. `name` is the custom resource's name: a DNS label of at most 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ResourceKey {
    /// Kind of the resource.
    pub kind: Kind,
    /// Name of the custom resource.
    pub name: String,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Longest name that still fits a label value.
pub const MAX_NAME: usize = 63;

/// A readable and collision-free name for a tuple of words: the words joined by `-` and cut, then eight hexadecimal digits of
/// the SHA-256 of the length-prefixed words. A plain join would give `a-b`+`c` and `a`+`b-c` the same name.
#[must_use]
pub fn joined(words: &[&str], max: usize) -> String {
    let mut digest = Sha256::new();
    for word in words {
        digest.update((word.len() as u64).to_be_bytes());
        digest.update(word.as_bytes());
    }
    let tail: String = digest.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let readable: String = words
        .join("-")
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(max.saturating_sub(tail.len() + 1))
        .collect();
    let readable = readable.trim_matches('-');
    // A label starts with a letter, so that the name also serves where DNS-1035 is asked for (Services).
    let lead = if readable.starts_with(|c: char| c.is_ascii_lowercase()) { "" } else { "x" };
    let readable: String = readable.chars().take(max.saturating_sub(tail.len() + 1 + lead.len())).collect();
    format!("{lead}{}-{tail}", readable.trim_end_matches('-'))
}

/// Whether `name` is a DNS label (RFC 1123) of at most [`MAX_NAME`] characters.
#[must_use]
pub fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_join_alike_get_different_names() {
        assert_ne!(joined(&["a-b", "c"], 63), joined(&["a", "b-c"], 63));
    }

    #[test]
    fn names_are_labels_whatever_the_words() {
        for words in [&["Acme", "Web_Shop", "dev"][..], &["9", "-"], &[""], &["ü", "日本"], &[&"x".repeat(300), "y"]]
        {
            for max in [20, 52, 63] {
                let name = joined(words, max);
                assert!(is_label(&name) && name.len() <= max, "{words:?} gave {name}");
                assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
            }
        }
    }

    #[test]
    fn a_name_does_not_change_between_versions() {
        assert_eq!(joined(&["acme", "shop", "dev"], 63), "acme-shop-dev-fd039d72");
    }
}
