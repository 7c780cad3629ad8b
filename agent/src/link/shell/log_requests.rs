//! Requests for log streams, as they come over the control connection: handed on, or answered at once.

use protocol::message::{AgentMessage, EndReason, StreamEnded, StreamStart};
use tracing::debug;

use super::term::Term;
use crate::link::logs::{self, LogRequest};
use crate::link::store::Store;

impl<S: Store> Term<'_, S> {
    pub(super) fn stream_start(&mut self, start: StreamStart) {
        let stream = start.stream;
        let (reason, message) = match &self.streams {
            Some(_) if !logs::is_bounded(&start) => (EndReason::BadCursor, logs::TOO_LONG),
            Some(streams) if streams.request(LogRequest::Start(Box::new(start))) => return,
            Some(_) => (EndReason::Busy, "too many log streams are asked for at once; try again"),
            None => (EndReason::NotAllowed, "this agent does not serve log streams"),
        };
        self.answer_now(AgentMessage::StreamEnded(StreamEnded { stream, reason, message: message.to_owned() }));
    }

    pub(super) fn stream_stop(&self, stream: u32) {
        if let Some(streams) = &self.streams
            && !streams.request(LogRequest::Stop(stream))
        {
            debug!(stream, "a log stream that shall stop waits in a full queue; its credit ends it");
        }
    }
}
