//! Forms and rules over the same values agree, and each amount that a form takes can be compared.

use proptest::prelude::*;

use super::super::*;
use crate::name::is_label;

fn form(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Text close to what a form asks for: most of it is nearly right.
fn near(alphabet: &'static str, most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(alphabet.chars().collect::<Vec<_>>()), 0..most)
        .prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #[test]
    fn a_label_is_one_by_function_and_pattern(text in near("ab0-A.", 8), long in near("a-", 70)) {
        for text in [text, long] {
            prop_assert_eq!(is_label(&text), form(pattern::LABEL).is_match(&text), "{}", text);
        }
    }

    #[test]
    fn each_amount_that_the_pattern_takes_can_be_compared(text in near("019.+-eEmkMKinu", 12)) {
        let taken = form(pattern::QUANTITY).is_match(&text);
        let amount = Quantity::parse(&text);
        prop_assert!(!taken || amount.is_some(), "{} is taken and cannot be read", text);
        // In so short a text only a minus can be parsed and yet not match the pattern.
        prop_assert!(taken || amount.is_none() || text.starts_with('-') || exponent_has_zeros(&text), "{}", text);
    }

    #[test]
    fn a_secret_stays_below_its_prefix_by_rule_and_pattern(path in near("ab./-_:", 10)) {
        let taken = form(pattern::SECRET).is_match(&path);
        let inside = path.split('/').all(|part| !part.is_empty() && part.chars().any(|c| c != '.'));
        prop_assert_eq!(taken, inside && !path.contains(':'), "{}", path);
    }

    #[test]
    fn a_plain_path_has_the_form_of_the_definition(path in near("/a.\n", 10)) {
        let mut found = Found(Vec::new());
        found.path(String::new(), &path);
        let plain = found.0.is_empty() && path.starts_with('/');
        prop_assert!(!plain || form(pattern::FILE).is_match(&path), "{}", path);
    }
}

/// `1e007` is read, and too odd for the pattern.
fn exponent_has_zeros(text: &str) -> bool {
    text.split(['e', 'E']).nth(1).is_some_and(|exponent| exponent.trim_start_matches(['+', '-']).len() > 2)
}
