//! Forms that a pattern of the schema is too coarse for.

use std::sync::LazyLock;

use regex_lite::Regex;

/// RFC 4648, section 4, in its one canonical form: the API server stores it in that form, and another would differ from it for ever.
pub(super) fn is_base64(text: &str) -> bool {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
    let unused = match text.len() - digits.len() {
        0 => 1,
        1 => 4,
        2 => 16,
        _ => return false,
    };
    let last = digits.bytes().next_back().and_then(value);
    text.len().is_multiple_of(4)
        && digits.bytes().all(|byte| value(byte).is_some())
        && last.is_none_or(|last| last % unused == 0)
}

/// The grammar of image references (distribution, `reference.go`): host and port, path of lower-case parts, a tag perhaps.
pub(super) fn is_image_name(name: &str) -> bool {
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
