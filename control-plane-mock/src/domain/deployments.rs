//! Binding releases to environments, and what that makes of the desired state of each data plane.
//!
//! A deployment is a row that never changes: release, configuration of that environment, who, why. Its effect is one Release
//! document per data plane of the environment, written in the same transaction.

use std::collections::BTreeMap;

use control_plane_model::component::{Component, Configuration, absent_release};
use control_plane_model::problem::{Code, Problem};
use control_plane_model::{Action, Deployment, NewDeployment};
use rusqlite::{Connection, OptionalExtension, params};

use super::environments::{self, planes};
use super::scope::Scope;
use super::{components, releases};
use crate::desired::documents::{self, Belongs};
use crate::desired::outcomes::{self, Outcome};
use crate::store::{Result, Steps, now};

pub(crate) const STEPS: Steps = &[(
    1,
    "
CREATE TABLE configuration (
  component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE, track TEXT NOT NULL, environment TEXT NOT NULL,
  content TEXT NOT NULL, PRIMARY KEY (component, track, environment)) STRICT, WITHOUT ROWID;
CREATE TABLE deployment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
  component INTEGER NOT NULL REFERENCES component ON DELETE CASCADE, track TEXT NOT NULL,
  release INTEGER REFERENCES release, configuration TEXT NOT NULL, restart_token TEXT, action TEXT NOT NULL,
  actor TEXT, reason TEXT, created TEXT NOT NULL) STRICT;
CREATE INDEX deployment_of ON deployment (component, environment, track, id);
",
)];

/// One past or present binding, as stored.
pub(super) struct Bound {
    id: i64,
    release: Option<i64>,
    pub(super) number: Option<i64>,
    configuration: Configuration,
    restart_token: Option<String>,
}

pub(super) fn bindings(c: &Connection, component: i64, environment: i64, track: &str) -> Result<Vec<Bound>> {
    let sql = "SELECT d.id, d.release, r.number, d.configuration, d.restart_token FROM deployment d
               LEFT JOIN release r ON r.id = d.release
               WHERE d.component = ?1 AND d.environment = ?2 AND d.track = ?3 ORDER BY d.id DESC LIMIT 500";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![component, environment, track])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(Bound {
            id: row.get(0)?,
            release: row.get(1)?,
            number: row.get(2)?,
            configuration: serde_json::from_str(&row.get::<_, String>(3)?)?,
            restart_token: row.get(4)?,
        });
    }
    Ok(all)
}

/// The track to act on: the one named, or the only one ever deployed there.
pub(super) fn only_track(c: &Connection, component: i64, environment: i64, named: Option<&str>) -> Result<String> {
    if let Some(track) = named {
        control_plane_model::component::check_track("track", track)?;
        return Ok(track.to_owned());
    }
    let sql = "SELECT DISTINCT track FROM deployment WHERE component = ?1 AND environment = ?2 ORDER BY track";
    let mut statement = c.prepare_cached(sql)?;
    let tracks: Vec<String> =
        statement.query_map([component, environment], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    match tracks.as_slice() {
        [] => Err(Problem::new(Code::NotFound, "it was never deployed to this environment")
            .hint("deploy it first: pdpctl deploy -f component.yaml --environment NAME")
            .into()),
        [one] => Ok(one.clone()),
        many => Err(Problem::invalid("track", format!("it has several tracks here: {}", many.join(", ")))
            .hint("name one with --track")
            .into()),
    }
}

/// What is written by one action.
struct Change<'a> {
    component: i64,
    component_name: &'a str,
    environment: i64,
    environment_name: &'a str,
    track: &'a str,
    action: &'a str,
    release: Option<(i64, i64, Component)>,
    configuration: Configuration,
    restart_token: Option<String>,
    reason: Option<&'a str>,
}

fn write(c: &Connection, place: &Scope, change: Change<'_>) -> Result<Deployment> {
    let deleting: Option<String> =
        c.query_row("SELECT deleting FROM environment WHERE id = ?1", [change.environment], |row| row.get(0))?;
    if deleting.is_some() {
        let problem = Problem::new(Code::Conflict, format!("environment {} is being deleted", change.environment_name));
        return Err(problem.hint("use another environment").into());
    }
    let created = now();
    c.execute(
        "INSERT INTO deployment (environment, component, track, release, configuration, restart_token, action, actor, reason,
           created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            change.environment,
            change.component,
            change.track,
            change.release.as_ref().map(|(row, ..)| *row),
            serde_json::to_string(&change.configuration)?,
            change.restart_token,
            change.action,
            place.actor,
            change.reason,
            created,
        ],
    )?;
    let id = c.last_insert_rowid();
    let body = match &change.release {
        Some((_, number, content)) => content.body(
            &change.configuration,
            &place.environment_key(change.environment_name).name,
            *number,
            change.restart_token.as_deref(),
        )?,
        None => absent_release(),
    };
    let key = place.release_key(change.component_name, change.track, change.environment_name);
    let belongs = Belongs {
        environment: Some(change.environment),
        component: Some(change.component),
        track: Some(change.track.to_owned()),
        deployment: Some(id),
        task_run: None,
    };
    let provenance = place.provenance(Some(format!("deployment-{id}")), change.reason);
    environments::publish(c, place, change.environment)?;
    let mut generations = BTreeMap::new();
    for (plane, handle) in planes(c, change.environment)? {
        match documents::put(c, &plane, &key, body.state, &body, &provenance, &belongs)? {
            Some(generation) => drop(generations.insert(handle, generation)),
            // Nothing changed: asking for the same again means to retry what was refused or quarantined in this environment.
            None => drop(documents::ask_again(c, &plane, Some(change.environment))?),
        }
    }
    let unchanged = generations.is_empty();
    if unchanged {
        c.execute("DELETE FROM deployment WHERE id = ?1", [id])?;
    }
    Ok(Deployment {
        id,
        component: change.component_name.to_owned(),
        environment: change.environment_name.to_owned(),
        track: change.track.to_owned(),
        release: change.release.map(|(_, number, _)| number),
        action: change.action.to_owned(),
        actor: Some(place.actor.clone()),
        reason: change.reason.map(str::to_owned),
        created,
        generations,
        new_release: false,
        unchanged,
        outcome: None,
        note: None,
    })
}

/// Deploys a component file, or binds an existing release (a promotion, where it runs elsewhere already).
///
/// # Errors
/// Every way in which a wish can be wrong, as a problem.
pub fn deploy(
    c: &Connection,
    place: &Scope,
    component_name: &str,
    new: &NewDeployment,
    file: Option<&Component>,
) -> Result<Deployment> {
    let environment = environments::environment(c, place.project, &new.environment)?;
    let track = new.track.clone().or_else(|| file.map(|file| file.track().to_owned()));
    let track = track.unwrap_or_else(|| control_plane_model::component::DEFAULT_TRACK.to_owned());
    control_plane_model::component::check_track("track", &track)?;
    let (release, new_release) = match (file, new.release) {
        (Some(_), Some(_)) => {
            let problem = Problem::invalid("release", "a file and a release number exclude each other");
            return Err(problem.hint("leave one out").into());
        }
        (None, None) => {
            let problem = Problem::invalid("file", "nothing to deploy: neither a component file nor a release number");
            return Err(problem.hint("pdpctl deploy -f component.yaml, or pdpctl deploy NAME --release N").into());
        }
        (Some(file), None) => {
            let content = Component { track: Some(track.clone()), ..file.clone() };
            let (row, number, is_new) = releases::release(c, place.project, &content, &place.actor)?;
            ((row, number, content.frozen()), is_new)
        }
        (None, Some(number)) => {
            let (component, _) = components::component(c, place.project, component_name)?;
            let (row, content) = releases::find_release(c, component, &track, number)?;
            ((row, number, content), false)
        }
    };
    let (component, _) = components::component(c, place.project, component_name)?;
    if let Some(file) = file {
        for (name, configuration) in &file.environments {
            c.execute(
                "INSERT OR REPLACE INTO configuration (component, track, environment, content) VALUES (?1, ?2, ?3, ?4)",
                params![component, track, name, serde_json::to_string(configuration)?],
            )?;
        }
        if !file.environments.contains_key(&new.environment) {
            c.execute(
                "DELETE FROM configuration WHERE component = ?1 AND track = ?2 AND environment = ?3",
                params![component, track, new.environment],
            )?;
        }
    }
    let configuration: Option<String> = c
        .query_row(
            "SELECT content FROM configuration WHERE component = ?1 AND track = ?2 AND environment = ?3",
            params![component, track, new.environment],
            |row| row.get(0),
        )
        .optional()?;
    let configuration = configuration.map(|text| serde_json::from_str(&text)).transpose()?.unwrap_or_default();
    let restart_token =
        bindings(c, component, environment, &track)?.into_iter().next().and_then(|last| last.restart_token);
    let action = if file.is_some() { "Deploy" } else { "Promote" };
    let change = Change {
        component,
        component_name,
        environment,
        environment_name: &new.environment,
        track: &track,
        action,
        release: Some(release),
        configuration,
        restart_token,
        reason: new.reason.as_deref(),
    };
    Ok(Deployment { new_release, ..write(c, place, change)? })
}

/// Restart, rollback and undeploy: actions on what is deployed already.
///
/// # Errors
/// `NotFound` when it is not deployed there, `Conflict` when there is nothing to go back to.
pub fn act(c: &Connection, place: &Scope, component_name: &str, action: &str, ask: &Action) -> Result<Deployment> {
    let environment = environments::environment(c, place.project, &ask.environment)?;
    let (component, _) = components::component(c, place.project, component_name)?;
    let track = only_track(c, component, environment, ask.track.as_deref())?;
    let history = bindings(c, component, environment, &track)?;
    let not_deployed = || {
        let problem = Problem::new(Code::Conflict, format!("{component_name} is not deployed to {}", ask.environment));
        crate::store::Error::from(problem.hint("deploy it first: pdpctl deploy -f component.yaml --environment NAME"))
    };
    let current = history.first().ok_or_else(not_deployed)?;
    let mut note = None;
    let (bound, restart_token) = match action {
        "Undeploy" => (None, None),
        "Restart" => {
            current.release.ok_or_else(not_deployed)?;
            (Some(current), Some(uuid::Uuid::new_v4().simple().to_string()))
        }
        "Rollback" => {
            let (target, why) = earlier(c, &history, ask.to, component_name, &ask.environment)?;
            note = why;
            (Some(target), current.restart_token.clone())
        }
        _ => return Err(Problem::invalid("action", "this action is not known here").into()),
    };
    let release = match bound.and_then(|bound| bound.release.zip(bound.number)) {
        Some((row, number)) => Some((row, number, releases::find_release(c, component, &track, number)?.1)),
        None => None,
    };
    let change = Change {
        component,
        component_name,
        environment,
        environment_name: &ask.environment,
        track: &track,
        action,
        release,
        configuration: bound.map(|bound| bound.configuration.clone()).unwrap_or_default(),
        restart_token,
        reason: ask.reason.as_deref(),
    };
    tracing::debug!(deployment = current.id, action, "deployment follows");
    Ok(Deployment { note, ..write(c, place, change)? })
}

/// What a rollback goes to, and what is to be said of that: the named release, or the newest earlier one that served there. Entries from
/// before outcomes were kept count as served only where nothing else did.
fn earlier<'a>(
    c: &Connection,
    history: &'a [Bound],
    to: Option<i64>,
    component: &str,
    environment: &str,
) -> Result<(&'a Bound, Option<String>)> {
    let none = |sentence: String| Problem::new(Code::Conflict, sentence).at("to");
    let mut all = Vec::new();
    for bound in history.iter().filter(|bound| bound.number.is_some()) {
        all.push((bound, outcomes::of(c, bound.id)?));
    }
    let said = |(bound, outcome): &(&Bound, Outcome)| {
        let number = bound.number.unwrap_or_default();
        outcome.shown().map_or_else(|| number.to_string(), |word| format!("{number} ({word})"))
    };
    let hint = |all: &[(&Bound, Outcome)]| {
        let mut words: Vec<String> = all.iter().map(said).collect();
        words.dedup();
        format!("deployed here so far, newest first: {}", words.join(", "))
    };
    if let Some(number) = to {
        let Some(found) = all.iter().find(|(bound, _)| bound.number == Some(number)) else {
            let sentence = format!("release {number} of {component} was never deployed to {environment}");
            return Err(none(sentence).hint(hint(&all)).into());
        };
        let word = found.1.shown().filter(|_| found.1.is_bad());
        let note = word.map(|word| format!("Release {number} ended as {word} when it was deployed here last."));
        return Ok((found.0, note));
    }
    let current = history.first().and_then(|bound| bound.release);
    let others: Vec<_> = all.into_iter().filter(|(bound, _)| bound.release != current).collect();
    let ended = |wanted: Outcome| others.iter().position(|(_, outcome)| *outcome == wanted);
    let Some(found) = ended(Outcome::Ready).or_else(|| ended(Outcome::Unknown)) else {
        let sentence = format!("there is no earlier release of {component} that served in {environment}");
        let hint = if others.is_empty() {
            "nothing else was deployed here".to_owned()
        } else {
            format!("{}; name one with --to", hint(&others))
        };
        return Err(none(sentence).hint(hint).into());
    };
    let (skipped, rest) = others.split_at(found);
    let target = rest.first().map(|(bound, _)| *bound).ok_or_else(|| none("there is none".to_owned()))?;
    let mut words: Vec<String> =
        skipped.iter().filter(|(bound, _)| bound.release != target.release).map(said).collect();
    words.dedup();
    let note = (!words.is_empty()).then(|| format!("Skipped, since it did not serve here: {}.", words.join(", ")));
    Ok((target, note))
}
