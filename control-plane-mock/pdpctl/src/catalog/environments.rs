//! Environments: places to deploy to, with their removal that may be waited for.

use std::time::Duration;

use clap::Args;
use control_plane_model::problem::{Code, check_handle};
use control_plane_model::{DataPlane, Environment, EnvironmentSettings, NewEnvironment, ResourceStatus};
use jiff::Timestamp;
use protocol::document::Quota;

use super::kind::{DeleteNamed, GetNamed, Help, Kind, agreed, created, names_of, now_is};
use crate::age::since;
use crate::error::Error;
use crate::io::Io;
use crate::output::{self, Format};
use crate::session::Session;
use crate::views::{View, joined, or_dash};
use crate::wait::{End, Line, Snapshot, Wait, watch};

impl Kind for Environment {
    const KIND: &'static str = "environment";
    const GET: Help = ("Places to deploy to", &["environment", "envs", "env"]);
    const DELETE: Help = ("Environments, with all that runs in them", &["env"]);

    fn path(session: &Session) -> Result<Vec<&str>, Error> {
        session.in_project(&["environments"])
    }
}

impl View for Environment {
    const HEAD: &'static [&'static str] = &["NAME", "ORDER", "DATA PLANES", "EGRESS", "QUOTA", "STATUS", "AGE"];

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let egress = match self.settings.egress {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let status = if self.deleting.is_some() { "Deleting" } else { "Active" };
        vec![
            self.name.clone(),
            self.position.to_string(),
            joined(&self.data_planes),
            egress.into(),
            or_dash(self.settings.quota.as_ref().map(|quota| amounts(quota).join(", ")).as_deref()),
            status.into(),
            since(&self.created, now),
        ]
    }

    fn named(&self) -> String {
        format!("environment/{}", self.name)
    }
}

/// The amounts of a quota, in words.
fn amounts(Quota { cpu, memory, pods }: &Quota) -> Vec<String> {
    let cpu = cpu.as_ref().map(|cpu| format!("{cpu} CPU"));
    let pods = pods.map(|pods| format!("{pods} pods"));
    [cpu, memory.clone(), pods].into_iter().flatten().collect()
}

// No doc comment here: clap would use it as the help of every command that takes these arguments.
#[derive(Debug, Args)]
struct Settings {
    /// Whether pods may reach the world outside the cluster
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    egress: Option<bool>,
    /// CPU for all that runs in it, 4 or 500m
    #[arg(long, value_name = "QUANTITY")]
    quota_cpu: Option<String>,
    /// Memory for all that runs in it, 8Gi for instance
    #[arg(long, value_name = "QUANTITY")]
    quota_memory: Option<String>,
    /// Number of pods in it
    #[arg(long, value_name = "N")]
    quota_pods: Option<i32>,
}

impl Settings {
    /// These in place of `old` ones; what was not given stays.
    fn over(self, old: EnvironmentSettings) -> EnvironmentSettings {
        let Self { egress, quota_cpu, quota_memory, quota_pods } = self;
        let Quota { cpu, memory, pods } = old.quota.unwrap_or(Quota { cpu: None, memory: None, pods: None });
        let quota = Quota { cpu: quota_cpu.or(cpu), memory: quota_memory.or(memory), pods: quota_pods.or(pods) };
        EnvironmentSettings { egress: egress.or(old.egress), quota: (!amounts(&quota).is_empty()).then_some(quota) }
    }
}

/// Place to deploy to; made on its data planes at once
#[derive(Debug, Args)]
#[command(visible_alias = "env")]
pub(crate) struct Create {
    /// Name: lower-case letters, digits, dashes
    name: String,
    /// Data plane that serves it, may be given several times; the only one when left out
    #[arg(long = "data-plane", value_name = "NAME", add = names_of::<DataPlane>())]
    data_planes: Vec<String>,
    /// Place in the order of promotion, from 1; the last when left out
    #[arg(long, value_name = "N")]
    position: Option<i64>,
    #[command(flatten)]
    settings: Settings,
}

impl Create {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { name, data_planes, position, settings } = self;
        check_handle("name", &name)?;
        let EnvironmentSettings { egress, quota } = settings.over(EnvironmentSettings::default());
        let new = NewEnvironment { name, data_planes, position, egress, quota };
        let made: Environment = session.client.post(&Environment::path(session)?, &new).await?;
        created(io, form, &made)
    }
}

pub(crate) type Get = GetNamed<Environment>;

/// Egress and quota of an environment, on its data planes at once; what is not named stays
#[derive(Debug, Args)]
#[command(visible_alias = "env", override_usage = "pdpctl update environment [OPTIONS] <NAME>")]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true)
    .args(["egress", "quota_cpu", "quota_memory", "quota_pods", "no_quota"]))]
pub(crate) struct Update {
    /// Name
    #[arg(add = names_of::<Environment>())]
    name: String,
    #[command(flatten)]
    settings: Settings,
    /// Take its quota away; what the cluster's owner gives to an environment without one holds then
    #[arg(long)]
    no_quota: bool,
}

impl Update {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { name, settings, no_quota } = self;
        let path = session.in_project(&["environments", &name])?;
        let mut old = session.client.get::<Environment>(&path, &[]).await?.settings;
        let before = old.clone();
        old.quota = old.quota.filter(|_| !no_quota);
        let new = settings.over(old);
        let now: Environment = session.client.put(&[path.as_slice(), &["settings"]].concat(), &new).await?;
        let (named, change) = (now.named(), if new == before { "unchanged" } else { "updated" });
        let sentence = format!("{named} {change}. See: pdpctl status --environment {name}");
        output::say(io, form, &now, &sentence, &named)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    those: DeleteNamed<Environment>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Delete {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { those, yes, wait } = self;
        for name in &those.names {
            let path = session.in_project(&["environments", name])?;
            let question =
                format!("Delete environment {name} of project {} with everything that runs in it?", session.project()?);
            agreed(io, yes, &question, || format!("environment {name} stays"))?;
            session.client.delete(&path, &[]).await?;
            if wait.wait {
                await_removal(io, session, name, wait.timeout).await?;
                now_is(io, form, &format!("environment/{name}"), "deleted")?;
            } else {
                now_is(io, form, &format!("environment/{name}"), "is being deleted")?;
            }
        }
        Ok(())
    }
}

async fn await_removal(io: &mut Io, session: &Session, name: &str, timeout: Duration) -> Result<(), Error> {
    let (path, status) = (session.in_project(&["environments", name])?, session.in_project(&["status"])?);
    let hint = format!("it goes on by itself; see: pdpctl status --environment {name}");
    watch(io, &format!("Deleting environment {name}"), &hint, timeout, async || {
        match session.client.get::<Environment>(&path, &[]).await {
            Ok(_) => {}
            Err(Error::Refused(problem)) if problem.code == Code::NotFound => {
                return Ok(Snapshot { lines: Vec::new(), end: Some(End::Done) });
            }
            Err(other) => return Err(other),
        }
        let rows = session.client.get::<Vec<ResourceStatus>>(&status, &[("environment", name.to_owned())]).await;
        let rows = match rows {
            Ok(rows) => rows,
            // The environment was deleted between the two requests.
            Err(Error::Refused(problem)) if problem.code == Code::NotFound => Vec::new(),
            Err(other) => return Err(other),
        };
        let lines = rows.into_iter().map(|row| Line {
            place: row
                .component
                .map_or_else(|| row.data_plane.clone(), |component| format!("{}/{component}", row.data_plane)),
            phase: row.phase,
            message: row.message,
        });
        Ok(Snapshot { lines: lines.collect(), end: None })
    })
    .await
}
