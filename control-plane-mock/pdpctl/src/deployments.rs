//! deploy, restart, rollback, undeploy: asking for a change and waiting for its end.

use std::path::Path;
use std::time::Duration;

use control_plane_model::component::{self, Component, Override};
use control_plane_model::problem::Problem;
use control_plane_model::{Action, Deployment, NewDeployment, ResourceStatus};
use serde::Serialize;

use super::args::{Act, Deploy, FileArgs, Global, Rollback, Where};
use super::error::Error;
use super::io::{Io, named, text_of, within};
use super::judge::{Expected, is_of, judge, title};
use super::output::Format;
use super::session::Session;
use super::wait::{Wait, watch};
use super::{output, table};

/// Reads a component file, with the values of `--set` in place.
///
/// # Errors
/// `File` with everything that is wrong, `Usage` for a bad `--set`.
pub(super) fn component_file(ask: &FileArgs) -> Result<Component, Error> {
    let Some(path) = &ask.file else {
        return Err(Error::usage("no component file is named", "give one with -f FILE"));
    };
    let text = text_of(path)?;
    let overrides = ask.sets.iter().map(|set| Override::parse(set)).collect::<Result<Vec<_>, Problem>>()?;
    let beside = |name: &str| beside(path, name);
    component::from_yaml_beside(&text, &overrides, &beside)
        .map_err(|problems| Error::File { path: named(path), problems })
}

/// A file beside a component file; beside what comes from standard input lies what is in the current folder.
fn beside(component: &Path, name: &str) -> Result<Vec<u8>, String> {
    let folder = component.parent().filter(|folder| *folder != Path::new("")).unwrap_or_else(|| Path::new("."));
    within(folder, name)
}

/// `deploy`.
pub(super) async fn deploy(io: &mut Io, global: &Global, ask: Deploy) -> Result<(), Error> {
    let Deploy { component, file, release, place, wait } = ask;
    let file = match (&file.file, release) {
        (Some(_), _) => Some(component_file(&file)?),
        (None, Some(_)) => None,
        (None, None) => {
            return Err(Error::usage(
                "nothing to deploy: neither a component file nor a release",
                "pdpctl deploy -f component.yaml --environment NAME, or pdpctl deploy COMPONENT --release N --environment NAME",
            ));
        }
    };
    let name = match (component, &file) {
        (Some(name), Some(file)) if name != file.name => {
            let sentence = format!("the file is about component {}, not {name}", file.name);
            return Err(Error::usage(sentence, "leave the name out; it stands in the file"));
        }
        (_, Some(file)) => file.name.clone(),
        (Some(name), None) => name,
        (None, None) => {
            return Err(Error::usage(
                "no component is named",
                "pdpctl deploy COMPONENT --release N --environment NAME",
            ));
        }
    };
    let session = Session::open(io, &global.chosen())?;
    let Where { environment, track, reason } = place;
    let file = file.map(serde_json::to_value).transpose().map_err(|error| Error::usage(error.to_string(), ""))?;
    let new = NewDeployment { environment, file, release, track, reason };
    let made: Deployment =
        session.client.post(&session.in_project(&["components", &name, "deployments"])?, &new).await?;
    follow(io, global, &session, made, &wait, Expected::Present).await
}

/// `restart`.
pub(super) async fn restart(io: &mut Io, global: &Global, ask: Act) -> Result<(), Error> {
    let Act { component, place, wait } = ask;
    act(io, global, "restart", &component, action(place), &wait, Expected::Present).await
}

/// `rollback`.
pub(super) async fn rollback(io: &mut Io, global: &Global, ask: Rollback) -> Result<(), Error> {
    let Rollback { component, to, place, wait } = ask;
    act(io, global, "rollback", &component, Action { to, ..action(place) }, &wait, Expected::Present).await
}

/// `undeploy`.
pub(super) async fn undeploy(io: &mut Io, global: &Global, ask: Act) -> Result<(), Error> {
    let Act { component, place, wait } = ask;
    act(io, global, "undeploy", &component, action(place), &wait, Expected::Absent).await
}

fn action(Where { environment, track, reason }: Where) -> Action {
    Action { environment, track, to: None, args: None, reason }
}

async fn act(
    io: &mut Io,
    global: &Global,
    verb: &str,
    component: &str,
    action: Action,
    wait: &Wait,
    expected: Expected,
) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let made: Deployment = session.client.post(&session.in_project(&["components", component, verb])?, &action).await?;
    follow(io, global, &session, made, wait, expected).await
}

/// A deployment and, after waiting, what became of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(flatten)]
    deployment: &'a Deployment,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a [ResourceStatus]>,
}

async fn follow(
    io: &mut Io,
    global: &Global,
    session: &Session,
    made: Deployment,
    wait: &Wait,
    expected: Expected,
) -> Result<(), Error> {
    let started = tokio::time::Instant::now();
    if let Some(note) = &made.note {
        io.complain(note);
    }
    let title = title(&made);
    let name = format!("deployment/{}", made.id);
    let status = format!("pdpctl status {} --environment {}", made.component, made.environment);
    if !wait.wait {
        let sentence = match (made.unchanged, expected) {
            (true, _) => format!("{title}: nothing had to change."),
            (false, Expected::Present) => format!("{title}: asked for. Wait for it with --wait, or see: {status}"),
            (false, Expected::Absent) => format!("{title}: asked for. See: {status}"),
        };
        return output::say(io, global.output, &Outcome { deployment: &made, resources: None }, &sentence, &name);
    }
    let hint = format!("it goes on by itself; see: {status}");
    let mut resources = Vec::new();
    let path = session.in_project(&["status"])?;
    // Status of the whole environment, which also shows why the environment itself is not ready.
    let query = [("environment", made.environment.clone())];
    let result = watch(io, &title, &hint, wait.timeout, async || {
        resources = session.client.get::<Vec<ResourceStatus>>(&path, &query).await?;
        Ok(judge(&made, expected, &resources))
    })
    .await;
    let rows: Vec<ResourceStatus> = resources.into_iter().filter(|row| is_of(&made, row)).collect();
    let outcome = Outcome { deployment: &made, resources: Some(&rows) };
    let sentence = match &result {
        Ok(()) => {
            let pods: Vec<String> =
                rows.iter().map(|row| format!("{}: {}", row.data_plane, table::plain(&row.message))).collect();
            let tail = if pods.is_empty() || expected == Expected::Absent {
                String::new()
            } else {
                format!(" ({})", pods.join("; "))
            };
            let word = if expected == Expected::Present { "ready" } else { "removed" };
            format!("{title}: {word} after {}{tail}", seconds(started.elapsed()))
        }
        Err(_) => String::new(),
    };
    // JSON and YAML contain the result of a failed deployment too, for scripts.
    if result.is_ok() || !matches!(global.output, Format::Table | Format::Name) {
        output::say(io, global.output, &outcome, &sentence, &name)?;
    }
    result
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_folder_is_not_followed() {
        let all = tempfile::tempdir().unwrap();
        let folder = all.path().join("component");
        std::fs::create_dir_all(folder.join("img")).unwrap();
        for (file, text) in [(all.path().join("key"), "mine"), (folder.join("img/logo.png"), "logo")] {
            std::fs::write(file, text).unwrap();
        }
        std::os::unix::fs::symlink("../key", folder.join("stolen")).unwrap();
        std::os::unix::fs::symlink("img/logo.png", folder.join("also.png")).unwrap();
        let read = |name: &str| beside(&folder.join("component.yaml"), name);
        assert_eq!(read("also.png").unwrap(), b"logo");
        assert!(read("stolen").unwrap_err().contains("leads out of the component file's folder"));
        assert!(read("none").unwrap_err().contains("cannot be read"));
    }
}
