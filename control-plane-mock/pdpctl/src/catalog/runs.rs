//! Runs of tasks: how they are asked for, cancelled and listed.

use clap::Args;
use control_plane_model::{Action, ComponentRow, Environment, TaskRun};
use jiff::Timestamp;

use super::kind::{names_of, show};
use crate::age::since;
use crate::args::{Global, Run, Where};
use crate::error::Error;
use crate::io::Io;
use crate::output::Format;
use crate::session::Session;
use crate::views::View;
use crate::wait::{End, Line, Snapshot, watch};
use crate::{output, table};

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

/// `run`.
pub(crate) async fn run(io: &mut Io, global: &Global, ask: Run) -> Result<(), Error> {
    let Run { component, place, wait, args } = ask;
    let session = Session::open(io, &global.chosen())?;
    let Where { environment, track, reason } = place;
    let action = Action { args: (!args.is_empty()).then_some(args), environment, track, to: None, reason };
    let path = session.in_project(&["components", &component, "runs"])?;
    let mut made: TaskRun = session.client.post(&path, &action).await?;
    let name = format!("run/{}", made.id);
    if !wait.wait {
        let sentence = format!("{name} of {component} asked for. See: pdpctl get runs {component} {}", made.id);
        return output::say(io, global.output, &made, &sentence, &name);
    }
    let title = format!("Running {component} in {} (run {})", made.environment, made.id);
    let hint = format!("it goes on by itself; see: pdpctl get runs {component} {}", made.id);
    let logs = format!("pdpctl logs {component} --environment {} --run {}", made.environment, made.id);
    let id = made.id.clone();
    let path = session.in_project(&["components", &component, "runs", &id])?;
    let result = watch(io, &title, &hint, wait.timeout, async || {
        made = session.client.get(&path, &[]).await?;
        Ok(judge_run(&made, &logs))
    })
    .await;
    let sentence = format!("{name} of {component}: Succeeded. Its lines: {logs}");
    if result.is_ok() || !matches!(global.output, Format::Table | Format::Name) {
        output::say(io, global.output, &made, &sentence, &name)?;
    }
    result
}

fn judge_run(run: &TaskRun, logs: &str) -> Snapshot {
    let message = run.message.clone().unwrap_or_default();
    let phase =
        run.result.clone().unwrap_or_else(|| if run.started.is_some() { "Running".into() } else { "Waiting".into() });
    let end = match run.result.as_deref() {
        None => None,
        Some("Succeeded") => Some(End::Done),
        Some(result) => {
            let code = run.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            let why = if message.is_empty() { String::new() } else { format!("\n{}", table::plain(&message)) };
            Some(End::Failed(format!("run {} of {}: {result}{code}{why}", run.id, run.component), logs.to_owned()))
        }
    };
    Snapshot { lines: vec![Line { place: run.data_plane.clone(), phase, message }], end }
}

/// The id of the run whose id begins with `text`.
///
/// # Errors
/// `Usage` when there is none or more than one.
pub(crate) async fn run_id(session: &Session, component: &str, text: &str) -> Result<String, Error> {
    const WHOLE: usize = 36;
    if text.len() >= WHOLE {
        return Ok(text.to_owned());
    }
    let all: Vec<TaskRun> = session.client.get(&session.in_project(&["components", component, "runs"])?, &[]).await?;
    let mut found = all.into_iter().map(|run| run.id).filter(|id| id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Error::usage(format!("several runs begin with {text}"), "write more of the id")),
        (None, _) => Err(Error::usage(
            format!("no run of {component} begins with {text}"),
            format!("see: pdpctl get runs {component}"),
        )),
    }
}

/// `cancel`.
pub(crate) async fn cancel(io: &mut Io, global: &Global, component: &str, run: &str) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let run = run_id(&session, component, run).await?;
    session.client.post_only(&session.in_project(&["components", component, "runs", &run, "cancel"])?).await?;
    let name = format!("run/{run}");
    let sentence = format!("{name} of {component} is being cancelled. See: pdpctl get runs {component} {run}");
    output::say(io, global.output, &serde_json::json!({ "name": name, "status": "cancelling" }), &sentence, &name)
}
