//! deploy, restart, rollback, undeploy, run: asking for a change and waiting for its end.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::args::{Act, Deploy, FileArgs, Global, Place, Rollback, Run, Wait};
use super::context::Session;
use super::wait::{End, Line, Snapshot, watch};
use super::{Error, Io, output, table};
use crate::component::{self, Component, Override};
use crate::model::{Action, Deployment, NewDeployment, ResourceStatus, TaskRun};
use crate::problem::Problem;

/// Reads a component file, with the values of `--set` in place.
///
/// # Errors
/// `File` with everything that is wrong, `Usage` for a bad `--set`.
pub(super) fn component_file(ask: &FileArgs) -> Result<Component, Error> {
    let Some(path) = &ask.file else {
        return Err(Error::usage("no component file is named", "give one with -f FILE"));
    };
    let text = read(path)?;
    let overrides = ask.sets.iter().map(|set| Override::parse(set)).collect::<Result<Vec<_>, Problem>>()?;
    component::from_yaml_with(&text, &overrides).map_err(|problems| {
        let path = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
        Error::File { path, problems }
    })
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Access { what: "read", path: path.to_owned(), source };
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path).map_err(failed);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    Ok(text)
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
    let session = Session::open(io, global)?;
    let Place { environment, track, reason } = place;
    let file = file.map(serde_json::to_value).transpose().map_err(|error| Error::usage(error.to_string(), ""))?;
    let new = NewDeployment { environment, file, release, track, reason };
    let made: Deployment =
        session.client.post(&session.in_project(&["components", &name, "deployments"])?, &new).await?;
    follow(io, global, &session, made, &wait, Wish::Present).await
}

/// `restart`.
pub(super) async fn restart(io: &mut Io, global: &Global, ask: Act) -> Result<(), Error> {
    let Act { component, place, wait } = ask;
    act(io, global, "restart", &component, action(place), &wait, Wish::Present).await
}

/// `rollback`.
pub(super) async fn rollback(io: &mut Io, global: &Global, ask: Rollback) -> Result<(), Error> {
    let Rollback { component, to, place, wait } = ask;
    act(io, global, "rollback", &component, Action { to, ..action(place) }, &wait, Wish::Present).await
}

/// `undeploy`.
pub(super) async fn undeploy(io: &mut Io, global: &Global, ask: Act) -> Result<(), Error> {
    let Act { component, place, wait } = ask;
    act(io, global, "undeploy", &component, action(place), &wait, Wish::Absent).await
}

fn action(Place { environment, track, reason }: Place) -> Action {
    Action { environment, track, to: None, args: None, reason }
}

async fn act(
    io: &mut Io,
    global: &Global,
    verb: &str,
    component: &str,
    action: Action,
    wait: &Wait,
    wish: Wish,
) -> Result<(), Error> {
    let session = Session::open(io, global)?;
    let made: Deployment = session.client.post(&session.in_project(&["components", component, verb])?, &action).await?;
    follow(io, global, &session, made, wait, wish).await
}

/// Whether something shall run in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Present,
    Absent,
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
    wish: Wish,
) -> Result<(), Error> {
    let started = tokio::time::Instant::now();
    let title = title(&made);
    let name = format!("deployment/{}", made.id);
    let status = format!("pdpctl status {} --environment {}", made.component, made.environment);
    if !wait.wait {
        let sentence = match (made.unchanged, wish) {
            (true, _) => format!("{title}: nothing had to change."),
            (false, Wish::Present) => format!("{title}: asked for. Wait for it with --wait, or see: {status}"),
            (false, Wish::Absent) => format!("{title}: asked for. See: {status}"),
        };
        return output::say(io, global.output, &Outcome { deployment: &made, resources: None }, &sentence, &name);
    }
    let hint = format!("it goes on by itself; see: {status}");
    let mut resources = Vec::new();
    let path = session.in_project(&["status"])?;
    // Of the whole environment, so that it tells also why the environment itself is not there.
    let query = [("environment", made.environment.clone())];
    let result = watch(io, &title, &hint, wait.timeout, async || {
        resources = session.client.get::<Vec<ResourceStatus>>(&path, &query).await?;
        Ok(judge(&made, wish, &resources))
    })
    .await;
    let rows: Vec<ResourceStatus> = resources.into_iter().filter(|row| is_of(&made, row)).collect();
    let outcome = Outcome { deployment: &made, resources: Some(&rows) };
    let sentence = match &result {
        Ok(()) => {
            let pods: Vec<String> =
                rows.iter().map(|row| format!("{}: {}", row.data_plane, table::plain(&row.message))).collect();
            let tail = if pods.is_empty() { String::new() } else { format!(" ({})", pods.join("; ")) };
            let word = if wish == Wish::Present { "ready" } else { "removed" };
            format!("{title}: {word} after {}{tail}", seconds(started.elapsed()))
        }
        Err(_) => String::new(),
    };
    // Scripts see the end also when it is a bad one.
    if result.is_ok() || !matches!(global.output, super::args::Format::Table | super::args::Format::Name) {
        output::say(io, global.output, &outcome, &sentence, &name)?;
    }
    result
}

fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

fn title(made: &Deployment) -> String {
    let Deployment { component, environment, track, release, action, .. } = made;
    let what = match release {
        Some(number) => format!("{component} {track}/{number}"),
        None => format!("{component} {track}"),
    };
    match action.as_str() {
        "Undeploy" => format!("Undeploying {what} from {environment}"),
        "Restart" => format!("Restarting {what} in {environment}"),
        "Rollback" => format!("Rolling {component} in {environment} back to {track}/{}", release.unwrap_or_default()),
        "Promote" => format!("Promoting {what} to {environment}"),
        _ => format!("Deploying {what} to {environment}"),
    }
}

/// Whether a resource is the deployed one.
fn is_of(made: &Deployment, row: &ResourceStatus) -> bool {
    row.kind == "Release" && row.component.as_ref() == Some(&made.component) && row.track.as_ref() == Some(&made.track)
}

/// Whether a deployment has come to its end, from the status of its resources.
///
/// It has when every data plane is done, or when one of them failed. A generation above the wanted one is the same wish sent
/// again, unless it is of another release or state.
fn judge(made: &Deployment, wish: Wish, rows: &[ResourceStatus]) -> Snapshot {
    let mut places: BTreeMap<&str, (Option<&ResourceStatus>, i64)> =
        made.generations.iter().map(|(place, generation)| (place.as_str(), (None, *generation))).collect();
    let releases = rows.iter().filter(|row| is_of(made, row));
    for row in releases {
        // With nothing changed there are no generations: every data plane counts as it is.
        places.entry(&row.data_plane).and_modify(|place| place.0 = Some(row)).or_insert((Some(row), row.generation));
    }
    let mut lines = Vec::new();
    let mut done = 0;
    let mut end = None;
    for (place, (row, generation)) in &places {
        let line = |phase: &str, message: &str| Line {
            place: (*place).to_owned(),
            phase: phase.into(),
            message: message.into(),
        };
        let Some(row) = row else {
            let gone = wish == Wish::Absent;
            done += usize::from(gone);
            lines.push(if gone {
                line("Removed", "")
            } else {
                line("Waiting", "the control plane has no status of it yet")
            });
            continue;
        };
        lines.push(line(&row.phase, &row.message));
        let wanted = match wish {
            Wish::Present => row.desired == "Present" && (row.release == made.release || row.release.is_none()),
            Wish::Absent => row.desired == "Absent",
        };
        if row.generation > *generation && !wanted {
            let message = format!("{}: overtaken: somebody asked for something else meanwhile", title(made));
            let hint = format!("pdpctl history {} --environment {}", made.component, made.environment);
            end = Some(End::Failed(message, hint));
            continue;
        }
        if row.generation < *generation {
            continue;
        }
        match (row.phase.as_str(), wish) {
            ("Ready", Wish::Present) | ("Removed", Wish::Absent) => done += 1,
            ("Failed" | "Refused" | "RolledBack", _) => {
                let message = format!("{}: {} on {place}\n{}", title(made), row.phase, table::plain(&row.message));
                let hint = match row.phase.as_str() {
                    "Refused" => "correct what it names, then deploy again".to_owned(),
                    _ => format!(
                        "pdpctl logs {0} --environment {1}; pdpctl status {0} --environment {1}",
                        made.component, made.environment
                    ),
                };
                end = end.or(Some(End::Failed(message, hint)));
            }
            _ => {}
        }
    }
    // An environment that is not ready is why its release is not.
    for row in rows.iter().filter(|row| row.kind == "Environment" && wish == Wish::Present) {
        let told = lines.iter().any(|line| line.place == row.data_plane && line.message == row.message);
        if !told && !["Ready", "Progressing"].contains(&row.phase.as_str()) {
            let place = format!("{} (environment)", row.data_plane);
            lines.push(Line { place, phase: row.phase.clone(), message: row.message.clone() });
        }
    }
    let all = done == places.len() && (!places.is_empty() || wish == Wish::Absent);
    Snapshot { lines, end: end.or_else(|| all.then_some(End::Done)) }
}

/// `run`.
pub(super) async fn run(io: &mut Io, global: &Global, ask: Run) -> Result<(), Error> {
    let Run { component, place, wait, args } = ask;
    let session = Session::open(io, global)?;
    let action = Action { args: (!args.is_empty()).then_some(args), ..action(place) };
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
    let path = [path.as_slice(), &[made.id.as_str()]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let result = watch(io, &title, &hint, wait.timeout, async || {
        made = session.client.get(&path, &[]).await?;
        Ok(judge_run(&made, &logs))
    })
    .await;
    let sentence = format!("{name} of {component}: Succeeded. Its lines: {logs}");
    if result.is_ok() || !matches!(global.output, super::args::Format::Table | super::args::Format::Name) {
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
pub(super) async fn run_id(session: &Session, component: &str, text: &str) -> Result<String, Error> {
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
pub(super) async fn cancel(io: &mut Io, global: &Global, component: &str, run: &str) -> Result<(), Error> {
    let session = Session::open(io, global)?;
    let run = run_id(&session, component, run).await?;
    session.client.post_only(&session.in_project(&["components", component, "runs", &run, "cancel"])?).await?;
    let name = format!("run/{run}");
    let sentence = format!("{name} of {component} is being cancelled. See: pdpctl get runs {component} {run}");
    output::say(io, global.output, &serde_json::json!({ "name": name, "status": "cancelling" }), &sentence, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(planes: &[(&str, i64)]) -> Deployment {
        Deployment {
            id: 5,
            component: "httpbin".into(),
            environment: "dev".into(),
            track: "v1.0".into(),
            release: Some(3),
            action: "Deploy".into(),
            actor: None,
            reason: None,
            created: String::new(),
            generations: planes.iter().map(|(name, generation)| ((*name).to_owned(), *generation)).collect(),
            new_release: true,
            unchanged: planes.is_empty(),
        }
    }

    fn row(plane: &str, generation: i64, phase: &str) -> ResourceStatus {
        ResourceStatus {
            data_plane: plane.into(),
            connected: true,
            kind: "Release".into(),
            name: "r".into(),
            component: Some("httpbin".into()),
            track: Some("v1.0".into()),
            environment: Some("dev".into()),
            release: Some(3),
            desired: "Present".into(),
            generation,
            answer: None,
            state: None,
            facts: Vec::new(),
            phase: phase.into(),
            message: "words".into(),
        }
    }

    fn end(made: &Deployment, wish: Wish, rows: &[ResourceStatus]) -> Option<End> {
        judge(made, wish, rows).end
    }

    #[test]
    fn it_is_done_when_every_data_plane_is() {
        let made = made(&[("a", 7), ("b", 9)]);
        assert_eq!(end(&made, Wish::Present, &[row("a", 7, "Ready"), row("b", 9, "Progressing")]), None);
        assert_eq!(end(&made, Wish::Present, &[row("a", 7, "Ready")]), None);
        assert_eq!(end(&made, Wish::Present, &[row("a", 7, "Ready"), row("b", 9, "Ready")]), Some(End::Done));
    }

    #[test]
    fn ready_at_an_older_generation_is_not_enough() {
        assert_eq!(end(&made(&[("a", 7)]), Wish::Present, &[row("a", 6, "Ready")]), None);
    }

    #[test]
    fn the_same_wish_under_a_newer_generation_counts() {
        assert_eq!(end(&made(&[("a", 7)]), Wish::Present, &[row("a", 8, "Ready")]), Some(End::Done));
    }

    #[test]
    fn another_release_meanwhile_ends_the_waiting() {
        let mut other = row("a", 8, "Ready");
        other.release = Some(4);
        let Some(End::Failed(message, _)) = end(&made(&[("a", 7)]), Wish::Present, &[other]) else {
            panic!("it goes on")
        };
        assert!(message.contains("overtaken"), "{message}");
    }

    #[test]
    fn each_bad_end_is_told_with_its_words() {
        for phase in ["Failed", "Refused", "RolledBack"] {
            let rows = [row("a", 7, "Progressing"), row("b", 9, phase)];
            let Some(End::Failed(message, hint)) = end(&made(&[("a", 7), ("b", 9)]), Wish::Present, &rows) else {
                panic!("{phase} goes on");
            };
            assert!(message.contains(phase) && message.contains("on b\nwords") && !hint.is_empty(), "{message}");
        }
    }

    #[test]
    fn nothing_changed_looks_at_what_is_there() {
        assert_eq!(end(&made(&[]), Wish::Present, &[row("a", 6, "Ready")]), Some(End::Done));
        assert_eq!(end(&made(&[]), Wish::Present, &[]), None);
    }

    #[test]
    fn what_is_gone_is_removed() {
        let mut removed = row("a", 7, "Removing");
        removed.desired = "Absent".into();
        assert_eq!(end(&made(&[("a", 7)]), Wish::Absent, &[removed.clone()]), None);
        removed.phase = "Removed".into();
        assert_eq!(end(&made(&[("a", 7)]), Wish::Absent, &[removed]), Some(End::Done));
        assert_eq!(end(&made(&[("a", 7)]), Wish::Absent, &[]), Some(End::Done));
    }

    #[test]
    fn an_environment_that_is_refused_is_shown() {
        let mut environment = row("a", 1, "Refused");
        environment.kind = "Environment".into();
        environment.component = None;
        environment.message = "the customer's policy forbids it".into();
        let Snapshot { lines, end } = judge(&made(&[("a", 7)]), Wish::Present, &[environment, row("a", 7, "Waiting")]);
        assert_eq!(end, None);
        assert_eq!(lines.last().map(|line| line.place.as_str()), Some("a (environment)"));
    }
}
