//! Commands that make, show and change contexts.

use control_plane_model::Named;
use serde::Serialize;

use super::args::{ContextCommand, Global, Login};
use super::client::Client;
use super::error::Error;
use super::io::Io;
use super::output;
use super::session::{Context, File, load, location, no_context, read_ca, read_token, save};
use super::table::Table;

/// Checks server, CA and token by using them, then keeps them.
pub(super) async fn login(io: &mut Io, global: &Global, ask: Login) -> Result<(), Error> {
    location(io)?;
    let (path, mut file) = load(io)?;
    let ca_bundle = ask.ca_file.as_deref().map(read_ca).transpose()?;
    let token = read_token(&ask.token_file)?;
    let client = Client::new(&ask.server, ca_bundle.as_deref(), Some(token.clone()))?;
    let version = client.version().await?;
    let organizations: Vec<Named> = client.get(&["organizations"], &[]).await?;
    let only = |all: &[Named]| match all {
        [one] => Some(one.name.clone()),
        _ => None,
    };
    let organization = global.organization.clone().or_else(|| only(&organizations));
    let mut project = global.project.clone();
    if let (None, Some(organization)) = (&project, &organization) {
        let projects: Vec<Named> = client.get(&["organizations", organization, "projects"], &[]).await?;
        project = only(&projects);
    }
    let server = client.server();
    let name = ask.name.or_else(|| global.context.clone()).unwrap_or_else(|| client.host());
    let chosen = [("organization", &organization), ("project", &project)];
    let words: Vec<String> =
        chosen.iter().filter_map(|(what, name)| name.as_ref().map(|name| format!(", {what} {name}"))).collect();
    let sentence = format!("Logged in to {server} (control plane {version}); context {name}{}.\n", words.concat());
    file.contexts.insert(name.clone(), Context { server, ca_bundle, token, organization, project });
    file.current_context = Some(name);
    save(&path, &file)?;
    io.print(&sentence)
}

/// Row of `context list`: no token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    current: bool,
    name: &'a str,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
}

/// `context list|use|set|delete`.
pub(super) fn command(io: &mut Io, global: &Global, command: ContextCommand) -> Result<(), Error> {
    location(io)?;
    let (path, mut file) = load(io)?;
    match command {
        ContextCommand::List => {
            let shown: Vec<Shown<'_>> =
                file.contexts.iter().map(|(name, context)| show(&file, name, context)).collect();
            let mut table = Table::new(&["CURRENT", "NAME", "SERVER", "ORGANIZATION", "PROJECT"]);
            for Shown { current, name, server, organization, project } in &shown {
                let star = if *current { "*" } else { "" };
                table.row(
                    [star, name, server, organization.unwrap_or("-"), project.unwrap_or("-")]
                        .map(str::to_owned)
                        .to_vec(),
                );
            }
            let names: Vec<String> = shown.iter().map(|row| format!("context/{}", row.name)).collect();
            output::print(io, global.output, &shown, &table, &names)
        }
        ContextCommand::Use { name } => {
            if !file.contexts.contains_key(&name) {
                return Err(no_context(&name, &file));
            }
            file.current_context = Some(name.clone());
            save(&path, &file)?;
            io.print(&format!("Context {name} is the current one.\n"))
        }
        ContextCommand::Set { name } => {
            if global.organization.is_none() && global.project.is_none() {
                return Err(Error::usage("nothing to set", "give --organization NAME, --project NAME, or both"));
            }
            let name = name.or_else(|| global.context.clone()).or_else(|| file.current_context.clone());
            let name = name.ok_or_else(|| no_context("that is current", &file))?;
            let Some(context) = file.contexts.get_mut(&name) else { return Err(no_context(&name, &file)) };
            if let Some(organization) = &global.organization {
                if context.organization.as_ref() != Some(organization) {
                    context.project = None;
                }
                context.organization = Some(organization.clone());
            }
            if let Some(project) = &global.project {
                context.project = Some(project.clone());
            }
            let word = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".into());
            let sentence = format!(
                "Context {name}: organization {}, project {}.\n",
                word(&context.organization),
                word(&context.project)
            );
            save(&path, &file)?;
            io.print(&sentence)
        }
        ContextCommand::Ca { name } => {
            let name = name.or_else(|| global.context.clone()).or_else(|| file.current_context.clone());
            let name = name.ok_or_else(|| no_context("that is current", &file))?;
            let Some(context) = file.contexts.get(&name) else { return Err(no_context(&name, &file)) };
            let pem =
                context.ca_bundle.clone().ok_or_else(|| Error::usage(format!("context {name} holds no CA"), ""))?;
            io.print(&pem)
        }
        ContextCommand::Delete { name } => {
            if file.contexts.remove(&name).is_none() {
                return Err(no_context(&name, &file));
            }
            if file.current_context.as_ref() == Some(&name) {
                file.current_context = None;
            }
            save(&path, &file)?;
            io.print(&format!("Context {name} and its token are gone.\n"))
        }
    }
}

fn show<'a>(file: &File, name: &'a str, context: &'a Context) -> Shown<'a> {
    Shown {
        current: file.current_context.as_deref() == Some(name),
        name,
        server: &context.server,
        organization: context.organization.as_deref(),
        project: context.project.as_deref(),
    }
}
