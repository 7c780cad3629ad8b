//! Which file of a folder is imported.

use std::path::Path;

use control_plane_model::component::{Foreign, decoded};

use super::forms::{Form, is_own};
use super::schema;
use crate::error::Error;
use crate::io::within;

/// Where Choreo has its files, below the component's folder.
const PLACE: &str = ".choreo";

/// A file to import.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path below the folder.
    pub(super) name: String,
    pub(super) text: String,
    /// Further files of these formats, which are not read, each with the reason.
    pub(super) others: Vec<(String, &'static str)>,
}

/// The file that was chosen, or the one of the newest format.
///
/// # Errors
/// `Usage` when there is none, `File` when it cannot be read.
pub(super) fn find(folder: &Path, chosen: Option<&str>) -> Result<Found, Error> {
    if folder.is_file() {
        let message = format!("{} is a file, and a folder is expected", folder.display());
        return Err(Error::usage(message, "name the component's folder, and the file in it by --file"));
    }
    // A folder that is not there is told as such.
    folder.read_dir().map_err(|source| Error::Access { what: "read", path: folder.to_owned(), source })?;
    let is_there = |name: &String| folder.join(name).symlink_metadata().is_ok();
    let all: Vec<String> = Form::ALL
        .into_iter()
        .flat_map(|form| [format!("{PLACE}/{}", form.file_name()), form.file_name().to_owned()])
        .filter(is_there)
        .collect();
    if let Some(chosen) = chosen {
        let below = format!("{PLACE}/{chosen}");
        let name = if !is_there(&chosen.to_owned()) && is_there(&below) { below } else { chosen.to_owned() };
        let text = read(folder, &name)?;
        let others = all.into_iter().filter(|other| *other != name).map(|other| (other, "another was chosen"));
        return Ok(Found { text, others: others.collect(), name });
    }
    let (mut others, mut found) = (Vec::new(), None);
    for name in all {
        if found.is_some() {
            others.push((name, "an older form, or the same in another place"));
            continue;
        }
        let text = read(folder, &name)?;
        // What an earlier import has written may lie beside its source.
        let is_own = Foreign::read(&text, &schema::any()).is_ok_and(|file| is_own(file.tree()));
        if is_own {
            others.push((name, "a component file already"));
        } else {
            found = Some((name, text));
        }
    }
    let Some((name, text)) = found else { return Err(none(folder, &others)) };
    Ok(Found { name, text, others })
}

fn none(folder: &Path, own: &[(String, &'static str)]) -> Error {
    let names = Form::ALL.map(Form::file_name).join(", ");
    let message = format!("nothing to import in {}: there is none of {names}, nor in {PLACE}", folder.display());
    match own.first() {
        Some((name, _)) => {
            let path = folder.join(name);
            let hint = format!("deploy it: pdpctl deploy -f {} --environment NAME", path.display());
            Error::usage(format!("nothing to import: {} is a component file already", path.display()), hint)
        }
        None => Error::usage(message, "name the component's folder, and a file of another name by --file"),
    }
}

fn read(folder: &Path, name: &str) -> Result<String, Error> {
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        let message = format!("{name} does not lie in {}", folder.display());
        return Err(Error::usage(message, "name a file of that folder, or name its own folder"));
    }
    let bytes = within(folder, name).map_err(|why| Error::usage(why, ""))?;
    let text = decoded(bytes)
        .map_err(|problem| Error::File { path: folder.join(name).display().to_string(), problems: vec![problem] })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
