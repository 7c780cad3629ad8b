//! Releases of a component, by track and number.

use clap::Args;
use control_plane_model::{ComponentRow, Release};
use jiff::Timestamp;

use super::kind::{names_of, now_is, show};
use crate::age::since;
use crate::args::FileArgs;
use crate::deployments::component_file;
use crate::error::Error;
use crate::io::Io;
use crate::output::{self, Format};
use crate::session::Session;
use crate::views::{View, joined, or_dash, short_image};

impl View for Release {
    const HEAD: &'static [&'static str] = &["RELEASE", "DEPLOYED TO", "OUTCOME", "ACTOR", "AGE", "IMAGE"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            format!("{}/{}", self.track, self.number),
            joined(&self.deployed_to),
            joined(&self.outcomes.iter().map(|(place, outcome)| format!("{place}:{outcome}")).collect::<Vec<_>>()),
            or_dash(self.actor.as_deref()),
            since(&self.created, now),
            short_image(&self.image),
        ]
    }

    fn named(&self) -> String {
        format!("release/{}/{}", self.track, self.number)
    }
}

/// A release of a component file, deployed nowhere yet
#[derive(Debug, Args)]
#[command(visible_alias = "rel")]
pub(crate) struct Create {
    #[command(flatten)]
    file: FileArgs,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let component = component_file(&self.file)?;
        let path = session.in_project(&["components", &component.name, "releases"])?;
        let made: Release = session.client.post(&path, &component).await?;
        let name = format!("release/{}/{}/{}", made.component, made.track, made.number);
        output::say(io, form, &made, &format!("{name} created"), &name)
    }
}

/// Releases of a component
#[derive(Debug, Args)]
#[command(visible_aliases = ["release", "rels", "rel"])]
pub(crate) struct Get {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    component: String,
    /// Numbers; all when left out
    numbers: Vec<i64>,
    /// Deployment track, v1.0 for instance; all when left out
    #[arg(long, value_name = "TRACK")]
    track: Option<String>,
}

impl Get {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { component, numbers, track } = self;
        let path = session.in_project(&["components", &component, "releases"])?;
        let numbers: Vec<_> = numbers.iter().map(i64::to_string).collect();
        let query: Vec<_> = track.into_iter().map(|track| ("track", track)).collect();
        show::<Release>(io, form, session, &path, &numbers, &query).await
    }
}

/// Releases that were never deployed
#[derive(Debug, Args)]
#[command(visible_alias = "rel")]
pub(crate) struct Delete {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    component: String,
    /// Numbers
    #[arg(required = true)]
    numbers: Vec<i64>,
    /// Deployment track
    #[arg(long, value_name = "TRACK", default_value = "v1.0")]
    track: String,
}

impl Delete {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { component, numbers, track } = self;
        for number in numbers.iter().map(i64::to_string) {
            let path = session.in_project(&["components", &component, "releases", &number])?;
            session.client.delete(&path, &[("track", track.clone())]).await?;
            now_is(io, form, &format!("release/{component}/{track}/{number}"), "deleted")?;
        }
        Ok(())
    }
}
