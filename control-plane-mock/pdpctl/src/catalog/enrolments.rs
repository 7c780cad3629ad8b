//! Enrolments of data planes: how an agent comes to its first certificate.

use clap::Args;
use control_plane_model::{DataPlane, Enrolment};

use super::kind::names_of;
use crate::error::Error;
use crate::io::Io;
use crate::output::{self, Format};
use crate::session::Session;

/// A new enrolment token for a data plane that exists
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Data plane
    #[arg(add = names_of::<DataPlane>())]
    name: String,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let path = session.in_organization(&["data-planes", &self.name, "enrolment"])?;
        let made: Enrolment = session.client.post(&path, &serde_json::json!({})).await?;
        enrolled(io, form, &made, "has a new enrolment token")
    }
}

/// Prints an enrolment with its install command. The token is printed since it is what was asked for; no other place shows it.
pub(super) fn enrolled(io: &mut Io, form: Format, made: &Enrolment, what: &str) -> Result<(), Error> {
    let Enrolment { data_plane, token: _, expires, command, ca_bundle: _ } = made;
    let name = format!("data-plane/{}", data_plane.name);
    let sentence = format!(
        "{name} {what} (id {})\n\nInstall its agent with this command, once, before {expires}:\n\n{}\n\n\
         The file ca.crt holds this control plane's CA: pdpctl context ca > ca.crt\n\
         The token is good once and not shown again; a new one: pdpctl create enrolment {}",
        data_plane.id,
        command.trim_end(),
        data_plane.name
    );
    output::say(io, form, made, &sentence, &name)
}
