//! Text that reaches a process as it was sent.
//!
//! The kubelet expands `$(NAME)` in command, arguments and plain values of variables from the container's environment, which
//! holds secret values: a document could so have a secret put where it is seen, in an error of the runtime or in a list of
//! processes. Within a container's strings `$$` stands for one `$`, so every `$` is doubled. Doubling only that before a bracket
//! would not do: what was sent may hold `$$` too, and the kubelet breaks a character of several bytes after a lone `$`.

use protocol::mutant::{self, Mutant};

/// `text` so that the kubelet's expansion gives `text`.
pub(crate) fn literal(text: &str) -> String {
    if mutant::is(Mutant::ArgumentsExpanded) {
        return text.to_owned();
    }
    text.replace('$', "$$")
}

/// Of each item.
pub(crate) fn literals(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| literal(text)).collect()
}

/// The kubelet's expansion, step by step as in Kubernetes' `third_party/forked/golang/expansion`: bytes, no recursion, one `$`
/// for two, a name up to the first closing bracket, anything else as it is.
#[cfg(test)]
pub(crate) fn expand(input: &str, mapping: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (input, mut out, mut cursor, mut checkpoint) = (input.as_bytes(), Vec::new(), 0, 0);
    while cursor < input.len() {
        if input[cursor] == b'$' && cursor + 1 < input.len() {
            out.extend_from_slice(&input[checkpoint..cursor]);
            let rest = &input[cursor + 1..];
            let advance = match rest[0] {
                b'$' => {
                    out.push(b'$');
                    1
                }
                b'(' => match rest.iter().position(|byte| *byte == b')') {
                    Some(end) => {
                        out.extend(mapping(&rest[1..end]));
                        end + 1
                    }
                    None => {
                        out.extend_from_slice(b"$(");
                        1
                    }
                },
                // Go converts the byte to a character, which beyond ASCII has other bytes.
                other => {
                    out.push(b'$');
                    out.extend(char::from(other).to_string().as_bytes());
                    1
                }
            };
            cursor += advance;
            checkpoint = cursor + 1;
        }
        cursor += 1;
    }
    out.extend_from_slice(input.get(checkpoint..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaking(name: &[u8]) -> Vec<u8> {
        [b"value-of-", name].concat()
    }

    fn expanded(text: &str) -> String {
        String::from_utf8_lossy(&expand(text, &leaking)).into_owned()
    }

    #[test]
    fn the_model_expands_as_kubernetes_own_tests_say() {
        for (input, output) in [
            ("$(VAR_A)", "value-of-VAR_A"),
            ("___$(VAR_B)___", "___value-of-VAR_B___"),
            ("$$(VAR_A)_$(VAR_B)", "$(VAR_A)_value-of-VAR_B"),
            ("$$$(VAR_A)", "$value-of-VAR_A"),
            ("$$$$$$(VAR_A)", "$$$(VAR_A)"),
            ("$(VAR_DNE", "$(VAR_DNE"),
            ("$VAR_A", "$VAR_A"),
            ("$()", "value-of-"),
            ("$)", "$)"),
            ("foo$", "foo$"),
            ("foo$$", "foo$"),
            ("$é", "$Ã\u{fffd}"),
        ] {
            assert_eq!(expanded(input), output, "{input}");
        }
    }

    #[test]
    fn arguments_that_are_expanded_are_found() {
        mutant::choose(Some(Mutant::ArgumentsExpanded));
        let mistaken = expanded(&literal("/$(SECRET)"));
        mutant::choose(None);
        assert_eq!((mistaken.as_str(), expanded(&literal("/$(SECRET)")).as_str()), ("/value-of-SECRET", "/$(SECRET)"));
    }

    proptest! {
        #[test]
        fn what_was_sent_is_what_the_process_gets(text in "([$()A-Z{}é\u{0}-\u{10ffff}]|\\$\\(|\\$\\$|\\$\\(S\\)){0,40}") {
            prop_assert_eq!(expand(&literal(&text), &leaking), text.as_bytes());
        }
    }
}
