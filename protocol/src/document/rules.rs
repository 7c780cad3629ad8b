//! Rules that a schema cannot say: those that span fields, and those that came after documents were stored.
//!
//! Each rule is here once. Whoever accepts a new document checks all of them (`pdpctl`, the control plane, the link). The operator,
//! which finds documents stored by an older version, checks those that are [`Weight::Always`]: what breaks one of them could never
//! have worked, so that an upgrade stops nothing that runs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex_lite::Regex;

use super::breach::{Breach, Weight};
use super::{
    ComponentType, ConfigFile, DataPlaneSpec, Endpoint, EnvVar, EnvironmentSpec, Medium, ReleaseSpec, Resources,
    SecretRef, Shape, TaskRunSpec, Visibility, Volume, pattern,
};
use crate::quantity::Quantity;
use crate::text::steers;

/// Longest name of a variable: it is a key of a ConfigMap or Secret.
const MAX_VARIABLE: usize = 253;

/// Longest name for people, in characters, as in the schema.
const MAX_DISPLAY_NAME: usize = 256;

/// Most files, as in the schema.
const MAX_FILES: usize = 64;

/// Least limit of memory: below it no container starts, and the unit was forgotten.
const LEAST_MEMORY: &str = "1Mi";

/// Everything that is wrong with a release beyond its schema. Fields that a Present release needs are asked for elsewhere.
#[must_use]
pub fn of_release(spec: &ReleaseSpec) -> Vec<Breach> {
    let mut found = Found(Vec::new());
    if let Some(image) = &spec.image {
        found.image(image);
    }
    found.words("/command", spec.command.as_deref());
    found.words("/args", spec.args.as_deref());
    found.env(spec.env.as_deref().unwrap_or_default());
    found.files(spec.files.as_deref().unwrap_or_default());
    found.endpoints(spec.endpoints.as_deref().unwrap_or_default());
    if let Some(resources) = &spec.resources {
        found.resources(resources);
    }
    found.volumes(spec);
    found.belongs(spec);
    found.0
}

/// Everything that is wrong with an environment beyond its schema. What a Present one needs is asked for elsewhere.
#[must_use]
pub fn of_environment(spec: &EnvironmentSpec) -> Vec<Breach> {
    let mut found = Found(Vec::new());
    if let Some(memory) = spec.quota.as_ref().and_then(|quota| quota.memory.as_deref()) {
        found.memory("/quota/memory".to_owned(), memory, true);
    }
    found.0
}

/// Everything that is wrong with a run beyond its schema.
#[must_use]
pub fn of_task_run(spec: &TaskRunSpec) -> Vec<Breach> {
    let mut found = Found(Vec::new());
    found.words("/args", spec.args.as_deref());
    found.0
}

/// Everything that is wrong with the settings of an installation beyond their schema.
#[must_use]
pub fn of_data_plane(spec: &DataPlaneSpec) -> Vec<Breach> {
    spec.display_name.as_deref().and_then(of_display_name).into_iter().collect()
}

/// Why a name for people cannot be one: it is too long, or whatever shows it would be steered by it.
#[must_use]
pub fn of_display_name(name: &str) -> Option<Breach> {
    let length = name.chars().count();
    let (what, fix) = if length > MAX_DISPLAY_NAME {
        (format!("has {length} characters, {MAX_DISPLAY_NAME} are allowed"), "shorten it")
    } else if name.chars().any(steers) {
        let what = "has a control character, or one that changes the direction of writing";
        (what.to_owned(), "write it in letters, digits, spaces and punctuation")
    } else {
        return None;
    };
    Some(Breach::new("/displayName", what, fix))
}

struct Found(Vec<Breach>);

impl Found {
    /// Adds a breach of a rule for stored documents too, since one that breaks it could never have worked.
    fn always(&mut self, field: String, what: impl Into<String>, fix: &'static str) {
        self.0.push(Breach { field, what: what.into(), fix: fix.to_owned(), weight: Weight::Always });
    }

    /// Adds a breach of a rule for new documents only.
    fn when_new(&mut self, field: String, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Breach { field, what: what.into(), fix: fix.into(), weight: Weight::New });
    }

    fn image(&mut self, image: &str) {
        static BY_DIGEST: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(pattern::IMAGE).ok());
        let at = || "/image".to_owned();
        if BY_DIGEST.as_ref().is_some_and(|form| !form.is_match(image)) {
            let (what, fix) = pattern::words(pattern::IMAGE);
            self.always(at(), what, fix);
        } else if !image.split_once('@').is_some_and(|(name, _)| is_image_name(name)) {
            self.when_new(
                at(),
                "the part before the digest is not the name of an image: a host and perhaps a port, then lower-case letters, digits, \
                 . _ and -, joined by /",
                "write it as `docker pull` takes it, without https://: registry.example.com/team/app@sha256:…",
            );
        }
    }

    /// Arguments of a command line must not have a NUL: they end there.
    fn words(&mut self, field: &str, words: Option<&[String]>) {
        for (index, word) in words.unwrap_or_default().iter().enumerate() {
            self.no_nul(format!("{field}/{index}"), word);
        }
    }

    fn no_nul(&mut self, field: String, value: &str) {
        if value.contains('\0') {
            self.when_new(field, "has a NUL character, which no process can be given", "use a file for binary content");
        }
    }

    fn env(&mut self, env: &[EnvVar]) {
        let mut names = BTreeSet::new();
        for (index, EnvVar { name, value, secret_ref }) in env.iter().enumerate() {
            let at = format!("/env/{index}");
            if name.len() > MAX_VARIABLE {
                let what = format!("the name has {} characters, {MAX_VARIABLE} are allowed", name.len());
                self.always(format!("{at}/name"), what, "shorten it");
            }
            if !names.insert(name) {
                self.always(format!("{at}/name"), format!("variable {} stands twice", shown(name)), "remove one");
            }
            self.source(&at, &format!("variable {}", shown(name)), "value", value.is_some(), secret_ref.as_ref());
            if let Some(value) = value {
                self.no_nul(format!("{at}/value"), value);
            }
        }
    }

    fn files(&mut self, files: &[ConfigFile]) {
        for (index, ConfigFile { path, content, secret_ref, mode: _ }) in files.iter().enumerate() {
            let at = format!("/files/{index}");
            self.path(format!("{at}/path"), path);
            // More than that the schema refuses, and comparing each with each would take long.
            for earlier in files.iter().take(index).filter(|_| index < MAX_FILES) {
                self.beside(format!("{at}/path"), &earlier.path, path);
            }
            self.source(&at, &format!("file {}", shown(path)), "content", content.is_some(), secret_ref.as_ref());
        }
    }

    fn path(&mut self, field: String, path: &str) {
        let fix = "write something like /etc/app/settings.yaml";
        if path.chars().any(steers) {
            self.when_new(field, "the path has a control character, a line break for instance", fix);
        } else if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            self.when_new(
                field,
                "the path has an empty part, or one of . and ..; it must be the plain path of a file",
                fix,
            );
        } else if parts(path).first() == Some(&"proc") {
            self.when_new(field, "no file can be put below /proc", fix);
        }
    }

    fn volumes(&mut self, spec: &ReleaseSpec) {
        let limit = spec.resources.as_ref().and_then(|resources| resources.memory_limit.as_deref());
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        for (index, Volume { path, medium, size }) in volumes.iter().enumerate() {
            let at = format!("/volumes/{index}");
            self.path(format!("{at}/path"), path);
            let earlier = volumes.iter().take(index).map(|volume| &volume.path);
            let files = spec.files.iter().flatten().take(MAX_FILES).map(|file| &file.path);
            for other in earlier.chain(files) {
                self.beside(format!("{at}/path"), other, path);
            }
            let amount = Quantity::parse(size);
            if size.ends_with(['m', 'u', 'n']) || amount <= Quantity::parse("0") {
                self.always(format!("{at}/size"), "a volume holds at least a byte", "write something like 100Mi");
            }
            let over = limit.and_then(Quantity::parse).is_some_and(|limit| amount > Some(limit));
            if *medium == Some(Medium::Memory) && over {
                let what = "a volume in memory is larger than memoryLimit: filling it would end the program";
                self.when_new(format!("{at}/size"), what, "raise resources.memoryLimit, or use medium: Disk");
            }
        }
    }

    /// Two paths that cannot both be there.
    fn beside(&mut self, field: String, earlier: &str, path: &str) {
        let (first, second) = (parts(earlier), parts(path));
        if earlier == path {
            self.always(field, format!("file {} stands twice", shown(path)), "remove one");
        } else if first == second {
            self.when_new(field, format!("file {} is the same file as {}", shown(path), shown(earlier)), "remove one");
        } else if first.starts_with(&second) || second.starts_with(&first) {
            let what = format!("paths {} and {}: one is below the other", shown(earlier), shown(path));
            self.always(field, what, "what lies below would be hidden; choose another path for one of them");
        }
    }

    fn source(&mut self, at: &str, name: &str, plain: &str, has_plain: bool, secret: Option<&SecretRef>) {
        let field = at.to_owned();
        match (has_plain, secret) {
            (true, Some(_)) => {
                self.always(field, format!("{name} has both {plain} and secretRef"), "keep one of them");
            }
            (false, None) => self.always(field, format!("{name} has neither {plain} nor secretRef"), "give one"),
            (true, None) | (false, Some(_)) => {}
        }
        let Some(SecretRef { path, key, version: _ }) = secret else { return };
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            let (what, fix) = pattern::words(pattern::SECRET);
            self.always(format!("{at}/secretRef/path"), what, fix);
        }
        if key.is_empty() {
            self.when_new(format!("{at}/secretRef/key"), "the key is empty", "name the key at that path");
        }
    }

    fn endpoints(&mut self, endpoints: &[Endpoint]) {
        let mut names = BTreeSet::new();
        // Endpoints may share a port: TCP and UDP under one number, or two paths of one HTTP server.
        for (index, Endpoint { name, port: _, kind: _, base_path: _, visibility }) in endpoints.iter().enumerate() {
            let at = format!("/endpoints/{index}");
            if !names.insert(name) {
                self.always(format!("{at}/name"), format!("endpoint {} stands twice", shown(name)), "rename one");
            }
            self.visibility(format!("{at}/visibility"), visibility.as_deref().unwrap_or_default());
        }
    }

    fn visibility(&mut self, field: String, circles: &[Visibility]) {
        if circles.iter().any(|circle| *circle != Visibility::Project) {
            self.when_new(
                field,
                "Organization and Public are not supported yet: nothing would make the endpoint reachable from there",
                "write [Project], or leave it out",
            );
        } else if circles.len() > 1 {
            self.when_new(field, "names a circle twice", "name it once");
        }
    }

    fn resources(&mut self, resources: &Resources) {
        let Resources { cpu_request, memory_request, cpu_limit, memory_limit } = resources;
        for (name, amount) in [("memoryRequest", memory_request), ("memoryLimit", memory_limit)] {
            if let Some(amount) = amount {
                self.memory(format!("/resources/{name}"), amount, name == "memoryLimit");
            }
        }
        for (name, request, limit) in [("cpu", cpu_request, cpu_limit), ("memory", memory_request, memory_limit)] {
            let above = |(request, limit): (&String, &String)| Quantity::parse(request) > Quantity::parse(limit);
            let pair = request.as_ref().zip(limit.as_ref());
            if pair.is_some_and(|(a, b)| Quantity::parse(b).is_some() && above((a, b))) {
                let what = format!("{name}Request is above {name}Limit, and no pod may ask for more than its limit");
                self.always(format!("/resources/{name}Limit"), what, "raise the limit or lower the request");
            }
        }
    }

    fn memory(&mut self, field: String, amount: &str, is_limit: bool) {
        let fix = "write something like 128Mi";
        if amount.ends_with(['m', 'u', 'n']) {
            self.when_new(field, "memory is counted in bytes, and m, u and n mean parts of a byte", fix);
        } else if is_limit && is_too_little(amount) {
            let what = format!(
                "a limit of less than {LEAST_MEMORY} lets no container start; without a suffix it counts bytes"
            );
            self.when_new(field, what, fix);
        }
    }

    /// Fields that the type of the component does not have.
    fn belongs(&mut self, spec: &ReleaseSpec) {
        let Some(component) = spec.component_type else { return };
        let (name, shape) = (component.as_str(), component.shape());
        let mut none = |given: bool, field: &str, what: &str, has: fn(&Shape) -> bool| {
            if given && !has(&shape) {
                let fix = format!("remove it, or use type {}", ComponentType::names(has).replace(" and ", " or "));
                self.when_new(field.to_owned(), format!("a {name} has no {what}"), fix);
            }
        };
        none(spec.endpoints.is_some(), "/endpoints", "endpoints", |shape| shape.endpoints);
        none(spec.scaling.is_some(), "/scaling", "scaling: each run is one pod", Shape::is_kept_running);
        none(spec.probes.is_some(), "/probes", "probes", Shape::is_kept_running);
        none(spec.task.is_some(), "/task", "task settings", Shape::is_task);
    }
}

/// A name as shown in a message, cut and without control characters: names are no secrets, but by mistake anything may be in one.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !steers(*c)).take(64).collect()
}

/// The segments of a path, without those that change nothing.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect()
}

fn is_too_little(limit: &str) -> bool {
    let amount = Quantity::parse(limit);
    amount.is_some() && amount < Quantity::parse(LEAST_MEMORY) && amount != Quantity::parse("0")
}

/// The grammar of image references (distribution, `reference.go`): host and port, path of lower-case parts, a tag perhaps.
fn is_image_name(name: &str) -> bool {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let host = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
        let part = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*";
        Regex::new(&format!(
            r"^((({host})(\.{host})*|\[[0-9a-fA-F:]+\])(:[0-9]{{1,5}})?/)?{part}(/{part})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?$"
        ))
        .ok()
    });
    FORM.as_ref().is_none_or(|form| form.is_match(name))
}

#[cfg(test)]
mod tests;
