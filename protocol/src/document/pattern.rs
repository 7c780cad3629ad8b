//! Forms of single values: one pattern each, for the types, for the definitions that are made of them, and for people in words.
//!
//! A pattern is never shown to a person: [`words`] says what it asks for and what to do. The definitions carry the patterns, and
//! an API server judges stored objects by them at each write of a status; so a pattern is widened at will and never narrowed. What
//! a later rule forbids stands in `rules`.

/// Handle or name: a DNS label.
pub const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// Deployment track.
pub const TRACK: &str = r"^v[0-9]{1,4}\.[0-9]{1,4}$";

/// Image by digest.
pub const IMAGE: &str = "^[^@ ]+@sha256:[0-9a-f]{64}$";

/// Name of an environment variable.
pub const VARIABLE: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Path of a file.
pub const FILE: &str = "^/[^:]+$";

/// Path of a secret in the vault.
pub const SECRET: &str = "^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$";

/// Name of an endpoint.
pub const ENDPOINT: &str = "^[A-Za-z]([A-Za-z0-9_-]{0,48}[A-Za-z0-9])?$";

/// Path of a request.
pub const ROOTED: &str = "^/";

/// Name of a header.
pub const HEADER: &str = "^[A-Za-z0-9-]+$";

/// Value of a header: ASCII without control characters, and with a space at neither end.
pub const HEADER_VALUE: &str = "^([!-~]([ -~]*[!-~])?)?$";

/// Amount: the grammar of the API server, without a minus and as far as amounts can be compared here: up to 15 digits, nine
/// decimals, exponents up to 18. Each is read by [`crate::quantity::Quantity`].
pub const QUANTITY: &str =
    r"^\+?([0-9]{1,15}(\.[0-9]{0,9})?|\.[0-9]{1,9})(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?(0?[0-9]|1[0-8]))?$";

/// Permissions of a file.
pub const MODE: &str = "^0[0-7]{3}$";

/// SHA-256 in hexadecimal digits.
pub const HASH: &str = "^[0-9a-f]{64}$";

/// Whether a value has the form.
#[must_use]
pub fn matches(pattern: &str, value: &str) -> bool {
    regex_lite::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(value))
}

/// What a pattern asks for, and what to do.
#[must_use]
pub fn hint(pattern: &str) -> (&'static str, &'static str) {
    match pattern {
        LABEL => (
            "a name has 1 to 63 lower-case letters, digits and dashes, and no dash at its ends",
            "use something like web-shop",
        ),
        TRACK => ("a track is an API version like v1.0", "write v1.0"),
        IMAGE => (
            "an image is named by digest, since a tag may move: registry/repository@sha256: and 64 hexadecimal digits in lower case",
            "`skopeo inspect --format '{{.Digest}}' docker://IMAGE:TAG` or `docker buildx imagetools inspect IMAGE:TAG` shows the \
             digest; then write IMAGE@sha256:…",
        ),
        VARIABLE => ("a variable is named by letters, digits and _", "it must not start with a digit"),
        FILE => (
            "a path is absolute, names something below / and has no colon",
            "write something like /etc/app/settings.yaml for a file, /var/cache/app for a folder",
        ),
        SECRET => (
            "a path in the vault has segments of letters, digits, _ . and -, joined by /; none is made of dots alone, since it would \
             step out of the environment's prefix",
            "it is relative to the environment's own place in the vault, without a leading /",
        ),
        ENDPOINT => (
            "an endpoint's name has 1 to 50 letters, digits, dashes and _, begins with a letter and ends with a letter or digit",
            "write something like http",
        ),
        HEADER => ("a header is named by letters, digits and dashes", "write something like X-Health"),
        HEADER_VALUE => {
            ("the value of a header is ASCII on one line, without a space at its ends", "encode other characters")
        }
        ROOTED => ("a path starts with /", "put a / in front"),
        QUANTITY => (
            "this is not an amount of Kubernetes: up to 15 digits and nine decimals, then a suffix",
            "write something like 500m for CPU, 128Mi for memory",
        ),
        MODE => {
            ("permissions of a file are four octal digits, of which the first is 0", "write something like \"0750\"")
        }
        HASH => ("a hash has 64 hexadecimal digits in lower case", ""),
        _ => ("this value does not have the form that is asked for", ""),
    }
}
