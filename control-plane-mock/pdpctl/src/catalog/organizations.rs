//! Organizations: owners of everything.

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
pub(crate) struct Organization(Named);

impl Kind for Organization {
    const KIND: &'static str = "organization";
    const GET: Help = ("Owners", &["organization", "orgs", "org"]);
    const DELETE: Help = ("Organizations that own nothing any more", &["org"]);

    fn path(_: &Session) -> Result<Vec<&str>, Error> {
        Ok(vec!["organizations"])
    }
}

impl View for Organization {
    const HEAD: &'static [&'static str] = NAMED;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        named_cells(&self.0, now)
    }

    fn named(&self) -> String {
        format!("organization/{}", self.0.name)
    }
}

pub(crate) type Get = GetNamed<Organization>;
pub(crate) type Delete = DeleteNamed<Organization>;

/// Owner of everything
#[derive(Debug, Args)]
#[command(visible_alias = "org")]
pub(crate) struct Create {
    #[command(flatten)]
    new: New,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let made: Organization = session.client.post(&Organization::path(session)?, &self.new.checked()?).await?;
        created(io, form, &made)
    }
}
