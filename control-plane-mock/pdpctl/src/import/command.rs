//! The command: one file in, the report to standard error, the component file to standard output or into a file.

use std::io::Write as _;
use std::path::Path;

use control_plane_model::component::{self, Component};
use protocol::document::ComponentType;
use serde::Serialize;

use super::find::{Found, find};
use super::ledger::{Fate, Row, count, table};
use super::{Ask, Import, Stop, import};
use crate::args::{self, Global};
use crate::error::Error;
use crate::io::{Io, within};
use crate::output::{self, Format};

/// The whole of it, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    file: &'a str,
    form: &'a str,
    not_read: Vec<&'a str>,
    mapped: usize,
    defaulted: usize,
    refused: usize,
    fields: &'a [Row],
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a Component>,
}

/// `import DIR`.
///
/// # Errors
/// `Failed` when a field was refused, though the component file is written; `File` and `Usage` when it is not.
pub(crate) fn run(io: &mut Io, global: &Global, ask: &args::Import) -> Result<(), Error> {
    let args::Import { folder, name, image, component_type, file, write, force } = ask;
    if let Some(path) = write.as_deref().filter(|path| !force && path.symlink_metadata().is_ok()) {
        return Err(exists(path));
    }
    let Found { name: found, text, others } = find(folder, file.as_deref())?;
    let path = folder.join(&found);
    let shown = path.display().to_string();
    let own_folder = path.parent().unwrap_or(folder);
    let beside = |name: &str| within(own_folder, name);
    let component_type = component_type.as_deref().and_then(ComponentType::named);
    let ask = Ask { text: &text, name: name.as_deref(), image, component_type, beside: &beside };
    let Import { component, form, rows, nothing } = import(&ask).map_err(|stop| match stop {
        Stop::File(problems) => Error::File { path: shown.clone(), problems },
        Stop::Flag { message, hint } => Error::Usage { message, hint },
    })?;

    let [mapped, defaulted, refused] = [Fate::Mapped, Fate::Defaulted, Fate::Refused].map(|fate| count(&rows, fate));
    let is_structured = matches!(global.output, Format::Json | Format::Yaml);
    if !is_structured {
        let mut head = format!("{shown}, read as {form}: {mapped} mapped, {defaulted} defaulted, {refused} refused\n");
        for (other, why) in &others {
            head.push_str(&format!("not read: {} ({why}; --file chooses)\n", folder.join(other).display()));
        }
        io.complain(&format!("{head}{}", table(&rows).render(io.err_width.columns())));
    }
    let content = component.as_ref().map(text_of).transpose()?;
    if let (Some(path), Some(content)) = (write, &content) {
        put(path, content, *force)?;
    }
    let report = Report {
        file: &shown,
        form: &form,
        not_read: others.iter().map(|(name, _)| name.as_str()).collect(),
        mapped,
        defaulted,
        refused,
        fields: &rows,
        component: component.as_ref(),
    };
    match (global.output, &component, &content, write) {
        (Format::Json | Format::Yaml, _, _, _) => output::say(io, global.output, &report, "", "")?,
        (Format::Name, Some(component), _, _) => io.print(&format!("component/{}\n", component.name))?,
        (Format::Table, Some(component), Some(_), Some(path)) => {
            io.print(&format!("component/{} written to {}\n", component.name, path.display()))?;
        }
        (Format::Table, _, Some(content), None) => io.print(content)?,
        (Format::Table | Format::Name, _, _, _) => {}
    }
    match (nothing, refused) {
        (Some(nothing), _) => Err(Error::File { path: shown, problems: vec![nothing] }),
        (None, 0) => Ok(()),
        (None, 1) => Err(failed(&format!("1 field of {shown} was refused"), "it")),
        (None, refused) => Err(failed(&format!("{refused} fields of {shown} were refused"), "them")),
    }
}

fn failed(what: &str, without: &str) -> Error {
    Error::Failed {
        message: format!("{what}; the component file is made without {without}"),
        hint: "the report says of each why, and what to do by hand".to_owned(),
    }
}

/// The component as a file for people. It says the same when it is read again.
pub(super) fn text_of(component: &Component) -> Result<String, Error> {
    // An image by digest stays on its line.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 1024 };
    let yaml = serde_saphyr::to_string_with_options(component, options).unwrap_or_default();
    let is_same = component::from_yaml(&yaml).is_ok_and(|again| again == *component);
    // What YAML would need escapes for goes as JSON, which is YAML as well and has one for every character.
    if is_same && !yaml.chars().any(|c| c != '\t' && output::is_escaped(c)) {
        Ok(yaml)
    } else {
        output::structured(Format::Json, component)
    }
}

fn put(path: &Path, content: &str, force: bool) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    let options = if force { options.create(true).truncate(true) } else { options.create_new(true) };
    let written = options.write(true).open(path).and_then(|mut file| file.write_all(content.as_bytes()));
    written.map_err(|source| match source.kind() == std::io::ErrorKind::AlreadyExists {
        true => exists(path),
        false => Error::Access { what: "write", path: path.to_owned(), source },
    })
}

fn exists(path: &Path) -> Error {
    Error::usage(format!("{} exists, and nothing was written", path.display()), "--force replaces it")
}
