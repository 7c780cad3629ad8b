//! Whom an object belongs to, as its labels say.
//!
//! An object carries the label of its owner and those of the owners above it: the Job of a run says its run, the run's release and the
//! environment. Another kind of owner is another variant here. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::label;
use crate::kinds::labels::{ENVIRONMENT, RELEASE, TASK_RUN};

/// Kinds of resources that objects are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerKind {
    TaskRun,
    Release,
    Environment,
}

impl OwnerKind {
    /// The most specific first.
    pub const ALL: [Self; 3] = [Self::TaskRun, Self::Release, Self::Environment];

    /// The label that names an owner of this kind.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TaskRun => TASK_RUN,
            Self::Release => RELEASE,
            Self::Environment => ENVIRONMENT,
        }
    }

    /// Whether all objects of an owner of this kind are looked up by label; those of the other kinds are looked up by name.
    #[must_use]
    pub const fn is_listed(self) -> bool {
        match self {
            Self::Release => true,
            Self::TaskRun | Self::Environment => false,
        }
    }

    /// The owner of this kind and name.
    #[must_use]
    pub const fn named(self, name: &str) -> Owner<'_> {
        Owner { kind: self, name }
    }
}

/// A resource that objects are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner<'a> {
    pub kind: OwnerKind,
    pub name: &'a str,
}

impl<'a> Owner<'a> {
    /// The most specific owner that the labels of `object` name.
    #[must_use]
    pub fn of(object: &'a Value) -> Option<Self> {
        OwnerKind::ALL.into_iter().find_map(|kind| Some(kind.named(label(object, kind.label())?)))
    }

    /// Selects everything that carries its label.
    #[must_use]
    pub fn selector(self) -> String {
        format!("{}={}", self.kind.label(), self.name)
    }
}

/// All owners that the labels of one object name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners([Option<Arc<str>>; OwnerKind::ALL.len()]);

impl Owners {
    /// What `label` gives for the label of each kind.
    #[must_use]
    pub fn read(label: impl Fn(&str) -> Option<Arc<str>>) -> Self {
        Self(OwnerKind::ALL.map(|kind| label(kind.label())))
    }

    /// The most specific first.
    pub fn iter(&self) -> impl Iterator<Item = Owner<'_>> {
        OwnerKind::ALL.into_iter().zip(&self.0).filter_map(|(kind, name)| Some(kind.named(name.as_deref()?)))
    }

    /// Name of the owner of this kind.
    #[must_use]
    pub fn of_kind(&self, kind: OwnerKind) -> Option<&str> {
        self.iter().find(|owner| owner.kind == kind).map(|owner| owner.name)
    }

    /// Whether `owner` is among them.
    #[must_use]
    pub fn has(&self, owner: Owner<'_>) -> bool {
        self.iter().any(|named| named == owner)
    }

    /// Those whose objects are listed.
    pub fn listed(&self) -> impl Iterator<Item = (OwnerKind, &Arc<str>)> {
        let named = OwnerKind::ALL.into_iter().zip(&self.0);
        named.filter(|(kind, _)| kind.is_listed()).filter_map(|(kind, name)| Some((kind, name.as_ref()?)))
    }

    /// The names, for replacing them by strings that are shared with other objects.
    pub fn names_mut(&mut self) -> impl Iterator<Item = &mut Option<Arc<str>>> {
        self.0.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_special_label_names_the_owner() {
        let labels = json!({ENVIRONMENT: "dev", RELEASE: "web", TASK_RUN: "run"});
        let object = json!({"metadata": {"labels": labels}});
        assert_eq!(Owner::of(&object), Some(OwnerKind::TaskRun.named("run")));
        assert_eq!(Owner::of(&json!({"metadata": {}})), None);
        let owners = Owners::read(|key| Some(labels.get(key)?.as_str()?.into()));
        assert_eq!(owners.of_kind(OwnerKind::Release), Some("web"));
        assert!(owners.has(OwnerKind::Environment.named("dev")) && !owners.has(OwnerKind::Environment.named("web")));
        assert!(owners.iter().map(|owner| owner.kind).eq(OwnerKind::ALL));
        assert_eq!(OwnerKind::Release.named("web").selector(), format!("{RELEASE}=web"));
    }
}
