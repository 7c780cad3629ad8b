//! `import`: what other formats say about a component, as a component file, and what became of every field.
//!
//! The text becomes a tree by the reader of component files (`forms` knows the formats by their content). What the format does not allow
//! is refused; a file of its own for each part (`endpoints`, `configurations`, `dependencies`, `workload`) proposes the rest to the
//! [`Draft`], which asks the reader of component files and takes back what that refuses. So no rule of component files is repeated here.
//! The [`Ledger`] is made of the leaves of the tree: one that nobody speaks of is refused, never lost.

use control_plane_model::component::{Beside, Component, Foreign, Located};
use control_plane_model::problem::Problem;
use protocol::document::ComponentType;
use serde_json::Value;

pub(crate) mod command;
mod configurations;
mod dependencies;
mod draft;
mod endpoints;
mod find;
mod forms;
mod item;
mod ledger;
mod schema;
mod workload;

#[cfg(test)]
mod tests;

use draft::Draft;
use forms::Form;
use ledger::{Ledger, Row};

/// What to import, and what these formats do not hold.
struct Ask<'a> {
    text: &'a str,
    name: Option<&'a str>,
    image: &'a str,
    component_type: Option<ComponentType>,
    /// Reads what lies beside the file.
    beside: &'a Beside<'a>,
}

/// A file of another format, understood.
struct Import {
    /// None if nothing of it can be a component.
    component: Option<Component>,
    /// Format and version.
    form: String,
    /// What became of every field.
    rows: Vec<Row>,
    /// Why there is no component.
    nothing: Option<Located>,
}

/// Why there is not even a report.
#[derive(Debug)]
enum Stop {
    /// The file cannot be read, or is of no known format.
    File(Vec<Located>),
    /// What flags say, or fail to say.
    Flag { message: String, hint: String },
}

/// One format becomes the other.
fn import(ask: &Ask<'_>) -> Result<Import, Stop> {
    let at_line = |read: &Foreign, problem: Problem| {
        let line = problem.field.as_deref().and_then(|field| read.line(field));
        Stop::File(vec![Located { line, problem }])
    };
    let file = |located| Stop::File(vec![located]);
    // Which words are text depends on the format, so the file is read once more when that is known.
    let first = Foreign::read(ask.text, &schema::any()).map_err(file)?;
    let form = Form::of(first.tree()).map_err(|problem| at_line(&first, problem))?;
    let schema = form.schema();
    let read = Foreign::read(ask.text, &schema).map_err(file)?;
    let version = form.version(read.tree()).map_err(|problem| at_line(&read, problem))?;

    let mut ledger = Ledger::of(&read);
    let mut tree = read.tree().clone();
    for Problem { field, message, hint, code: _ } in read.complaints(&schema) {
        let field = field.unwrap_or_default();
        ledger.refuse(&field, message, hint.unwrap_or_default());
        // What is refused is not there for those who read on; indexes stay as they are.
        if let Some(wrong) = tree.pointer_mut(&field) {
            *wrong = Value::Null;
        }
    }
    let own = form.own_name().and_then(|at| Some((at, tree.pointer(at)?.as_str()?)));
    let name = match (ask.name, own) {
        (Some(flag), Some((at, own))) if flag != own => {
            ledger.default(at, "name", format!("--name {flag} is used in its place"));
            flag
        }
        (Some(flag), None) => flag,
        (Some(_) | None, Some((at, own))) => {
            ledger.map(at, "name", String::new());
            own
        }
        (None, None) => return Err(flag("no name is given, and the file holds none", "give one with --name NAME")),
    };
    let component_type = ask.component_type.unwrap_or_else(|| assumed_type(form, &tree, &mut ledger));
    let mut draft = Draft::new(name, ask.image, component_type);
    form.propose(&tree, &mut ledger, &mut draft);
    let nothing = form
        .nothing(&tree)
        .map(|problem| Located { line: problem.field.as_deref().and_then(|field| read.line(field)), problem });
    let judged = draft.judge(&mut ledger, ask.beside).map_err(|problem| of_flags(problem, ask.name.is_none()))?;
    let component = nothing.is_none().then_some(judged);
    Ok(Import { component, form: version, rows: ledger.rows(), nothing })
}

/// What has endpoints serves; what has none is taken for something that runs all the time.
fn assumed_type(form: Form, tree: &Value, ledger: &mut Ledger) -> ComponentType {
    let serves = tree.pointer(form.endpoints()).and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let (component_type, why) = if serves {
        (ComponentType::Service, "Service is assumed, since there are endpoints; --type says otherwise")
    } else {
        let why = "Worker is assumed, since there are no endpoints; --type ManualTask if it ends by itself";
        (ComponentType::Worker, why)
    };
    ledger.default("/--type", "type", why.to_owned());
    component_type
}

fn flag(message: impl Into<String>, hint: impl Into<String>) -> Stop {
    Stop::Flag { message: message.into(), hint: hint.into() }
}

/// A rule that is broken by what does not come from the lists of the file.
fn of_flags(problem: Problem, own_name: bool) -> Stop {
    let Problem { field, message, hint, code: _ } = &problem;
    let hint = hint.as_deref().unwrap_or_default();
    match field.as_deref() {
        Some("/name") if own_name => {
            flag(format!("the name in the file: {message}"), format!("give another with --name; {hint}"))
        }
        Some(field @ ("/name" | "/image" | "/type")) => {
            flag(format!("--{}: {message}", field.trim_start_matches('/')), hint)
        }
        Some(_) | None => Stop::File(vec![problem.into()]),
    }
}
