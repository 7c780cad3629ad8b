//! What an object of the catalog says of itself, and what follows for all of them: get and delete by names, completion, sentences.

use std::fmt::Debug;
use std::marker::PhantomData;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use control_plane_model::{Named, NewNamed};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::age::since;
use crate::error::Error;
use crate::io::Io;
use crate::names;
use crate::output::{self, Format};
use crate::session::Session;
use crate::views::{View, one_or_rows, or_dash, rows_of};

/// What the help says of a command, and the other names of the command.
pub(crate) type Help = (&'static str, &'static [&'static str]);

/// An object that has a name, as the control plane shows it.
pub(crate) trait Kind: View + DeserializeOwned + Debug + 'static {
    /// KIND of KIND/NAME.
    const KIND: &'static str;
    /// What the help says of `get KIND`, and the kind's other names there.
    const GET: Help;
    /// The same for `delete KIND`.
    const DELETE: Help;

    /// Where they are listed.
    ///
    /// # Errors
    /// `Usage` without the organization or project that they lie in.
    fn path(session: &Session) -> Result<Vec<&str>, Error>;
}

/// Completes to the names that there are.
pub(crate) fn names_of<K: Kind>() -> ArgValueCandidates {
    ArgValueCandidates::new(|| names::of(K::path))
}

#[derive(Debug, Args)]
#[command(about = K::GET.0, visible_aliases = K::GET.1)]
pub(crate) struct GetNamed<K: Kind> {
    /// Names; all when left out
    #[arg(add = names_of::<K>())]
    names: Vec<String>,
    #[arg(skip)]
    kind: PhantomData<K>,
}

impl<K: Kind> GetNamed<K> {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        show::<K>(io, form, session, &K::path(session)?, &self.names, &[]).await
    }
}

#[derive(Debug, Args)]
#[command(about = K::DELETE.0, visible_aliases = K::DELETE.1)]
pub(crate) struct DeleteNamed<K: Kind> {
    /// Names
    #[arg(required = true, add = names_of::<K>())]
    pub(super) names: Vec<String>,
    #[arg(skip)]
    kind: PhantomData<K>,
}

impl<K: Kind> DeleteNamed<K> {
    pub(super) async fn run(self, io: &mut Io, form: Format, session: &Session) -> Result<(), Error> {
        let path = K::path(session)?;
        for name in &self.names {
            session.client.delete(&[path.as_slice(), &[name]].concat(), &[]).await?;
            now_is(io, form, &format!("{}/{name}", K::KIND), "deleted")?;
        }
        Ok(())
    }
}

// No doc comment here: clap would use it as the help of every command that takes these arguments.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Name: lower-case letters, digits, dashes
    name: String,
    /// Name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
}

impl New {
    /// The request, with its name checked.
    ///
    /// # Errors
    /// A name that it would refuse.
    pub(super) fn checked(self) -> Result<NewNamed, Error> {
        let Self { name, display_name } = self;
        let new = NewNamed { name, display_name };
        new.check()?;
        Ok(new)
    }
}

/// Shows those that are named, or all below `path`.
pub(super) async fn show<V: View + DeserializeOwned>(
    io: &mut Io,
    form: Format,
    session: &Session,
    path: &[&str],
    names: &[String],
    query: &[(&str, String)],
) -> Result<(), Error> {
    if names.is_empty() {
        return rows_of(io, form, &session.client.get::<Vec<V>>(path, query).await?);
    }
    let mut rows = Vec::new();
    for name in names {
        rows.push(session.client.get::<V>(&[path, &[name.as_str()]].concat(), query).await?);
    }
    one_or_rows(io, form, &rows)
}

/// Says that `made` was.
pub(super) fn created(io: &mut Io, form: Format, made: &impl View) -> Result<(), Error> {
    let name = made.named();
    output::say(io, form, made, &format!("{name} created"), &name)
}

/// Says what became of `name`.
pub(super) fn now_is(io: &mut Io, form: Format, name: &str, word: &str) -> Result<(), Error> {
    output::say(io, form, &serde_json::json!({ "name": name, "status": word }), &format!("{name} {word}"), name)
}

/// Asks for confirmation of what cannot be undone, unless `yes` is given or nobody is there to answer.
pub(super) fn agreed(io: &mut Io, yes: bool, question: &str, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if yes || !io.interactive || io.confirm(question) { Ok(()) } else { Err(Error::Interrupted(otherwise())) }
}

/// Headings of what has names and nothing more.
pub(super) const NAMED: &[&str] = &["NAME", "AGE", "DISPLAY NAME"];

/// Its cells.
pub(super) fn named_cells(Named { name, display_name, created }: &Named, now: Timestamp) -> Vec<String> {
    vec![name.clone(), since(created, now), or_dash(display_name.as_deref())]
}
