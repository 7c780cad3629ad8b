//! create, get and delete: organizations, projects, environments, data planes, tokens, components, releases, runs.

use std::time::Duration;

use control_plane_model::problem::{Code, check_handle};
use control_plane_model::{
    AccessToken, AccessTokenRow, ComponentRow, DataPlane, Enrolment, Environment, Named, NewAccessToken, NewComponent,
    NewEnvironment, NewNamed, Release, ResourceStatus, TaskRun,
};
use protocol::document::Quota;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::{Create, Delete, Get, Global, New, Wait};
use super::context::Session;
use super::output::Format;
use super::views::{OrganizationRow, ProjectRow, View, table};
use super::wait::{End, Line, Snapshot, watch};
use super::{Error, Io, output, rollout, runs};

/// `create KIND`.
pub(super) async fn create(io: &mut Io, global: &Global, kind: Create) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let form = global.output;
    match kind {
        Create::Organization(new) => {
            let made: Named = session.client.post(&["organizations"], &named(new)?).await?;
            made_one(io, form, "organization", &made.name, &made)
        }
        Create::Project(new) => {
            let made: Named = session.client.post(&session.in_organization(&["projects"])?, &named(new)?).await?;
            made_one(io, form, "project", &made.name, &made)
        }
        Create::Environment { name, data_planes, position, egress, quota_cpu, quota_memory, quota_pods } => {
            check_handle("name", &name)?;
            let any = quota_cpu.is_some() || quota_memory.is_some() || quota_pods.is_some();
            let quota = any.then_some(Quota { cpu: quota_cpu, memory: quota_memory, pods: quota_pods });
            let new = NewEnvironment { name, data_planes, position, egress, quota };
            let made: Environment = session.client.post(&session.in_project(&["environments"])?, &new).await?;
            made_one(io, form, "environment", &made.name, &made)
        }
        Create::DataPlane(new) => {
            let made: Enrolment =
                session.client.post(&session.in_organization(&["data-planes"])?, &named(new)?).await?;
            enrolment(io, form, &made, "created")
        }
        Create::Enrolment { name } => {
            let path = session.in_organization(&["data-planes", &name, "enrolment"])?;
            let made: Enrolment = session.client.post(&path, &serde_json::json!({})).await?;
            enrolment(io, form, &made, "has a new enrolment token")
        }
        Create::Token { name, expires } => {
            check_handle("name", &name)?;
            let new = NewAccessToken { name, expires_in_seconds: Some(expires) };
            let made: AccessToken = session.client.post(&session.in_organization(&["tokens"])?, &new).await?;
            let AccessToken { name, token, expires } = &made;
            let sentence = format!("token/{name} created; it ends at {expires} and is not shown again:\n\n{token}");
            output::say(io, form, &made, &sentence, &format!("token/{name}"))
        }
        Create::Component { new, component_type } => {
            let NewNamed { name, display_name } = named(new)?;
            let new = NewComponent { name, component_type, display_name };
            let made: ComponentRow = session.client.post(&session.in_project(&["components"])?, &new).await?;
            made_one(io, form, "component", &made.name, &made)
        }
        Create::Release { file } => {
            let component = rollout::component_file(&file)?;
            let path = session.in_project(&["components", &component.name, "releases"])?;
            let made: Release = session.client.post(&path, &component).await?;
            let name = format!("{}/{}/{}", made.component, made.track, made.number);
            made_one(io, form, "release", &name, &made)
        }
    }
}

fn named(New { name, display_name }: New) -> Result<NewNamed, Error> {
    check_handle("name", &name)?;
    Ok(NewNamed { name, display_name })
}

fn made_one(io: &mut Io, form: Format, kind: &str, name: &str, value: &impl Serialize) -> Result<(), Error> {
    let name = format!("{kind}/{name}");
    output::say(io, form, value, &format!("{name} created"), &name)
}

/// An enrolment token is shown here alone, and an access token where it is made: it is what was asked for.
fn enrolment(io: &mut Io, form: Format, made: &Enrolment, what: &str) -> Result<(), Error> {
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

/// `get KIND [NAME…]`.
pub(super) async fn get(io: &mut Io, global: &Global, kind: Get) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let form = global.output;
    match kind {
        Get::Organizations { names } => {
            show::<Named, _>(io, form, &session, &["organizations"], &names, OrganizationRow).await
        }
        Get::Projects { names } => {
            let path = session.in_organization(&["projects"])?;
            show::<Named, _>(io, form, &session, &path, &names, ProjectRow).await
        }
        Get::Environments { names } => {
            let path = session.in_project(&["environments"])?;
            show::<Environment, _>(io, form, &session, &path, &names, std::convert::identity).await
        }
        Get::DataPlanes { names } => {
            let path = session.in_organization(&["data-planes"])?;
            show::<DataPlane, _>(io, form, &session, &path, &names, std::convert::identity).await
        }
        Get::Tokens { names } => {
            let path = session.in_organization(&["tokens"])?;
            show::<AccessTokenRow, _>(io, form, &session, &path, &names, std::convert::identity).await
        }
        Get::Components { names } => {
            let path = session.in_project(&["components"])?;
            show::<ComponentRow, _>(io, form, &session, &path, &names, std::convert::identity).await
        }
        Get::Releases { component, numbers, track } => {
            let path = session.in_project(&["components", &component, "releases"])?;
            let query: Vec<_> = track.into_iter().map(|track| ("track", track)).collect();
            if numbers.is_empty() {
                let rows: Vec<Release> = session.client.get(&path, &query).await?;
                return rows_of(io, form, &rows);
            }
            let mut rows = Vec::new();
            for number in &numbers {
                let number = number.to_string();
                let path = [path.as_slice(), &[number.as_str()]].concat();
                rows.push(session.client.get::<Release>(&path, &query).await?);
            }
            one_or_rows(io, form, &rows)
        }
        Get::Runs { component, ids, environment } => {
            let path = session.in_project(&["components", &component, "runs"])?;
            if ids.is_empty() {
                let query: Vec<_> = environment.into_iter().map(|name| ("environment", name)).collect();
                let rows: Vec<TaskRun> = session.client.get(&path, &query).await?;
                return rows_of(io, form, &rows);
            }
            let mut whole = Vec::new();
            for id in &ids {
                whole.push(runs::run_id(&session, &component, id).await?);
            }
            show::<TaskRun, _>(io, form, &session, &path, &whole, std::convert::identity).await
        }
    }
}

async fn show<T: DeserializeOwned, V: View>(
    io: &mut Io,
    form: Format,
    session: &Session,
    path: &[&str],
    names: &[String],
    view: fn(T) -> V,
) -> Result<(), Error> {
    if names.is_empty() {
        let rows: Vec<T> = session.client.get(path, &[]).await?;
        let rows: Vec<V> = rows.into_iter().map(view).collect();
        return rows_of(io, form, &rows);
    }
    let mut rows = Vec::new();
    for name in names {
        rows.push(view(session.client.get(&[path, &[name.as_str()]].concat(), &[]).await?));
    }
    one_or_rows(io, form, &rows)
}

/// Prints a list.
pub(super) fn rows_of<V: View>(io: &mut Io, form: Format, rows: &[V]) -> Result<(), Error> {
    if rows.is_empty() && form == Format::Table {
        io.complain("Nothing found.");
        return Ok(());
    }
    let names: Vec<String> = rows.iter().map(View::named).collect();
    output::print(io, form, &rows, &table(rows, (io.now)()), &names)
}

/// Prints the one thing that was named, or a list when several were.
fn one_or_rows<V: View>(io: &mut Io, form: Format, rows: &[V]) -> Result<(), Error> {
    match rows {
        [one] => output::print(io, form, one, &table(rows, (io.now)()), &[one.named()]),
        many => rows_of(io, form, many),
    }
}

/// `delete KIND NAME…`.
pub(super) async fn delete(io: &mut Io, global: &Global, kind: Delete) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let form = global.output;
    match kind {
        Delete::Organization { names } => gone(io, form, &session, "organization", &["organizations"], &names).await,
        Delete::Project { names } => {
            gone(io, form, &session, "project", &session.in_organization(&["projects"])?, &names).await
        }
        Delete::DataPlane { names } => {
            gone(io, form, &session, "data-plane", &session.in_organization(&["data-planes"])?, &names).await
        }
        Delete::Token { names } => {
            gone(io, form, &session, "token", &session.in_organization(&["tokens"])?, &names).await
        }
        Delete::Component { names } => {
            gone(io, form, &session, "component", &session.in_project(&["components"])?, &names).await
        }
        Delete::Release { component, numbers, track } => {
            let path = session.in_project(&["components", &component, "releases"])?;
            for number in numbers.iter().map(i64::to_string) {
                let path = [path.as_slice(), &[number.as_str()]].concat();
                session.client.delete(&path, &[("track", track.clone())]).await?;
                said_gone(io, form, &format!("release/{component}/{track}/{number}"), "deleted")?;
            }
            Ok(())
        }
        Delete::Environment { names, yes, wait } => environments(io, &session, form, &names, yes, &wait).await,
    }
}

async fn gone(
    io: &mut Io,
    form: Format,
    session: &Session,
    kind: &str,
    path: &[&str],
    names: &[String],
) -> Result<(), Error> {
    for name in names {
        session.client.delete(&[path, &[name.as_str()]].concat(), &[]).await?;
        said_gone(io, form, &format!("{kind}/{name}"), "deleted")?;
    }
    Ok(())
}

fn said_gone(io: &mut Io, form: Format, name: &str, word: &str) -> Result<(), Error> {
    output::say(io, form, &serde_json::json!({ "name": name, "status": word }), &format!("{name} {word}"), name)
}

async fn environments(
    io: &mut Io,
    session: &Session,
    form: Format,
    names: &[String],
    yes: bool,
    wait: &Wait,
) -> Result<(), Error> {
    for name in names {
        let path = session.in_project(&["environments", name])?;
        let question =
            format!("Delete environment {name} of project {} with everything that runs in it?", session.project()?);
        agreed(io, yes, &question, || format!("environment {name} stays"))?;
        session.client.delete(&path, &[]).await?;
        if wait.wait {
            await_removal(io, session, name, wait.timeout).await?;
            said_gone(io, form, &format!("environment/{name}"), "deleted")?;
        } else {
            said_gone(io, form, &format!("environment/{name}"), "is being deleted")?;
        }
    }
    Ok(())
}

/// Asks a person before what cannot be taken back; a script has said what it wants.
fn agreed(io: &mut Io, yes: bool, question: &str, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if yes || !io.interactive || io.confirm(question) { Ok(()) } else { Err(Error::Interrupted(otherwise())) }
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
            // It went between the two questions.
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

/// `revoke DATA_PLANE`.
pub(super) async fn revoke(io: &mut Io, global: &Global, name: &str, yes: bool) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    let question =
        format!("Take the access of data plane {name} away for good? It must be enrolled again with a new token.");
    agreed(io, yes, &question, || format!("data plane {name} keeps its access"))?;
    session.client.post_only(&session.in_organization(&["data-planes", name, "revoke"])?).await?;
    said_gone(io, global.output, &format!("data-plane/{name}"), "revoked")
}

/// `adopt DATA_PLANE`.
pub(super) async fn adopt(io: &mut Io, global: &Global, name: &str) -> Result<(), Error> {
    let session = Session::open(io, &global.chosen())?;
    session.client.post_only(&session.in_organization(&["data-planes", name, "adopt"])?).await?;
    said_gone(io, global.output, &format!("data-plane/{name}"), "adopted")
}
