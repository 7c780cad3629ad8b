//! Rules that a schema cannot say: those that span fields, and those that came after documents were stored.
//!
//! Each rule is here once. Whoever accepts a new document checks all of them (`pdpctl`, the control plane, the link). The operator,
//! which finds documents stored by an older version, checks those that are [`Weight::Always`]: what breaks one of them could never
//! have worked, so that an upgrade stops nothing that runs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex_lite::Regex;

use form::{is_base64, is_image_name};

use super::breach::{Breach, Weight};
use super::{
    ComponentType, ConfigFile, DataPlaneSpec, Encoding, Endpoint, EnvVar, EnvironmentSpec, MEMORY_LIMIT, Medium,
    PROGRESS_DEADLINE_SECONDS, ReleaseSpec, Resources, SecretRef, Shape, TaskRunSpec, Visibility, Volume, pattern,
};
use crate::quantity::{Quantity, larger};
use crate::text::steers;

mod form;
mod probes;

/// Longest name of a variable: it is a key of a ConfigMap or Secret.
const MAX_VARIABLE: usize = 249;

/// Longest name for people, in characters, as in the schema.
const MAX_DISPLAY_NAME: usize = 256;

/// Most files, as in the schema.
const MAX_FILES: usize = 64;

/// Least limit of memory: below it no container starts, and the unit was forgotten.
const LEAST_MEMORY: &str = "1Mi";

/// Least size of a volume: a page. Below it nothing can be written, and the unit was forgotten.
const LEAST_VOLUME: &str = "4Ki";

/// Everything that is wrong with a release beyond its schema. Fields that a Present release needs are asked for elsewhere.
#[must_use]
pub fn of_release(spec: &ReleaseSpec) -> Vec<Breach> {
    let mut found = Found(Vec::new());
    if let Some(image) = &spec.image {
        found.image(image);
    }
    found.strings("/command", spec.command.as_deref());
    found.strings("/args", spec.args.as_deref());
    found.env(spec.env.as_deref().unwrap_or_default());
    found.files(spec.files.as_deref().unwrap_or_default());
    found.endpoints(spec.endpoints.as_deref().unwrap_or_default());
    if let Some(resources) = &spec.resources {
        found.resources(resources);
    }
    if let Some(probes) = &spec.probes {
        found.probes(probes);
    }
    found.volumes(spec);
    found.deadline(spec);
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
    found.strings("/args", spec.args.as_deref());
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
            let (what, fix) = pattern::hint(pattern::IMAGE);
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
    fn strings(&mut self, field: &str, strings: Option<&[String]>) {
        for (index, string) in strings.unwrap_or_default().iter().enumerate() {
            self.no_nul(format!("{field}/{index}"), string);
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
        for (index, ConfigFile { path, content, encoding, secret_ref, mode: _ }) in files.iter().enumerate() {
            let at = format!("/files/{index}");
            self.path(format!("{at}/path"), path, "file", "write something like /etc/app/settings.yaml");
            // More than that the schema refuses, and comparing each with each would take long.
            for earlier in files.iter().take(index).filter(|_| index < MAX_FILES) {
                self.beside(format!("{at}/path"), &earlier.path, path);
            }
            self.source(&at, &format!("file {}", shown(path)), "content", content.is_some(), secret_ref.as_ref());
            match (encoding, content) {
                (Some(Encoding::Base64), Some(content)) if !is_base64(content) => {
                    let what = "the content is not base64: padded with =, and without line breaks";
                    self.always(format!("{at}/content"), what, "base64 -w0 FILE prints it");
                }
                (Some(_), None) => {
                    let what = "an encoding belongs to content, and there is none";
                    self.always(format!("{at}/encoding"), what, "leave it out: a value of the vault is taken as it is");
                }
                (Some(Encoding::Base64), Some(_)) | (None, _) => {}
            }
        }
    }

    fn path(&mut self, field: String, path: &str, of: &str, fix: &str) {
        if path.chars().any(steers) {
            self.when_new(field, "the path has a control character, a line break for instance", fix);
        } else if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            self.when_new(
                field,
                format!("the path has an empty part, or one of . and ..; it must be the plain path of a {of}"),
                fix,
            );
        } else if let Some(first @ (&"proc" | &"sys")) = parts(path).first() {
            // Container runtimes refuse the first, and give the second to be read only.
            self.when_new(field, format!("no {of} can be put below /{first}"), fix);
        }
    }

    fn volumes(&mut self, spec: &ReleaseSpec) {
        let limit = memory_limit(spec.resources.as_ref());
        let mut in_memory = Vec::new();
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        for (index, Volume { path, medium, size }) in volumes.iter().enumerate() {
            let at = format!("/volumes/{index}");
            self.folder(format!("{at}/path"), path);
            let earlier = volumes.iter().take(index).map(|volume| &volume.path);
            let files = spec.files.iter().flatten().take(MAX_FILES).map(|file| &file.path);
            for other in earlier.chain(files) {
                self.beside(format!("{at}/path"), other, path);
            }
            let amount = Quantity::parse(size);
            if size.ends_with(['m', 'u', 'n']) || amount <= Quantity::parse("0") {
                self.always(format!("{at}/size"), "a volume holds at least a byte", "write something like 100Mi");
            } else if amount < Quantity::parse(LEAST_VOLUME) {
                let what =
                    format!("a volume of less than {LEAST_VOLUME} holds nothing; without a suffix it counts bytes");
                self.when_new(format!("{at}/size"), what, "write something like 64Mi");
            }
            if *medium == Some(Medium::Memory) {
                in_memory.push(size.as_str());
                if Quantity::sum(in_memory.iter().copied())
                    .zip(Quantity::parse(&limit))
                    .is_some_and(|(sum, limit)| sum > limit)
                {
                    let what = format!(
                        "what volumes in memory hold is more than the memory limit of {limit}: filling them would end the program"
                    );
                    self.when_new(format!("{at}/size"), what, "raise resources.memoryLimit, or use medium: Disk");
                }
            }
        }
    }

    fn folder(&mut self, field: String, path: &str) {
        let fix = "write something like /var/cache/app";
        let plain = path.trim_end_matches('/');
        if !plain.is_empty() && plain.len() < path.len() {
            self.when_new(field, "the path of a folder has no / at its end", "leave that / out");
        } else {
            self.path(field, path, "folder", fix);
        }
    }

    /// Two paths that cannot both be there.
    fn beside(&mut self, field: String, earlier: &str, path: &str) {
        let (first, second) = (parts(earlier), parts(path));
        if earlier == path {
            self.always(field, format!("path {} stands twice", shown(path)), "remove one");
        } else if first == second {
            self.when_new(field, format!("path {} is the same as {}", shown(path), shown(earlier)), "remove one");
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
            let (what, fix) = pattern::hint(pattern::SECRET);
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

    /// The API server refuses a Deployment whose pods could not count in time.
    fn deadline(&mut self, spec: &ReleaseSpec) {
        let is_task = spec.component_type.is_some_and(|component| component.shape().is_task());
        let deadline = spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECONDS);
        if let Some(seconds) = spec.min_ready_seconds.filter(|seconds| *seconds >= deadline && !is_task) {
            let what = format!(
                "{seconds} s are not less than progressDeadlineSeconds, {deadline} s: no pod would count in time"
            );
            self.always("/minReadySeconds".to_owned(), what, "lower it, or raise progressDeadlineSeconds");
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

/// The limit that a pod gets: as asked for, or the usual one, and never below what is guaranteed.
fn memory_limit(asked: Option<&Resources>) -> String {
    let request = || asked.and_then(|asked| asked.memory_request.as_deref()).unwrap_or(MEMORY_LIMIT);
    let limit = asked.and_then(|asked| asked.memory_limit.clone());
    limit.unwrap_or_else(|| larger(MEMORY_LIMIT, request()))
}

fn is_too_little(limit: &str) -> bool {
    let amount = Quantity::parse(limit);
    amount.is_some() && amount < Quantity::parse(LEAST_MEMORY) && amount != Quantity::parse("0")
}

#[cfg(test)]
mod tests;
