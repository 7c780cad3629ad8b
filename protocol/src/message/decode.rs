//! Text of a message to its type and back. Pure; bounded by [`MAX_MESSAGE`](super::MAX_MESSAGE).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{AgentMessage, ControlMessage, MAX_MESSAGE, number};

/// A message that was not understood.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not an object with a `type`, or too long. The connection is closed.
    #[error("message is not a JSON object with a type")]
    Envelope(#[source] serde_json::Error),
    /// Longer than the limit. The connection is closed.
    #[error("message has {length} bytes, {MAX_MESSAGE} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// The type is known, its fields are not as they must be. The connection is closed: the other side would wait for an answer.
    #[error("message of type {message_type} has a wrong field")]
    Fields {
        /// The type.
        message_type: String,
        /// What is wrong; names fields, never values.
        #[source]
        source: serde_json::Error,
    },
    /// A number is beyond what every JSON implementation reads alike. The connection is closed.
    #[error("message of type {message_type}: {detail}")]
    Number {
        /// The type.
        message_type: String,
        /// Which member, and where; never the value.
        detail: String,
    },
    /// Another minor version of the wire. Left aside and reported.
    #[error("message type {message_type:?} is not known here")]
    UnknownType {
        /// The type, at most 64 characters of it.
        message_type: String,
    },
}

impl DecodeError {
    /// Whether the connection must be closed.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Envelope(_) | Self::TooLong { .. } | Self::Fields { .. } | Self::Number { .. } => true,
            Self::UnknownType { .. } => false,
        }
    }
}

/// One message as text.
///
/// # Errors
/// None for the messages of this crate; the signature is serde's.
pub fn encode<M: Serialize>(message: &M) -> Result<String, serde_json::Error> {
    serde_json::to_string(message)
}

/// Reads what an agent sent.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_agent(text: &str) -> Result<AgentMessage, DecodeError> {
    let kind = message_type(text)?;
    Ok(match kind.as_ref() {
        "hello" => AgentMessage::Hello(fields(&kind, text)?),
        "answer" => AgentMessage::Answer(fields(&kind, text)?),
        "inventory" => AgentMessage::Inventory(fields(&kind, text)?),
        "inventoryBuckets" => AgentMessage::InventoryBuckets(fields(&kind, text)?),
        "inventoryEntries" => AgentMessage::InventoryEntries(fields(&kind, text)?),
        "state" => AgentMessage::State(fields(&kind, text)?),
        "fact" => AgentMessage::Fact(fields(&kind, text)?),
        "renew" => AgentMessage::Renew(fields(&kind, text)?),
        "streamEnded" => AgentMessage::StreamEnded(fields(&kind, text)?),
        "unsupported" => AgentMessage::Unsupported(fields(&kind, text)?),
        _ => return Err(unknown(&kind)),
    })
}

/// Reads what a control plane sent.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_control(text: &str) -> Result<ControlMessage, DecodeError> {
    let kind = message_type(text)?;
    Ok(match kind.as_ref() {
        "welcome" => ControlMessage::Welcome(fields(&kind, text)?),
        "document" => ControlMessage::Document(fields(&kind, text)?),
        "forget" => ControlMessage::Forget(fields(&kind, text)?),
        "inventoryNeedBuckets" => ControlMessage::InventoryNeedBuckets,
        "inventoryNeedEntries" => ControlMessage::InventoryNeedEntries(fields(&kind, text)?),
        "inventoryDone" => ControlMessage::InventoryDone(fields(&kind, text)?),
        "adopted" => ControlMessage::Adopted(fields(&kind, text)?),
        "stateAck" => ControlMessage::StateAck(fields(&kind, text)?),
        "factAck" => ControlMessage::FactAck(fields(&kind, text)?),
        "renewed" => ControlMessage::Renewed(fields(&kind, text)?),
        "renewRefused" => ControlMessage::RenewRefused(fields(&kind, text)?),
        "drain" => ControlMessage::Drain(fields(&kind, text)?),
        "streamStart" => ControlMessage::StreamStart(fields(&kind, text)?),
        "streamStop" => ControlMessage::StreamStop(fields(&kind, text)?),
        "unsupported" => ControlMessage::Unsupported(fields(&kind, text)?),
        _ => return Err(unknown(&kind)),
    })
}

fn message_type(text: &str) -> Result<Cow<'_, str>, DecodeError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(rename = "type", borrow)]
        message_type: Cow<'a, str>,
    }
    if text.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLong { length: text.len() });
    }
    serde_json::from_str::<Envelope<'_>>(text).map(|envelope| envelope.message_type).map_err(DecodeError::Envelope)
}

fn fields<'a, T: Deserialize<'a>>(message_type: &str, text: &'a str) -> Result<T, DecodeError> {
    let message_type = || message_type.chars().take(64).collect();
    number::check(text)
        .map_err(|error| DecodeError::Number { message_type: message_type(), detail: error.to_string() })?;
    serde_json::from_str(text).map_err(|source| DecodeError::Fields { message_type: message_type(), source })
}

fn unknown(message_type: &str) -> DecodeError {
    DecodeError::UnknownType { message_type: message_type.chars().take(64).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_byte_for_byte() {
        let text = r#"{"id":7,"type":"document","kind":"Release","name":"a","generation":3,"hash":"00","body":{ "b" : 1,"a":[] }}"#;
        let ControlMessage::Document(document) = decode_control(text).unwrap() else { panic!("a document") };
        assert_eq!(document.body.get(), r#"{ "b" : 1,"a":[] }"#);
        let again = encode(&ControlMessage::Document(document)).unwrap();
        assert!(again.starts_with(r#"{"type":"document","id":7"#), "{again}");
        assert!(again.contains(r#""body":{ "b" : 1,"a":[] }"#), "{again}");
    }

    #[test]
    fn unknown_types_are_not_fatal_and_unknown_fields_are_ignored() {
        assert!(!decode_agent(r#"{"type":"dance"}"#).unwrap_err().is_fatal());
        assert!(matches!(decode_control(r#"{"type":"drain","afterMs":1,"new":2}"#), Ok(ControlMessage::Drain(_))));
    }

    #[test]
    fn what_has_no_type_or_wrong_fields_closes() {
        for text in
            ["", "[]", "{}", r#"{"type":1}"#, r#"{"type":"drain"}"#, r#"{"type":"drain","type":"drain","afterMs":1}"#]
        {
            assert!(decode_control(text).unwrap_err().is_fatal(), "{text}");
        }
    }
}
