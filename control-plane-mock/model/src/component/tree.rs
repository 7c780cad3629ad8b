//! The text of a component file as a tree that remembers lines. Text stays as it is written where text is expected.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Error;

use super::shape::Shape;
use crate::problem::Problem;

/// Longest file that is read, in bytes. A Release document may have 256 KiB.
const MAX_FILE: usize = 512 * 1024;

/// Most that the names of all places may take together, in bytes: deep below long keys each value has a long one.
const MAX_PLACES: usize = 32 * 1024 * 1024;

/// A problem and where it stands in the text.
#[derive(Debug, Clone)]
pub struct Located {
    /// Line, from 1; none when the whole file is meant.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

impl From<Problem> for Located {
    fn from(problem: Problem) -> Self {
        Self { line: None, problem }
    }
}

/// The text of a file.
///
/// # Errors
/// It is in another encoding than UTF-8.
pub fn decoded(bytes: Vec<u8>) -> Result<String, Located> {
    let refuse = |what: &str, lines_before: usize| {
        let hint = "save it as UTF-8; in PowerShell: Get-Content FILE | Set-Content -Encoding utf8 NEWFILE";
        Located { line: u64::try_from(lines_before + 1).ok(), problem: Problem::invalid("", what).hint(hint) }
    };
    // With its mark, or beginning with a letter of ASCII, which has a zero byte beside it.
    if matches!(bytes.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..]) {
        return Err(refuse("the file is in UTF-16", 0));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        refuse("the file is not in UTF-8", good.filter(|byte| **byte == b'\n').count())
    })
}

/// Reads YAML, one document of it.
pub(super) fn read(text: &str, shape: Shape<'_>) -> Result<(Value, Lines), Located> {
    if text.len() > MAX_FILE {
        let sentence = format!("the file has {} bytes, {MAX_FILE} are allowed", text.len());
        return Err(Problem::invalid("", sentence).into());
    }
    let mut lines = Lines::default();
    let tree = serde_saphyr::with_deserializer_from_str(without_end(text), |input| {
        Node { pointer: String::new(), lines: &mut lines, shape }.deserialize(input)
    });
    tree.map(|tree| (tree, lines)).map_err(|error| located(&error))
}

/// Without the empty documents at its end: a last `---` with nothing but comments behind it.
fn without_end(text: &str) -> &str {
    let (mut start, mut end) = (text.len(), text.len());
    // A lone CR ends a line as well.
    for line in text.split_inclusive(['\n', '\r']).rev() {
        start -= line.len();
        let (marker, behind) = line.split_at_checked(3).unwrap_or((line, ""));
        let nothing = |text: &str| text.trim_start().is_empty() || text.trim_start().starts_with('#');
        let is_whole = behind.is_empty() || behind.starts_with(char::is_whitespace);
        if matches!(marker, "---" | "...") && is_whole && nothing(behind) {
            end = start;
        } else if !nothing(line) {
            break;
        }
    }
    text.get(..end).unwrap_or(text)
}

/// The reader's error in our own sentences.
fn located(error: &Error) -> Located {
    let (what, hint) = yaml_words(error).unwrap_or_else(|| {
        let text = super::without_values(&error.without_snippet().to_string());
        // The position is reported separately, so it is cut off the sentence.
        let sentence = text.split(" at line ").next().unwrap_or(&text).lines().next().unwrap_or_default();
        (
            format!("this cannot be read as YAML: {sentence}"),
            "indent by spaces, put a space behind `key:`, and quotes around text with `: `, ` #` or a special first character",
        )
    });
    Located { line: error.location().map(|location| location.line()), problem: Problem::invalid("", what).hint(hint) }
}

/// What is wrong and what to do, for those errors of the YAML reader whose own texts speak of its options or repeat a value.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "the reader has sixty errors; most never come of a file like ours")]
pub fn yaml_words(error: &Error) -> Option<(String, &'static str)> {
    let (what, hint) = match error.without_snippet() {
        Error::AliasError { error, .. } => return yaml_words(error),
        Error::MultipleDocuments { .. } => (
            "the file holds several documents, and a component file is one",
            "put what follows the line `---` into a file of its own, and deploy each",
        ),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            let key: String = key.chars().take(64).collect();
            return Some((format!("key `{key}` stands here twice"), "remove one of them"));
        }
        Error::DuplicateMappingKey { key: None, .. } => ("a key stands here twice", "remove one of them"),
        Error::NullIntoString { .. } => ("there is nothing here", "give it a value, or remove it"),
        Error::Unexpected { .. } => ("text is expected here", "write a single value, not a list or a mapping"),
        Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. } => {
            ("a value with this tag is not text", "write the text itself, without !! and what follows")
        }
        Error::NonFiniteFloat { .. } => ("infinity, or what is no number, cannot stand here", "write digits only"),
        Error::UnknownAnchor { .. } => (
            "`*` stands for a value that was marked with `&` before, and no such mark is there",
            "put quotes around text that begins with *",
        ),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            ("`<<` takes keys and values over, and this is neither", "name a mapping behind it, or remove it")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            ("the file has more values or levels than can be read", "write it without repeating parts by `*`")
        }
        _ => return None,
    };
    Some((what.to_owned(), hint))
}

/// Lines of keys, by JSON pointer.
#[derive(Default)]
pub(super) struct Lines {
    lines: BTreeMap<String, u64>,
    /// What the names of all places have taken.
    spent: usize,
}

impl Lines {
    /// Line of a pointer: its own, else that of the first thing below it, else its parent's.
    pub(super) fn of(&self, pointer: &str) -> Option<u64> {
        let below = format!("{pointer}/");
        self.lines
            .get(pointer)
            .or_else(|| {
                self.lines
                    .range(below.clone()..)
                    .next()
                    .filter(|(key, _)| key.starts_with(&below))
                    .map(|(_, line)| line)
            })
            .copied()
            .or_else(|| pointer.rsplit_once('/').and_then(|(parent, _)| self.of(parent)))
    }

    fn spend<E: serde::de::Error>(&mut self, pointer: &str) -> Result<(), E> {
        self.spent += pointer.len();
        if self.spent > MAX_PLACES { Err(E::custom("too much lies too deep")) } else { Ok(()) }
    }
}

struct Node<'a> {
    pointer: String,
    lines: &'a mut Lines,
    shape: Shape<'a>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        if self.shape.is_text(&self.pointer) {
            return Ok(Option::<String>::deserialize(input)?.map_or(Value::Null, Value::String));
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        let number = self.shape.is_number(&self.pointer).then(|| value.parse::<i64>().ok()).flatten();
        Ok(number.map_or_else(|| value.into(), Value::from))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        self.deserialize(input)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        loop {
            let pointer = format!("{}/{}", self.pointer, all.len());
            self.lines.spend(&pointer)?;
            let node = Node { pointer, lines: &mut *self.lines, shape: self.shape };
            let Some(item) = items.next_element_seed(node)? else { break };
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = serde_json::Map::new();
        while let Some(key) = members.next_key::<serde_saphyr::Spanned<String>>()? {
            let pointer = format!("{}/{}", self.pointer, key.value.replace('~', "~0").replace('/', "~1"));
            self.lines.spend(&pointer)?;
            self.lines.lines.insert(pointer.clone(), key.referenced.line());
            let value = members.next_value_seed(Node { pointer, lines: &mut *self.lines, shape: self.shape })?;
            all.insert(key.value, value);
        }
        Ok(Value::Object(all))
    }
}
