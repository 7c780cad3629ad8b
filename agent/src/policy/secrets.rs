//! The customer's rules for a pod that is given secrets: image, variables, files, command and arguments, also those of probes.
//!
//! Whoever chooses what a process does can have it reveal the values that it holds, through exit codes, timing or names that it
//! asks the DNS for. So the customer may keep these choices. Variables and files count, since both bring code into a process: by
//! the loader (`LD_PRELOAD`, `/etc/ld.so.preload`), by a runtime (`NODE_OPTIONS`, `JAVA_TOOL_OPTIONS`), or in place of a script.
//! Pure.

use protocol::document::{Medium, Probe, Probes, ReleaseSpec};
use protocol::mutant::{self, Mutant};
use serde_json::Value;

use super::image_is_below;
use crate::kinds::{EnvironmentRule, Permission, SecretRule};

/// The choices that were made for one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Whether it is given secrets; the rules here ask nothing of other pods.
    pub secrets: bool,
    /// By digest.
    pub image: String,
    /// Whether it has a command of its own.
    pub command: bool,
    /// Whether it has arguments of its own.
    pub args: bool,
    /// Names of probes that run a command in it: their outcome is told.
    pub commands_as_probes: Vec<&'static str>,
    /// Names of variables.
    pub env: Vec<String>,
    /// Paths of files.
    pub files: Vec<String>,
    /// Paths of writable folders: empty ones, and what lies there in the image is hidden by them.
    pub folders: Vec<String>,
    /// Sizes of those on a disk of the node. Asked of every pod, by [`EnvironmentRule::disk`].
    pub on_disk: Vec<String>,
}

/// One forbidden choice and its place: a JSON pointer into the document, empty for arguments of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// `/image`, `/env/2` and so on.
    pub field: String,
    /// What, why, what to do.
    pub sentence: String,
}

impl Pod {
    /// The choices of a document.
    #[must_use]
    pub fn of_release(spec: &ReleaseSpec) -> Self {
        let env = || spec.env.iter().flatten();
        let files = || spec.files.iter().flatten();
        Self {
            secrets: env().any(|one| one.secret_ref.is_some()) || files().any(|one| one.secret_ref.is_some()),
            image: spec.image.clone().unwrap_or_default(),
            command: is_given(spec.command.as_deref()),
            args: is_given(spec.args.as_deref()),
            commands_as_probes: commands_as_probes(spec),
            env: env().map(|one| one.name.clone()).collect(),
            files: files().map(|one| one.path.clone()).collect(),
            folders: spec.volumes.iter().flatten().map(|one| one.path.clone()).collect(),
            on_disk: on_disk(spec),
        }
    }

    /// The choices in a rendered Job or Deployment.
    #[must_use]
    pub fn of_rendered(object: &Value) -> Self {
        let pod = object.pointer("/spec/template/spec");
        let items = |at: &Value, list: &str| at.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |at: &Value, key: &str| at.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let container = pod.and_then(|pod| pod.pointer("/containers/0")).cloned().unwrap_or_default();
        let given = |key: &str| !items(&container, key).is_empty();
        let env = items(&container, "env");
        let volumes = pod.map(|pod| items(pod, "volumes")).unwrap_or_default();
        let empty = |name: &str| volumes.iter().any(|one| text(one, "name") == name && one.get("emptyDir").is_some());
        let mounts = items(&container, "volumeMounts");
        let (folders, files): (Vec<_>, Vec<_>) = mounts.iter().partition(|mount| empty(&text(mount, "name")));
        let paths = |mounts: Vec<&Value>| mounts.into_iter().map(|mount| text(mount, "mountPath")).collect();
        Self {
            secrets: env.iter().any(|one| one.pointer("/valueFrom/secretKeyRef").is_some())
                || volumes.iter().any(|volume| volume.get("secret").is_some()),
            image: text(&container, "image"),
            command: given("command"),
            args: given("args"),
            commands_as_probes: PROBES
                .into_iter()
                .filter(|name| container.pointer(&format!("/{name}Probe/exec")).is_some())
                .collect(),
            env: env.iter().map(|one| text(one, "name")).collect(),
            files: paths(files),
            folders: paths(folders),
            on_disk: volumes
                .iter()
                .filter_map(|volume| volume.get("emptyDir").filter(|folder| folder.get("medium").is_none()))
                .map(|folder| text(folder, "sizeLimit"))
                .collect(),
        }
    }
}

const PROBES: [&str; 3] = ["startup", "readiness", "liveness"];

fn commands_as_probes(spec: &ReleaseSpec) -> Vec<&'static str> {
    let Some(Probes { startup, readiness, liveness }) = &spec.probes else { return Vec::new() };
    let runs = |probe: &Option<Probe>| probe.as_ref().is_some_and(|probe| probe.exec.is_some());
    let all = PROBES.into_iter().zip([startup, readiness, liveness]);
    all.filter(|(_, probe)| runs(probe)).map(|(name, _)| name).collect()
}

/// Sizes of the volumes on a disk of the node.
fn on_disk(spec: &ReleaseSpec) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter(|one| one.medium != Some(Medium::Memory)).map(|one| one.size.clone()).collect()
}

fn is_given(words: Option<&[String]>) -> bool {
    words.is_some_and(|words| !words.is_empty())
}

/// Everything that `rule` forbids of `pod`; nothing for one without secrets.
#[must_use]
pub fn objections(rule: &EnvironmentRule, pod: &Pod) -> Vec<Objection> {
    let asked = pod.secrets && !mutant::is(Mutant::SecretRuleNotAsked);
    let Some(rule) = rule.secrets.as_ref().filter(|_| asked) else { return Vec::new() };
    let SecretRule { images, env, files, command, task_args: _, exit_codes: _ } = rule;
    let mut found = Vec::new();
    let mut object = |field: String, what: String, list: &str| {
        let sentence = format!(
            "{what} in a pod that is given secrets, and DataPlanePolicy/default does not allow it here; leave it out or ask the \
             platform team to extend secrets.{list} of this environment"
        );
        found.push(Objection { field, sentence });
    };
    if images.as_ref().is_some_and(|images| !images.iter().any(|allowed| is_image(&pod.image, allowed))) {
        object("/image".to_owned(), format!("image {}", pod.image), "images");
    }
    if *command == Some(Permission::Forbidden) {
        for (given, field) in [(pod.command, "command"), (pod.args, "args")] {
            if given {
                object(format!("/{field}"), format!("{field} of its own"), "command");
            }
        }
        for name in &pod.commands_as_probes {
            object(format!("/probes/{name}/exec"), format!("a command as {name} probe"), "command");
        }
    }
    for (index, name) in pod.env.iter().enumerate() {
        if env.as_ref().is_some_and(|allowed| !allowed.contains(name)) {
            object(format!("/env/{index}"), format!("environment variable {name}"), "env");
        }
    }
    let kept = |path: &String| files.as_ref().is_some_and(|allowed| !allowed.iter().any(|one| is_file(path, one)));
    for (what, field, paths) in [("file", "files", &pod.files), ("folder", "volumes", &pod.folders)] {
        for (index, path) in paths.iter().enumerate().filter(|(_, path)| kept(path)) {
            object(format!("/{field}/{index}"), format!("{what} {path}"), "files");
        }
    }
    found
}

/// Whether a run may bring arguments of its own to a pod.
///
/// # Errors
/// It may not: a sentence with what to do.
pub fn task_args(rule: &EnvironmentRule, pod_has_secrets: bool) -> Result<(), String> {
    let forbidden = rule.secrets.as_ref().and_then(|secrets| secrets.task_args) == Some(Permission::Forbidden);
    if forbidden && pod_has_secrets {
        return Err("arguments of a run for a task that is given secrets, and DataPlanePolicy/default does not allow them here; run \
             it without, or ask the platform team for secrets.taskArgs: Allowed of this environment"
            .to_owned());
    }
    Ok(())
}

fn is_image(image: &str, allowed: &str) -> bool {
    match allowed.strip_prefix("sha256:") {
        Some(_) => image.split_once('@').is_some_and(|(_, digest)| digest == allowed),
        None => image_is_below(image, allowed),
    }
}

/// Whether `path` is `allowed`, or below it where that ends in a slash. A path with an empty, `.` or `..` segment matches nothing.
fn is_file(path: &str, allowed: &str) -> bool {
    let plain = path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    plain && (path == allowed || (allowed.ends_with('/') && path.len() > allowed.len() && path.starts_with(allowed)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn strict() -> EnvironmentRule {
        let secrets = json!({
            "images": ["r.example/bank/", DIGEST], "env": ["DB_PASSWORD", "LOG_LEVEL"], "files": ["/etc/bank/", "/run/key"],
            "command": "Forbidden", "taskArgs": "Forbidden", "exitCodes": "Class",
        });
        EnvironmentRule { secrets: Some(serde_json::from_value(secrets).unwrap()), ..EnvironmentRule::default() }
    }

    fn release(more: Value) -> ReleaseSpec {
        let mut spec = json!({
            "state": "Present",
            "image": format!("r.example/bank/web@{DIGEST}"),
            "env": [{"name": "DB_PASSWORD", "secretRef": {"path": "db", "key": "password"}}],
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn fields(more: Value) -> Vec<String> {
        objections(&strict(), &Pod::of_release(&release(more))).into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn with_everything_kept_a_document_chooses_nothing_that_a_process_with_secrets_does() {
        let secret = json!({"path": "db", "key": "password"});
        let other = "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (more, expected) in [
            (json!({}), vec![]),
            (json!({"image": format!("other.example/x@{DIGEST}")}), vec![]),
            (json!({"image": format!("other.example/x@{other}")}), vec!["/image"]),
            (json!({"image": format!("r.example/bank-evil/x@{other}")}), vec!["/image"]),
            (json!({"command": ["sh"]}), vec!["/command"]),
            (json!({"args": ["-c", "exit 7"]}), vec!["/args"]),
            (json!({"command": [], "args": []}), vec![]),
            (json!({"probes": {"liveness": {"port": 80, "path": "/"}}}), vec![]),
            (
                json!({"probes": {"startup": {"exec": {"command": ["a"]}}, "liveness": {"exec": {"command": ["b"]}}}}),
                vec!["/probes/startup/exec", "/probes/liveness/exec"],
            ),
            (
                json!({"env": [{"name": "LOG_LEVEL", "value": "debug"}, {"name": "LD_PRELOAD", "value": "/run/key"},
                    {"name": "NODE_OPTIONS", "secretRef": secret}]}),
                vec!["/env/1", "/env/2"],
            ),
            (
                json!({"files": [{"path": "/etc/bank/app.conf", "content": ""}, {"path": "/run/key", "secretRef": secret},
                    {"path": "/etc/ld.so.preload", "content": "/etc/bank/x.so"}, {"path": "/etc/bank/../ld.so.preload", "content": ""},
                    {"path": "/etc/bank/", "content": ""}, {"path": "/run/key/x", "content": ""}]}),
                vec!["/files/2", "/files/3", "/files/4", "/files/5"],
            ),
            (
                json!({"volumes": [{"path": "/etc/bank/cache", "size": "1Mi"}, {"path": "/usr/lib", "size": "1Mi"}]}),
                vec!["/volumes/1"],
            ),
        ] {
            assert_eq!(fields(more.clone()), expected, "{more}");
        }
    }

    #[test]
    fn a_command_as_probe_is_found_in_what_is_rendered() {
        let container =
            json!({"livenessProbe": {"exec": {"command": ["a"]}}, "readinessProbe": {"httpGet": {"path": "/"}}});
        let rendered = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        assert_eq!(Pod::of_rendered(&rendered).commands_as_probes, ["liveness"]);
    }

    #[test]
    fn a_rule_that_is_not_asked_is_found() {
        mutant::choose(Some(Mutant::SecretRuleNotAsked));
        let mistaken = fields(json!({"command": ["sh"]}));
        mutant::choose(None);
        assert_eq!((mistaken.len(), fields(json!({"command": ["sh"]})).len()), (0, 1));
    }

    #[test]
    fn a_pod_without_secrets_is_asked_nothing() {
        let plain =
            json!({"env": [{"name": "LD_PRELOAD", "value": "x"}], "command": ["sh"], "image": format!("x/y@{DIGEST}")});
        assert_eq!(fields(plain), Vec::<String>::new());
        assert_eq!(task_args(&strict(), false), Ok(()));
        assert!(task_args(&strict(), true).unwrap_err().contains("secrets.taskArgs"));
        assert_eq!(task_args(&EnvironmentRule::default(), true), Ok(()));
    }
}
