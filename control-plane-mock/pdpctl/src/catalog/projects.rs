//! Projects: groups of components.

use clap::Args;
use control_plane_model::Named;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::kind::{DeleteNamed, GetNamed, Help, Kind, NAMED, New, created, named_cells};
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::views::View;

#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Project(Named);

impl Kind for Project {
    const KIND: &'static str = "project";
    const GET: Help = ("Groups of components", &["project", "proj"]);
    const DELETE: Help = ("Projects that are empty", &["proj"]);

    fn path(session: &Session) -> Result<Vec<&str>, Error> {
        session.in_organization(&["projects"])
    }
}

impl View for Project {
    const HEAD: &'static [&'static str] = NAMED;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        named_cells(&self.0, now)
    }

    fn named(&self) -> String {
        format!("project/{}", self.0.name)
    }
}

pub(crate) type Get = GetNamed<Project>;
pub(crate) type Delete = DeleteNamed<Project>;

/// Group of components
#[derive(Debug, Args)]
#[command(visible_alias = "proj")]
pub(crate) struct Create {
    #[command(flatten)]
    new: New,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let made: Project = session.client.post(&Project::path(session)?, &self.new.checked()?).await?;
        created(io, form, &made)
    }
}
