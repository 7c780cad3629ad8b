//! Text that comes from outside and is shown to people.

/// Whether a character steers whatever shows it instead of being shown: control characters, line separators, and the marks of
/// writing direction (Unicode Standard Annex #9, "Directional Formatting Characters"), which reorder the text around them and
/// are no control characters to Unicode.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reorders_text_steers_like_control_characters_and_what_shapes_it_does_not() {
        for c in [
            '\n', '\t', '\u{1b}', '\u{7f}', '\u{9b}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}',
            '\u{2069}',
        ] {
            assert!(steers(c), "{c:?}");
        }
        // A joiner belongs to words and emoji.
        for c in [' ', 'a', 'ä', '日', '\u{a0}', '\u{200d}', '\u{feff}'] {
            assert!(!steers(c), "{c:?}");
        }
    }
}
