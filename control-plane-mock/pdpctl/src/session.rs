//! The session of one command: which server, whose token, which organization and project; and the contexts that keep them in one file, mode 0600.
//!
//! Strongest first: a flag, an environment variable, the context. The file is replaced as a whole, by a rename.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use control_plane_model::component::yaml_words;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::error::Error;
use super::io::{Io, text_of};

/// All contexts.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current_context: Option<String>,
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

/// One server and what is meant there. Not printable: it holds the token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Context {
    pub(super) server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_bundle: Option<String>,
    #[serde(serialize_with = "expose", deserialize_with = "wrap")]
    pub(super) token: SecretString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
}

fn expose<S: serde::Serializer>(token: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(token.expose_secret())
}

fn wrap<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(Into::into)
}

/// What was chosen on the command line; anything else comes from variables or the context.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) context: Option<String>,
    pub(super) organization: Option<String>,
    pub(super) project: Option<String>,
}

/// A server to talk to, and the handles that were chosen.
pub(super) struct Session {
    pub(super) client: Client,
    organization: Option<String>,
    project: Option<String>,
}

impl Session {
    /// From flags, variables and the context.
    ///
    /// # Errors
    /// `Usage` when no server or token is known.
    pub(super) fn open(io: &Io, chosen: &Chosen) -> Result<Self, Error> {
        let (_, mut file) = load(io)?;
        let named = chosen.context.as_deref().or_else(|| io.var("PDPCTL_CONTEXT"));
        let name = named.map(str::to_owned).or_else(|| file.current_context.clone());
        let context = match name {
            Some(name) => match file.contexts.remove(&name) {
                Some(context) => Some(context),
                None if named.is_none() && io.var("PDPCTL_SERVER").is_some() => None,
                None => return Err(no_context(&name, &file)),
            },
            None => None,
        };
        let server = io.var("PDPCTL_SERVER").or(context.as_ref().map(|context| context.server.as_str()));
        let server = server.ok_or_else(|| {
            Error::usage("no control plane is known", "log in: pdpctl login SERVER --token-file FILE --ca-file FILE\nor set PDPCTL_SERVER, PDPCTL_TOKEN_FILE and PDPCTL_CA_FILE")
        })?;
        // What was kept for one server is not shown to another.
        let same = context.as_ref().filter(|context| context.server == server);
        let token = match (io.var("PDPCTL_TOKEN"), io.var("PDPCTL_TOKEN_FILE"), same) {
            (Some(token), _, _) => token.trim().to_owned().into(),
            (None, Some(path), _) => read_token(Path::new(path))?,
            (None, None, Some(context)) => context.token.clone(),
            (None, None, None) => {
                return Err(Error::usage(
                    format!("there is no token for {server}"),
                    "set PDPCTL_TOKEN_FILE, or log in: pdpctl login SERVER --token-file FILE --ca-file FILE",
                ));
            }
        };
        let ca = match io.var("PDPCTL_CA_FILE") {
            Some(path) => Some(read_ca(Path::new(path))?),
            None => same.and_then(|context| context.ca_bundle.clone()),
        };
        let client = Client::new(server, ca.as_deref(), Some(token))?;
        let kept = |of: fn(&Context) -> &Option<String>| same.and_then(|context| of(context).clone());
        let choose = |flag: &Option<String>, variable: &str, kept: Option<String>| {
            flag.clone().or_else(|| io.var(variable).map(str::to_owned)).or(kept)
        };
        let organization = choose(&chosen.organization, "PDPCTL_ORGANIZATION", kept(|context| &context.organization));
        // A kept project belongs to the kept organization.
        let keeps = organization.is_some() && organization == kept(|context| &context.organization);
        let project = choose(&chosen.project, "PDPCTL_PROJECT", kept(|context| &context.project).filter(|_| keeps));
        Ok(Self { client, organization, project })
    }

    /// The organization that was chosen.
    ///
    /// # Errors
    /// `Usage` when none was.
    pub(super) fn organization(&self) -> Result<&str, Error> {
        self.organization.as_deref().ok_or_else(|| not_chosen("organization"))
    }

    /// The project that was chosen.
    ///
    /// # Errors
    /// `Usage` when none was.
    pub(super) fn project(&self) -> Result<&str, Error> {
        self.project.as_deref().ok_or_else(|| not_chosen("project"))
    }

    /// Path of something in the organization.
    ///
    /// # Errors
    /// `Usage` without an organization.
    pub(super) fn in_organization<'a>(&'a self, rest: &[&'a str]) -> Result<Vec<&'a str>, Error> {
        Ok([&["organizations", self.organization()?], rest].concat())
    }

    /// Path of something in the project.
    ///
    /// # Errors
    /// `Usage` without organization and project.
    pub(super) fn in_project<'a>(&'a self, rest: &[&'a str]) -> Result<Vec<&'a str>, Error> {
        Ok([&["organizations", self.organization()?, "projects", self.project()?], rest].concat())
    }
}

fn not_chosen(what: &str) -> Error {
    Error::usage(
        format!("no {what} is chosen"),
        format!(
            "name one with --{what} NAME, or keep one: pdpctl context set --{what} NAME\nsee them: pdpctl get {what}s"
        ),
    )
}

pub(super) fn no_context(name: &str, file: &File) -> Error {
    let known: Vec<&str> = file.contexts.keys().map(String::as_str).collect();
    let hint = if known.is_empty() {
        "log in: pdpctl login SERVER --token-file FILE --ca-file FILE".to_owned()
    } else {
        format!("contexts: {}", known.join(", "))
    };
    Error::usage(format!("there is no context {name}"), hint)
}

pub(super) fn location(io: &Io) -> Result<PathBuf, Error> {
    if let Some(path) = io.var("PDPCTL_CONFIG") {
        return Ok(path.into());
    }
    let base = match (io.var("XDG_CONFIG_HOME"), io.var("HOME")) {
        (Some(base), _) => PathBuf::from(base),
        (None, Some(home)) => Path::new(home).join(".config"),
        (None, None) => {
            return Err(Error::usage("there is no place for contexts", "set HOME, or PDPCTL_CONFIG to a file"));
        }
    };
    Ok(base.join("pdpctl").join("config.yaml"))
}

pub(super) fn load(io: &Io) -> Result<(PathBuf, File), Error> {
    // Where there is no folder for contexts, variables may still provide everything.
    let Ok(path) = location(io) else { return Ok((PathBuf::new(), File::default())) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((path, File::default())),
        Err(source) => return Err(Error::Access { what: "read", path, source }),
    };
    // The parser's own snippet could show the token.
    let file = serde_saphyr::from_str(&text).map_err(|error| {
        let line = error.location().map(|location| format!(":{}", location.line())).unwrap_or_default();
        let sentence = yaml_words(&error).map_or_else(|| error.without_snippet().to_string(), |(sentence, _)| sentence);
        let sentence = sentence.lines().next().unwrap_or("not YAML");
        Error::usage(
            format!("{}{line} cannot be used: {sentence}", path.display()),
            "correct that line, or delete the file and log in again",
        )
    })?;
    Ok((path, file))
}

pub(super) fn save(path: &Path, file: &File) -> Result<(), Error> {
    let failed = |source: std::io::Error| Error::Access { what: "write", path: path.to_owned(), source };
    let text = serde_saphyr::to_string(file).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut new = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        new.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(failed)
}

/// Certificates in PEM; [`Client`] reads them.
pub(super) fn read_ca(path: &Path) -> Result<String, Error> {
    match text_of(path) {
        Ok(text) => Ok(text),
        Err(Error::File { path, problems: _ }) => Err(Error::usage(
            format!("{path} is no text, so it holds no certificate in PEM"),
            "from a file in DER: openssl x509 -inform der -in FILE -out ca.crt",
        )),
        Err(other) => Err(other),
    }
}

pub(super) fn read_token(path: &Path) -> Result<SecretString, Error> {
    let text = text_of(path)?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        let sentence =
            format!("{} holds no token: one word is expected, {} bytes were found", path.display(), text.len());
        return Err(Error::usage(sentence, "write the token into the file, and nothing else"));
    }
    Ok(token.to_owned().into())
}

/// Names of all contexts, for completion.
pub(super) fn context_names(io: &Io) -> Vec<String> {
    load(io).map(|(_, file)| file.contexts.into_keys().collect()).unwrap_or_default()
}
