//! Components: units of work.

use clap::Args;
use clap::builder::PossibleValuesParser;
use control_plane_model::{ComponentRow, NewComponent, NewNamed};
use jiff::Timestamp;
use protocol::document::ComponentType;

use super::kind::{DeleteNamed, GetNamed, Help, Kind, New, created};
use crate::age::since;
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::views::{View, joined, or_dash};

impl Kind for ComponentRow {
    const KIND: &'static str = "component";
    const GET: Help = ("Units of work", &["component", "comps", "comp"]);
    const DELETE: Help = ("Components that are deployed nowhere", &["comp"]);

    fn path(session: &Session) -> Result<Vec<&str>, Error> {
        session.in_project(&["components"])
    }
}

impl View for ComponentRow {
    const HEAD: &'static [&'static str] = &["NAME", "TYPE", "RELEASES", "AGE", "DISPLAY NAME"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let newest: Vec<String> = self.releases.iter().map(|(track, number)| format!("{track}/{number}")).collect();
        vec![
            self.name.clone(),
            self.component_type.clone(),
            joined(&newest),
            since(&self.created, now),
            or_dash(self.display_name.as_deref()),
        ]
    }

    fn named(&self) -> String {
        format!("component/{}", self.name)
    }
}

pub(crate) type Get = GetNamed<ComponentRow>;
pub(crate) type Delete = DeleteNamed<ComponentRow>;

/// A component without a release; deploy -f makes it too
#[derive(Debug, Args)]
#[command(visible_alias = "comp")]
pub(crate) struct Create {
    #[command(flatten)]
    new: New,
    /// What it becomes in the cluster
    #[arg(long = "type", value_name = "TYPE", default_value = "Service", value_parser = PossibleValuesParser::new(ComponentType::ALL.map(ComponentType::as_str)))]
    component_type: String,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { new, component_type } = self;
        let NewNamed { name, display_name } = new.checked()?;
        let new = NewComponent { name, component_type, display_name };
        let made: ComponentRow = session.client.post(&ComponentRow::path(session)?, &new).await?;
        created(io, form, &made)
    }
}
