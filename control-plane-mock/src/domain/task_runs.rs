//! Runs of tasks: requested, listed, cancelled. The result of a run is recorded with its facts ([`crate::desired::reports`]).

use control_plane_model::problem::{Code, Problem};
use control_plane_model::{Action, TaskRun};
use protocol::document::{ComponentType, Desired, Shape, TaskRunSpec};
use protocol::name::{Kind, ResourceKey, joined};
use rusqlite::{Connection, OptionalExtension, params};

use super::deployments::{bindings, only_track};
use super::environments::planes;
use super::handles::check_body;
use super::scope::Scope;
use super::{components, environments};
use crate::desired::documents::{self, Belongs};
use crate::desired::status;
use crate::store::{Result, Steps, Wake, now, stamp};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE task_run (
  id TEXT PRIMARY KEY, component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE,
  environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE, data_plane TEXT NOT NULL,
  name TEXT NOT NULL, release INTEGER, actor TEXT, created TEXT NOT NULL, started TEXT, ended TEXT, result TEXT,
  exit_code INTEGER, message TEXT) STRICT;
",
)];

pub(crate) const WAKES: &[Wake] =
    &[Wake { after: "UPDATE OF ended ON main.task_run WHEN old.ended IS NULL", whom: "new.data_plane" }];

/// Asks for one run of a task, on the first data plane of the environment.
///
/// # Errors
/// `Conflict` when the component is no task or not deployed there, `Invalid` arguments.
pub fn run_task(c: &Connection, place: &Scope, component_name: &str, ask: &Action) -> Result<TaskRun> {
    run_task_as(c, place, component_name, ask, uuid::Uuid::new_v4().to_string())
}

/// The same with an id that the caller has made. It was never used before.
///
/// # Errors
/// As [`run_task`].
pub fn run_task_as(c: &Connection, place: &Scope, component_name: &str, ask: &Action, id: String) -> Result<TaskRun> {
    let environment = environments::environment(c, place.project, &ask.environment)?;
    let (component, component_type) = components::component(c, place.project, component_name)?;
    if !ComponentType::named(&component_type).is_some_and(|component| component.shape().is_task()) {
        let problem = Problem::new(Code::Conflict, format!("{component_name} is a {component_type}, which is not run"));
        let hint = format!("only a component of type {} is run", ComponentType::names(Shape::is_task));
        return Err(problem.hint(hint).into());
    }
    let track = only_track(c, component, environment, ask.track.as_deref())?;
    let current = bindings(c, component, environment, &track)?.into_iter().next().and_then(|bound| bound.number);
    let Some((plane, handle)) = planes(c, environment)?.into_iter().next().filter(|_| current.is_some()) else {
        let problem = Problem::new(Code::Conflict, format!("{component_name} is not deployed to {}", ask.environment));
        return Err(problem.hint("deploy it first: pdpctl deploy -f task.yaml --environment NAME").into());
    };
    let release = place.release_key(component_name, &track, &ask.environment).name;
    let spec = TaskRunSpec { release, args: ask.args.clone(), cancel: None };
    check_body(Kind::TaskRun, &spec)?;
    let key = ResourceKey { kind: Kind::TaskRun, name: joined(&[component_name, &ask.environment, &id], 52) };
    let created = now();
    c.execute(
        "INSERT INTO task_run (id, component, environment, data_plane, name, release, actor, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![id, component, environment, plane, key.name, current, place.actor, created],
    )?;
    let belongs = Belongs {
        environment: Some(environment),
        component: Some(component),
        track: Some(track),
        deployment: None,
        task_run: Some(id.clone()),
    };
    let provenance = place.provenance(Some(format!("run-{id}")), ask.reason.as_deref());
    documents::put(c, &plane, &key, Desired::Present, &spec, &provenance, &belongs)?;
    Ok(TaskRun {
        id,
        component: component_name.to_owned(),
        environment: ask.environment.clone(),
        data_plane: handle,
        name: key.name,
        release: current,
        actor: Some(place.actor.clone()),
        created,
        started: None,
        ended: None,
        result: None,
        exit_code: None,
        message: None,
    })
}

/// Runs of a component's task, newest first; those of the last 30 days, at most 200. With `id`, that one.
///
/// # Errors
/// SQLite's.
pub fn task_runs(c: &Connection, component: i64, id: Option<&str>) -> Result<Vec<TaskRun>> {
    let since =
        jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(30 * 24)).unwrap_or(jiff::Timestamp::MIN);
    let sql = "SELECT t.id, p.handle, e.handle, d.handle, t.name, t.release, t.actor, t.created, t.started, t.ended, t.result,
                 t.exit_code, t.message, t.data_plane FROM task_run t JOIN component p ON p.id = t.component
               JOIN environment e ON e.id = t.environment JOIN data_plane d ON d.id = t.data_plane
               WHERE t.component = ?1 AND (?2 IS NULL OR t.id = ?2) AND t.created > ?3 ORDER BY t.created DESC LIMIT 200";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![component, id, stamp(since)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let mut run = TaskRun {
            id: row.get(0)?,
            component: row.get(1)?,
            environment: row.get(2)?,
            data_plane: row.get(3)?,
            name: row.get(4)?,
            release: row.get(5)?,
            actor: row.get(6)?,
            created: row.get(7)?,
            started: row.get(8)?,
            ended: row.get(9)?,
            result: row.get(10)?,
            exit_code: row.get(11)?,
            message: row.get(12)?,
        };
        if run.ended.is_none() {
            let key = ResourceKey { kind: Kind::TaskRun, name: run.name.clone() };
            let status = status::one(c, &row.get::<_, String>(13)?, &key)?;
            if let Some(status) = status {
                run.result = (status.phase == "Refused").then_some(status.phase);
                run.message = Some(status.message);
            }
        }
        all.push(run);
    }
    Ok(all)
}

/// Asks for the end of a run that has not ended: its Job is suspended, and its result becomes Cancelled.
///
/// # Errors
/// `NotFound`, or `Conflict` when it has ended.
pub fn cancel(c: &Connection, place: &Scope, component: i64, id: &str) -> Result<TaskRun> {
    let run = task_runs(c, component, Some(id))?.into_iter().next();
    let run = run.ok_or_else(|| Problem::not_found("this run").at("id"))?;
    let key = ResourceKey { kind: Kind::TaskRun, name: run.name.clone() };
    let sql = "SELECT data_plane FROM task_run WHERE id = ?1 AND ended IS NULL";
    let plane: Option<String> = c.query_row(sql, [id], |row| row.get(0)).optional()?;
    let wish = plane.as_deref().map(|plane| documents::find(c, plane, &key)).transpose()?.flatten();
    let Some((plane, wish)) = plane.zip(wish) else {
        return Err(Problem::new(Code::Conflict, "this run has ended already").into());
    };
    let mut spec: TaskRunSpec = serde_json::from_str(&wish.body)?;
    spec.cancel = Some(true);
    let provenance = place.provenance(Some(format!("run-{id}")), Some("cancelled"));
    documents::put(c, &plane, &key, Desired::Present, &spec, &provenance, &Belongs::default())?;
    Ok(run)
}
