//! Runs of tasks, as they are listed. [`crate::runs`] asks for them.

use clap::Args;
use control_plane_model::{ComponentRow, Environment, TaskRun};
use jiff::Timestamp;

use super::kind::{names_of, show};
use crate::age::since;
use crate::context::Session;
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::runs::run_id;
use crate::views::View;

impl View for TaskRun {
    const HEAD: &'static [&'static str] = &["ID", "ENVIRONMENT", "DATA PLANE", "RESULT", "EXIT", "AGE", "MESSAGE"];
    const FLOWS: bool = true;

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let running = if self.started.is_some() { "Running" } else { "Waiting" };
        vec![
            // A run can be named by the beginning of its id.
            self.id.chars().take(8).collect(),
            self.environment.clone(),
            self.data_plane.clone(),
            self.result.clone().unwrap_or_else(|| running.into()),
            self.exit_code.map_or_else(|| "-".into(), |code| code.to_string()),
            since(&self.created, now),
            self.message.clone().unwrap_or_default(),
        ]
    }

    fn named(&self) -> String {
        format!("run/{}", self.id)
    }
}

/// Runs of a task, of the last 30 days
#[derive(Debug, Args)]
#[command(visible_aliases = ["run"])]
pub(crate) struct Get {
    /// Component
    #[arg(add = names_of::<ComponentRow>())]
    component: String,
    /// Ids, or their beginnings; all when left out
    ids: Vec<String>,
    /// Environment; all when left out
    #[arg(long, short, value_name = "NAME", add = names_of::<Environment>())]
    environment: Option<String>,
}

impl Get {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let Self { component, ids, environment } = self;
        let path = session.in_project(&["components", &component, "runs"])?;
        let environment = environment.filter(|_| ids.is_empty());
        let query: Vec<_> = environment.into_iter().map(|name| ("environment", name)).collect();
        let mut whole = Vec::new();
        for id in &ids {
            whole.push(run_id(session, &component, id).await?);
        }
        show::<TaskRun>(io, form, session, &path, &whole, &query).await
    }
}
