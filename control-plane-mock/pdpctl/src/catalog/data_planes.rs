//! Data planes: installed agents, whose access is given by an enrolment and can be taken away.

use clap::Args;
use control_plane_model::{DataPlane, Enrolment};
use jiff::Timestamp;

use super::enrolments::enrolled;
use super::kind::{DeleteNamed, GetNamed, Help, Kind, New, agreed, now_is};
use crate::age::since;
use crate::args::Global;
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::views::{View, or_dash};

impl Kind for DataPlane {
    const KIND: &'static str = "data-plane";
    const GET: Help = ("Installed agents", &["data-plane", "dataplanes", "dataplane", "dp"]);
    const DELETE: Help = ("Data planes that serve no environment", &["dp", "dataplane"]);

    fn path(session: &Session) -> Result<Vec<&str>, Error> {
        session.in_organization(&["data-planes"])
    }
}

impl View for DataPlane {
    const HEAD: &'static [&'static str] = &["NAME", "STATUS", "VERSION", "LAST SEEN", "AGE", "ID", "MESSAGE"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        vec![
            self.name.clone(),
            self.status.clone(),
            or_dash(self.version.as_deref()),
            match self.last_seen.as_deref() {
                _ if self.status == "Connected" => "now".into(),
                Some(seen) => since(seen, now),
                None => "never".into(),
            },
            since(&self.created, now),
            self.id.clone(),
            self.message.clone().unwrap_or_default(),
        ]
    }

    fn named(&self) -> String {
        format!("data-plane/{}", self.name)
    }
}

pub(crate) type Get = GetNamed<DataPlane>;
pub(crate) type Delete = DeleteNamed<DataPlane>;

/// A data plane; prints the command that installs its agent
#[derive(Debug, Args)]
#[command(visible_aliases = ["dp", "dataplane"])]
pub(crate) struct Create {
    #[command(flatten)]
    new: New,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let made: Enrolment = session.client.post(&DataPlane::path(session)?, &self.new.checked()?).await?;
        enrolled(io, form, &made, "created")
    }
}

/// `revoke DATA_PLANE`.
pub(crate) async fn revoke(io: &mut Io, global: &Global, name: &str, yes: bool) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let question =
        format!("Take the access of data plane {name} away for good? It must be enrolled again with a new token.");
    agreed(io, yes, &question, || format!("data plane {name} keeps its access"))?;
    session.client.post_only(&session.in_organization(&["data-planes", name, "revoke"])?).await?;
    now_is(io, global.output, &format!("data-plane/{name}"), "revoked")
}

/// `adopt DATA_PLANE`.
pub(crate) async fn adopt(io: &mut Io, global: &Global, name: &str) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    session.client.post_only(&session.in_organization(&["data-planes", name, "adopt"])?).await?;
    now_is(io, global.output, &format!("data-plane/{name}"), "adopted")
}
