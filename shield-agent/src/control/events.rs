//! Changes as they happen: the API's stream of server-sent events.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::error::ControlError;
use super::http::{Ask, Socket};
use crate::approval::event::Event;

/// How long a stream may stay silent: it shows every 15 seconds that it lives.
const SILENCE: Duration = Duration::from_secs(45);

/// A stream of changes. Those that happen while nobody reads wait, as long as the approver keeps them.
#[derive(Debug)]
pub struct Events<'a> {
    socket: &'a Socket,
    body: Incoming,
    lines: Lines,
    read: VecDeque<Event>,
}

impl<'a> Events<'a> {
    pub(super) fn begin(socket: &'a Socket) -> Result<Self, ControlError> {
        let body = socket.stream(Ask::get("/events".to_owned()))?;
        Ok(Self { socket, body, lines: Lines::default(), read: VecDeque::new() })
    }
}

impl Iterator for Events<'_> {
    type Item = Result<Event, ControlError>;

    /// Waits for the next change. After the last, changes may have been missed: begin again, and look.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Some(Ok(event));
            }
            let next = async { timeout(SILENCE, self.body.frame()).await };
            let data = match self.socket.runtime.block_on(next) {
                Err(_elapsed) => return Some(Err(ControlError::Silent)),
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some(Err(ControlError::Broken(error.into()))),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            match self.lines.push(&data) {
                Ok(events) => self.read.extend(events),
                Err(error) => return Some(Err(ControlError::Malformed(error))),
            }
        }
    }
}

/// The lines of a stream, which frames may cut anywhere.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Takes more bytes; returns the events that are complete now. Each is one `data:` line, which holds all of it.
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, serde_json::Error> {
        self.0.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.0.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data:") {
                events.push(serde_json::from_slice(data)?);
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::event::EventName;

    #[test]
    fn an_event_is_read_wherever_the_stream_is_cut() {
        let stream = b": alive\n\nevent: hold.created\n\
            data: {\"name\":\"hold.created\",\"hold\":null,\"agent\":\"bot\"}\n\n:\n\n";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let mut events = lines.push(&stream[..cut]).unwrap();
            events.extend(lines.push(&stream[cut..]).unwrap());
            assert_eq!(events.len(), 1, "cut at {cut}");
            assert_eq!(events[0].name, EventName::HoldCreated);
        }
    }
}
