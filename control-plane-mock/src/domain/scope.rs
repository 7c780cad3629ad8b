//! Where somebody acts: a project, with the words that names of documents are made of.

use protocol::document::Provenance;
use protocol::name::{Kind, ResourceKey, joined};

/// Where an action happens: a project, with the words that names are made of.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Row of the organization.
    pub organization: i64,
    pub organization_name: String,
    /// Row of the project.
    pub project: i64,
    pub project_name: String,
    /// Who acts.
    pub actor: String,
}

impl Scope {
    /// Name of the Environment resource.
    #[must_use]
    pub fn environment_key(&self, environment: &str) -> ResourceKey {
        let name = joined(&[&self.organization_name, &self.project_name, environment], 63);
        ResourceKey { kind: Kind::Environment, name }
    }

    /// Name of the Release resource.
    #[must_use]
    pub fn release_key(&self, component: &str, track: &str, environment: &str) -> ResourceKey {
        let name = joined(&[&self.organization_name, &self.project_name, component, track, environment], 63);
        ResourceKey { kind: Kind::Release, name }
    }

    /// Who asked, for the documents of a change. Longer words are cut.
    pub(super) fn provenance(&self, change: Option<String>, reason: Option<&str>) -> Provenance {
        Provenance {
            actor: Some(self.actor.chars().take(256).collect()),
            change_id: change,
            reason: reason.map(|reason| reason.chars().take(1024).collect()),
        }
    }
}
