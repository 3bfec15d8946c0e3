//! Opening a WebSocket upstream: a handshake over a connection of its own, and the stream once the server has agreed.
//!
//! Nothing but the handshake is written here: whoever holds the stream, holds it after a valid `101`.

use ::http::{HeaderMap, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio::time::timeout;

use super::answer::Answer;
use super::body::{Outgoing, Sent};
use super::dial::Dialed;
use super::error::UpstreamError;
use super::{Failed, Outbound, Upstream, adapt, key, message};
use crate::approval::permit::Permit;
use crate::flow::http::canonical::{RequestHead, Scheme};
use crate::flow::http::parse::connection_options;
use crate::flow::http::spelling::Spelling;
use crate::names::Digest;

/// What servers put behind the key before they hash it (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The destination's answer to a handshake.
pub enum Opening {
    /// It agreed: its head without what concerned the connection only, and the stream behind it.
    Switched(HeaderMap, TokioIo<Upgraded>),
    /// It did not.
    Answered(Answer),
}

impl Upstream {
    /// Sends a WebSocket handshake over a connection of its own, at most once.
    pub async fn open_websocket(&self, permit: Permit, request: Box<Outbound>) -> Result<Opening, Failed> {
        let key = key(&permit, (&request.head, Some(Digest::of(b""))), false)?;
        let has_others = !permit.is_reviewed() && self.ways.has_others(&key);
        let dialed = match self.dial_to(&key, has_others, true).await {
            Ok(dialed) => dialed,
            Err(why) => return Err(Failed::before_sending(why, request)),
        };
        match timeout(self.answer_within, handshake(dialed, &request.head, request.spelling)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(UpstreamError::NoAnswer(self.answer_within).into()),
        }
    }
}

async fn handshake(dialed: Dialed, head: &RequestHead, spelling: Spelling) -> Result<Opening, UpstreamError> {
    let mut request = message(head, Outgoing::whole(Bytes::new(), Sent::default()))?;
    adapt(&mut request, false);
    request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    spelling.apply(&mut request);
    let dialing = http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(dialed)).await;
    let (mut sender, connection) = dialing.map_err(UpstreamError::NotWritten)?;
    tokio::spawn(async move {
        // Its end is seen by whoever sends over it.
        let _ = connection.with_upgrades().await;
    });
    let mut response = sender.send_request(request).await.map_err(UpstreamError::Exchange)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let name = (head.scheme == Scheme::Https).then(|| head.host.clone());
        return Ok(Opening::Answered(Answer::new(response, name, None)));
    }
    let key = head.header_values("sec-websocket-key").next().unwrap_or_default();
    check(&response, key).map_err(UpstreamError::BadSwitch)?;
    let stream = hyper::upgrade::on(&mut response).await.map_err(UpstreamError::Exchange)?;
    let mut fields = response.into_parts().0.headers;
    super::answer::strip_connection_fields(&mut fields);
    Ok(Opening::Switched(fields, TokioIo::new(stream)))
}

/// Whether a `101` is one to this handshake.
fn check(response: &Response<Incoming>, key: &[u8]) -> Result<(), &'static str> {
    let fields = response.headers();
    let websocket = |value: &header::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    let accepted = fields.get(header::SEC_WEBSOCKET_ACCEPT).map(header::HeaderValue::as_bytes);
    if !fields.get(header::UPGRADE).is_some_and(websocket) {
        Err("it switches to something else than WebSocket")
    } else if !connection_options(fields).contains(&header::UPGRADE) {
        Err("its Connection field does not say Upgrade")
    } else if accepted != Some(signature(key).as_bytes()) {
        Err("its Sec-WebSocket-Accept is not the answer to the key")
    } else {
        Ok(())
    }
}

/// What a server that read the key answers with.
fn signature(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_signed_as_the_standard_shows() {
        assert_eq!(signature(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
