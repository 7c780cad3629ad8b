//! Text that a kubelet, a container runtime, the scheduler or a controller wrote. It stays in the cluster.
//!
//! Such text quotes what it failed on: a runtime that cannot start `/bin/x` says so with the whole path, and a path may hold
//! whatever a container was given, secret values included. So it is wrapped where it is read from the API server, and nothing
//! here gives it back: no `Display`, no `Serialize`, no way to a `String`. What leaves the cluster is a sentence of our own for
//! the class of the text; the text itself stays where the cluster keeps it, and the sentence says how to read it there.

use std::fmt;

/// A text of the cluster that can be judged and not passed on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClusterWords(String);

/// Without the text, also in a log or a panic.
impl fmt::Debug for ClusterWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterWords(…)")
    }
}

/// Reasons of pods and containers that are passed on in this spelling. Most are the kubelet's; a runtime may give any.
const REASONS: [&str; 26] = [
    "Completed",
    "ContainerCannotRun",
    "ContainerCreating",
    "ContainerStatusUnknown",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "DeadlineExceeded",
    "ErrImageNeverPull",
    "ErrImagePull",
    "Error",
    "Evicted",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "NodeLost",
    "OOMKilled",
    "PodInitializing",
    "PostStartHookError",
    "PreStartHookError",
    "PreCreateHookError",
    "RegistryUnavailable",
    "RunContainerError",
    "SignatureValidationFailed",
    "StartError",
    "Terminated",
];

/// What is said in place of a reason that is not known.
const OTHER: &str = "Other";

impl ClusterWords {
    /// Wraps a text as it comes from the API server.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Wraps a field that may be missing.
    #[must_use]
    pub fn of(text: Option<&String>) -> Self {
        Self(text.cloned().unwrap_or_default())
    }

    /// The known reason that the text is, else `Other`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        REASONS.into_iter().find(|known| *known == self.0).unwrap_or(OTHER)
    }

    /// Whether the text is just this.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.0 == word
    }

    /// Whether one of these parts occurs, in any case.
    fn says(&self, parts: &[&str]) -> bool {
        let text = self.0.to_lowercase();
        parts.iter().any(|part| text.contains(part))
    }

    /// Whether an image is refused because it would run as root, or its user cannot be told from root.
    #[must_use]
    pub fn speaks_of_root(&self) -> bool {
        self.says(&["runasnonroot", "run as root", "non-numeric user"])
    }

    /// Whether a quota is used up.
    #[must_use]
    pub fn speaks_of_quota(&self) -> bool {
        self.says(&["exceeded quota"])
    }

    /// What no node can give, for a sentence.
    #[must_use]
    pub fn lacking(&self) -> &'static str {
        for (parts, lacking) in [
            (&["insufficient cpu"][..], "none has enough CPU left"),
            (&["insufficient memory"], "none has enough memory left"),
            (&["insufficient "], "none has enough of a resource left"),
            (&["too many pods"], "none may take one pod more"),
            (&["taint"], "the nodes are kept for other work or are not ready"),
            (&["affinity", "selector", "topology spread"], "none is where the pod may run"),
            (&["volume", "persistentvolume"], "none can attach a volume"),
        ] {
            if self.says(parts) {
                return lacking;
            }
        }
        "none fits"
    }

    /// Why an image cannot be pulled, for a sentence.
    #[must_use]
    pub fn pull_failure(&self) -> &'static str {
        for (parts, failure) in [
            // Whole phrases: an image may have any of the words in its name.
            (&["x509: ", "failed to verify certificate"][..], "the node does not trust the registry's certificate"),
            (&[": not found", "manifest unknown", "does not exist or may"], "the registry has no such image"),
            (&["401 unauthorized", "403 forbidden", "unauthorized: ", "denied: "], "the registry refuses access"),
            (
                &["no such host", "connection refused", "i/o timeout", "dial tcp ", "network is unreachable"],
                "the registry cannot be reached from the node",
            ),
        ] {
            if self.says(parts) {
                return failure;
            }
        }
        "the kubelet tries again"
    }

    /// Whether a file or a volume cannot be mounted: `error mounting "…" to rootfs at "…"` of runc, ``mount `…` to `…`:`` of crun.
    #[must_use]
    pub fn speaks_of_mounts(&self) -> bool {
        self.says(&["error mounting ", " to rootfs at ", "crun: mount `"])
    }

    /// Why a container cannot be started and what to check, for a sentence.
    #[must_use]
    pub fn start_failure(&self) -> &'static str {
        // A mount fails in the same words as a program that is not there, so it is looked for first.
        if self.speaks_of_mounts() {
            "a file or a volume cannot be put at its path; check the paths of files, secret files and volumes"
        } else if self.says(&["no such file or directory", "not found in $path", "executable file not found"]) {
            "the program that command names is not in the image; check command and args"
        } else if self.says(&["permission denied"]) {
            "the program that command names may not be run by the container's user; check command and args"
        } else {
            "the container cannot be started; check command and args"
        }
    }
}

// Checked by the compiler: each line names a trait that would give the text away. For a type that has the trait there would be two
// functions `out`, and the call would be ambiguous.
#[cfg(test)]
const _: fn() = || {
    macro_rules! no_way_out {
        ($($bound:path),+ $(,)?) => {$({
            trait Out<Which> {
                fn out() {}
            }
            struct Open;
            impl<T> Out<()> for T {}
            impl<T: $bound> Out<Open> for T {}
            let _ = <ClusterWords as Out<_>>::out;
        })+};
    }
    no_way_out!(
        fmt::Display,
        serde::Serialize,
        AsRef<str>,
        AsRef<[u8]>,
        std::borrow::Borrow<str>,
        Into<String>,
        std::ops::Deref,
        IntoIterator,
    );
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_judgement_holds_a_word_of_the_text() {
        let words = ClusterWords::new("exec: \"/s3cret\": not found, insufficient s3cret, denied s3cret, s3cret");
        let said = format!(
            "{words:?} {} {} {} {}",
            words.reason(),
            words.lacking(),
            words.pull_failure(),
            words.start_failure()
        );
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(ClusterWords::new("OOMKilled").reason(), "OOMKilled");
        assert_eq!(words.reason(), "Other");
    }

    #[test]
    fn what_a_text_is_about_is_found_in_it() {
        let words = ClusterWords::new;
        assert_eq!(words("0/3 nodes are available: 3 Insufficient cpu.").lacking(), "none has enough CPU left");
        assert_eq!(
            words("1 node(s) had untolerated taint {k: v}").lacking(),
            "the nodes are kept for other work or are not ready"
        );
        assert_eq!(words("x: 401 Unauthorized").pull_failure(), "the registry refuses access");
        assert_eq!(words("r/a@sha256:0: not found").pull_failure(), "the registry has no such image");
        assert_eq!(
            words("tls: failed to verify certificate: x509").pull_failure(),
            "the node does not trust the registry's certificate"
        );
        assert!(words("Container image will run as root").speaks_of_root());
        assert!(words("exec: \"/x\": stat /x: no such file or directory").start_failure().contains("not in the image"));
    }

    #[test]
    fn a_mount_that_fails_is_not_taken_for_a_program_that_is_not_there() {
        let lead = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error \
                    during container init: error mounting \"/var/lib/kubelet/pods/u/volumes/x\" to rootfs at \"/bin/busybox/x\": ";
        for end in ["not a directory", "mkdir /bin/busybox/x: read-only file system", "no such file or directory"] {
            let words = ClusterWords::new(format!("{lead}{end}"));
            assert!(words.speaks_of_mounts() && words.start_failure().contains("check the paths of files"), "{end}");
        }
        let crun = ClusterWords::new(
            "crun: mount `/var/lib/kubelet/x` to `bin/busybox/x`: Not a directory: OCI runtime error",
        );
        assert!(crun.start_failure().starts_with("a file or a volume cannot be put at its path"));
        let program = ClusterWords::new("exec: \"/x\": permission denied");
        assert!(!program.speaks_of_mounts() && program.start_failure().ends_with("check command and args"));
    }
}
