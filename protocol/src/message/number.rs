//! Numbers of messages: integers that every JSON implementation reads alike, so none beyond 2^53 − 1 (RFC 7493, section 2.2).
//!
//! Types alone would take all that 64 bits hold. A document's body is left out: what is wrong in it is answered, not closed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::tree::MAX_INTEGER;

/// Member of a document that is checked on its own.
const BODY: &str = "body";

/// Reads a message for its numbers.
///
/// # Errors
/// One is beyond 2^53 − 1; names its member, never the value. Or malformed JSON.
pub(super) fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut input = serde_json::Deserializer::from_str(text);
    Numbers { member: "", top: true }.deserialize(&mut input)
}

#[derive(Clone, Copy)]
struct Numbers<'a> {
    /// Name of the nearest member around it.
    member: &'a str,
    top: bool,
}

impl Numbers<'_> {
    fn within<E: Error>(self, yes: bool) -> Result<(), E> {
        let name: String = self.member.chars().take(64).collect();
        if yes { Ok(()) } else { Err(E::custom(format_args!("{name} is beyond 2^53 − 1"))) }
    }
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.within(value >= -MAX_INTEGER)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.within(value <= MAX_INTEGER.unsigned_abs())
    }

    /// Also what is too long for 64 bits.
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.within(value.abs() < 9_007_199_254_740_992.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Numbers { top: false, ..self })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if self.top && name == BODY {
                members.next_value::<IgnoredAny>()?;
            } else {
                members.next_value_seed(Numbers { member: &name, top: false })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_what_every_implementation_reads_is_named_wherever_it_stands() {
        for text in [
            r#"{"type":"drain","afterMs":9007199254740992}"#,
            r#"{"type":"x","window":{"bytes":9007199254740992}}"#,
            r#"{"type":"x","floor":[-9007199254740992]}"#,
            r#"{"type":"x","floor":100000000000000000000}"#,
            r#"{"type":"x","inner":{"body":9007199254740992}}"#,
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(" is beyond 2^53") && !error.contains("9007"), "{text}: {error}");
        }
        for text in [
            r#"{"type":"drain","afterMs":9007199254740991,"new":-9007199254740991,"share":0.5}"#,
            r#"{"type":"document","body":{"n":9007199254740992}}"#,
        ] {
            check(text).unwrap();
        }
    }
}
