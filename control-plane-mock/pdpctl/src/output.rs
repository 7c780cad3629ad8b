//! The four forms of output.

use clap::ValueEnum;
use protocol::text::steers;
use serde::Serialize;

use super::error::Error;
use super::io::Io;
use super::table::Table;

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// A list, or the one thing that was named
    Json,
    /// The same as YAML
    Yaml,
    /// KIND/NAME, one a line
    Name,
}

/// Prints `value`, its table, or its names.
///
/// # Errors
/// `Pipe` when nobody reads any more.
pub(super) fn print(
    io: &mut Io,
    format: Format,
    value: &impl Serialize,
    table: &Table,
    names: &[String],
) -> Result<(), Error> {
    let text = match format {
        Format::Table => table.render(io.out_width.columns()),
        Format::Json | Format::Yaml => structured(format, value)?,
        Format::Name => names.iter().map(|name| format!("{name}\n")).collect(),
    };
    io.print(&text)
}

/// Prints `value`, a sentence, or a name.
///
/// # Errors
/// `Pipe` when nobody reads any more.
pub(super) fn say(
    io: &mut Io,
    format: Format,
    value: &impl Serialize,
    sentence: &str,
    name: &str,
) -> Result<(), Error> {
    let text = match format {
        Format::Table => format!("{sentence}\n"),
        Format::Json | Format::Yaml => structured(format, value)?,
        Format::Name => format!("{name}\n"),
    };
    io.print(&text)
}

/// `value` as JSON or YAML, with nothing in it that would steer a terminal.
///
/// # Errors
/// It cannot be written so.
pub(super) fn structured(format: Format, value: &impl Serialize) -> Result<String, Error> {
    let failed = |error: String| Error::Pipe(std::io::Error::other(error));
    let json = serde_json::to_string_pretty(value).map_err(|error| failed(error.to_string()))?;
    // JSON is YAML as well, and has an escape for every character.
    if format == Format::Yaml && !json.chars().any(is_escaped) {
        // By way of JSON, so that both forms hold the same.
        let value = serde_json::to_value(value).map_err(|error| failed(error.to_string()))?;
        let text = serde_saphyr::to_string(&value).map_err(|error| failed(error.to_string()))?;
        return Ok(if text.ends_with('\n') { text } else { format!("{text}\n") });
    }
    let escape = |c: char| if is_escaped(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Ok(json.chars().map(escape).chain(["\n".to_owned()]).collect())
}

/// Whether a character of JSON, which only strings have, would steer a terminal. Lines end outside of strings.
pub(super) fn is_escaped(c: char) -> bool {
    steers(c) && c != '\n'
}
