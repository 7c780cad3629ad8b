//! Rules of component files that types cannot express. Every broken rule is named, not only the first.

use std::collections::BTreeSet;

use protocol::spec::{ComponentType, ConfigFile, Endpoint, EnvVar, Probe, Resources, Scaling, SecretRef};

use super::{Component, Configuration};
use crate::problem::{Problem, check_handle};

/// Everything that is wrong with a component, with JSON pointers.
#[must_use]
pub fn check(component: &Component) -> Vec<Problem> {
    let mut problems = Vec::new();
    let found = &mut problems;
    found.extend(check_handle("/name", &component.name).err());
    found.extend(check_track("/track", component.track()).err());
    found.extend(check_image(&component.image).err());
    env(found, "/env", component.env.as_deref());
    files(found, "/files", component.files.as_deref());
    endpoints(found, component.endpoints.as_deref().unwrap_or_default());
    scaling(found, "/scaling", component.scaling.as_ref());
    resources(found, "/resources", component.resources.as_ref());
    if let Some(probes) = &component.probes {
        probe(found, "/probes/startup", probes.startup.as_ref());
        probe(found, "/probes/readiness", probes.readiness.as_ref());
        probe(found, "/probes/liveness", probes.liveness.as_ref());
    }
    if let Some(security) = &component.security {
        range(
            found,
            "/security/runAsUser",
            security.run_as_user,
            1,
            i64::from(i32::MAX),
            "0 is root, which is refused",
        );
        range(found, "/security/fsGroup", security.fs_group, 1, i64::from(i32::MAX), "use a group above 0");
    }
    range(found, "/terminationGraceSeconds", component.termination_grace_seconds, 0, 3600, "seconds, up to an hour");
    let deadline = component.progress_deadline_seconds.map(i64::from);
    range(found, "/progressDeadlineSeconds", deadline, 10, 3600, "seconds, up to an hour");
    match component.component_type {
        ComponentType::Service if component.task.is_some() => {
            found.push(
                Problem::invalid("/task", "only tasks have task settings").hint("remove it, or use type ManualTask"),
            );
        }
        ComponentType::ManualTask if component.endpoints.as_ref().is_some_and(|list| !list.is_empty()) => {
            found.push(
                Problem::invalid("/endpoints", "a task serves no endpoints").hint("remove them, or use type Service"),
            );
        }
        ComponentType::ManualTask if component.scaling.is_some() => {
            found.push(Problem::invalid("/scaling", "a task is not scaled: each run is one pod").hint("remove it"));
        }
        ComponentType::Service | ComponentType::ManualTask => {}
    }
    if let Some(task) = &component.task {
        range(found, "/task/retries", task.retries.map(i64::from), 0, 100, "attempts after the first");
        range(found, "/task/timeoutSeconds", task.timeout_seconds, 1, 604_800, "seconds, up to a week");
    }
    for (name, configuration) in &component.environments {
        let Configuration { env: variables, files: paths, scaling: pods, resources: limits } = configuration;
        let at = format!("/environments/{name}");
        found.extend(check_handle(&at, name).err());
        env(found, &format!("{at}/env"), variables.as_deref());
        files(found, &format!("{at}/files"), paths.as_deref());
        scaling(found, &format!("{at}/scaling"), pods.as_ref());
        resources(found, &format!("{at}/resources"), limits.as_ref());
    }
    problems
}

/// Refuses what is not `vMAJOR.MINOR`.
///
/// # Errors
/// `Invalid` at `field`.
pub fn check_track(field: &str, track: &str) -> Result<(), Problem> {
    let number = |text: &str| (1..=4).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
    let good =
        track.strip_prefix('v').and_then(|rest| rest.split_once('.')).is_some_and(|(a, b)| number(a) && number(b));
    if good { Ok(()) } else { Err(Problem::invalid(field, "a track is an API version like v1.0").hint("write v1.0")) }
}

fn check_image(image: &str) -> Result<(), Problem> {
    let refuse = |sentence: String, hint: String| Err(Problem::invalid("/image", sentence).hint(hint));
    let by_digest = "write the image as registry/repository@sha256:<64 hexadecimal digits>";
    let Some((name, digest)) = image.split_once('@') else {
        // A colon after the last slash is a tag; one before it is a port.
        let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        let sentence = match tag {
            Some(tag) => {
                format!("the image is named by tag `{tag}`, which may mean something else tomorrow; name it by digest")
            }
            None => "the image has no digest; without one it means whatever is newest".into(),
        };
        let hint = format!(
            "get the digest: skopeo inspect --format '{{{{.Name}}}}@{{{{.Digest}}}}' docker://{image}, or: crane digest {image}"
        );
        return refuse(sentence, hint);
    };
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() != 64 || !hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)) {
        let sentence = format!("the digest is not sha256: and 64 hexadecimal digits; it has {} digits", hex.len());
        return refuse(sentence, by_digest.into());
    }
    if name.is_empty() || name.contains(char::is_whitespace) || image.len() > 512 {
        return refuse("the part before the digest is not an image name".into(), by_digest.into());
    }
    Ok(())
}

fn env(found: &mut Vec<Problem>, at: &str, list: Option<&[EnvVar]>) {
    let list = list.unwrap_or_default();
    let mut seen = BTreeSet::new();
    too_many(found, at, list.len(), 256);
    for (index, EnvVar { name, value, secret_ref }) in list.iter().enumerate() {
        let at = format!("{at}/{index}");
        let mut characters = name.chars();
        let good = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !good {
            let problem = Problem::invalid(format!("{at}/name"), "a variable is named by letters, digits and _");
            found.push(problem.hint("it must not start with a digit"));
        }
        if !seen.insert(name) {
            found.push(
                Problem::invalid(format!("{at}/name"), format!("variable {name} stands here twice")).hint("remove one"),
            );
        }
        if value.is_some() && secret_ref.is_some() {
            found.push(
                Problem::invalid(&at, format!("variable {name} has a value and a secretRef")).hint("keep one of them"),
            );
        }
        if value.as_ref().is_some_and(|value| value.len() > 32_768) {
            found.push(Problem::invalid(format!("{at}/value"), "a value has at most 32768 bytes").hint("use a file"));
        }
        secret(found, &at, secret_ref.as_ref());
    }
}

fn files(found: &mut Vec<Problem>, at: &str, list: Option<&[ConfigFile]>) {
    let list = list.unwrap_or_default();
    let mut seen = BTreeSet::new();
    too_many(found, at, list.len(), 64);
    for (index, ConfigFile { path, content, secret_ref }) in list.iter().enumerate() {
        let at = format!("{at}/{index}");
        if !path.starts_with('/') || path.contains(':') || path.len() < 2 || path.split('/').any(|part| part == "..") {
            let problem = Problem::invalid(format!("{at}/path"), "a path is absolute, without : and ..");
            found.push(problem.hint("write something like /etc/app/settings.yaml"));
        }
        if !seen.insert(path) {
            found.push(
                Problem::invalid(format!("{at}/path"), format!("file {path} stands here twice")).hint("remove one"),
            );
        }
        if content.is_some() && secret_ref.is_some() {
            found.push(
                Problem::invalid(&at, format!("file {path} has content and a secretRef")).hint("keep one of them"),
            );
        }
        secret(found, &at, secret_ref.as_ref());
    }
}

fn secret(found: &mut Vec<Problem>, at: &str, reference: Option<&SecretRef>) {
    let Some(SecretRef { path, key, version }) = reference else { return };
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if !path.split('/').all(part) || path.split('/').any(|part| part == "..") {
        let problem =
            Problem::invalid(format!("{at}/secretRef/path"), "a path is made of letters, digits, _ . - and /");
        found.push(problem.hint("it is relative to the environment's own place in the vault, without a leading /"));
    }
    if key.is_empty() || key.len() > 256 {
        found.push(
            Problem::invalid(format!("{at}/secretRef/key"), "a key has 1 to 256 characters").hint("name the key"),
        );
    }
    range(found, &format!("{at}/secretRef/version"), *version, 1, i64::from(i32::MAX), "leave it out for the newest");
}

fn endpoints(found: &mut Vec<Problem>, list: &[Endpoint]) {
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    too_many(found, "/endpoints", list.len(), 16);
    for (index, endpoint) in list.iter().enumerate() {
        let at = format!("/endpoints/{index}");
        let name = &endpoint.name;
        if !protocol::name::is_label(name) || name.len() > 15 || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            let problem =
                Problem::invalid(format!("{at}/name"), "an endpoint's name has 1 to 15 letters, digits and dashes");
            found.push(problem.hint("write something like http"));
        }
        if !names.insert(name) {
            found.push(
                Problem::invalid(format!("{at}/name"), format!("endpoint {name} stands here twice")).hint("rename one"),
            );
        }
        if !ports.insert(endpoint.port) {
            let sentence = format!("port {} serves two endpoints", endpoint.port);
            found.push(Problem::invalid(format!("{at}/port"), sentence).hint("give each endpoint its own port"));
        }
        range(found, &format!("{at}/port"), Some(i64::from(endpoint.port)), 1, 65_535, "a port number");
        if endpoint.base_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            found
                .push(Problem::invalid(format!("{at}/basePath"), "a base path starts with /").hint("put a / in front"));
        }
    }
}

fn scaling(found: &mut Vec<Problem>, at: &str, scaling: Option<&Scaling>) {
    let replicas = scaling.and_then(|scaling| scaling.replicas).map(i64::from);
    range(found, &format!("{at}/replicas"), replicas, 0, 1000, "number of pods");
}

fn probe(found: &mut Vec<Problem>, at: &str, probe: Option<&Probe>) {
    let Some(Probe { port, path, period_seconds, timeout_seconds, failure_threshold }) = probe else { return };
    range(found, &format!("{at}/port"), Some(i64::from(*port)), 1, 65_535, "a port number");
    range(found, &format!("{at}/periodSeconds"), period_seconds.map(i64::from), 1, 3600, "seconds");
    range(found, &format!("{at}/timeoutSeconds"), timeout_seconds.map(i64::from), 1, 3600, "seconds");
    range(found, &format!("{at}/failureThreshold"), failure_threshold.map(i64::from), 1, 1000, "failures in a row");
    if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        found.push(Problem::invalid(format!("{at}/path"), "a probe's path starts with /").hint("put a / in front"));
    }
}

fn resources(found: &mut Vec<Problem>, at: &str, resources: Option<&Resources>) {
    let Some(Resources { cpu_request, memory_request, cpu_limit, memory_limit }) = resources else { return };
    for (name, quantity, example) in [
        ("cpuRequest", cpu_request, "100m"),
        ("memoryRequest", memory_request, "64Mi"),
        ("cpuLimit", cpu_limit, "500m"),
        ("memoryLimit", memory_limit, "128Mi"),
    ] {
        if quantity.as_deref().is_some_and(|quantity| !is_quantity(quantity)) {
            let problem = Problem::invalid(format!("{at}/{name}"), "this is not a Kubernetes quantity");
            found.push(problem.hint(format!("write something like {example}")));
        }
    }
}

/// Digits with an optional fraction, then one of the suffixes of Kubernetes quantities.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let Some((number, suffix)) = text.split_at_checked(digits) else { return false };
    let number_good = !number.is_empty() && number.parse::<f64>().is_ok();
    number_good && ["", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"].contains(&suffix)
}

fn range(found: &mut Vec<Problem>, at: &str, value: Option<i64>, least: i64, most: i64, hint: &str) {
    if value.is_some_and(|value| !(least..=most).contains(&value)) {
        found.push(Problem::invalid(at, format!("must be {least} to {most}")).hint(hint));
    }
}

fn too_many(found: &mut Vec<Problem>, at: &str, count: usize, most: usize) {
    if count > most {
        found.push(Problem::invalid(at, format!("has {count} entries, {most} are allowed")).hint("use fewer"));
    }
}
