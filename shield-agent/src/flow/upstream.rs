//! The only door out: a permit and the request it names become bytes at the original address.
//!
//! A request allowed by rule may use a kept connection. A request a reviewer approved gets a connection of its own and
//! is written at most once: there is no retry in this module for it, not even of what was never answered.

pub mod answer;
pub mod body;
pub mod connection;
pub mod dial;
pub mod error;
pub mod pool;
pub mod trust;
pub mod websocket;

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, TE, TRANSFER_ENCODING};
use ::http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use hyper::body::Body as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::approval::permit::Permit;
use crate::flow::accept::forbidden::Forbidden;
use crate::flow::http::canonical::{RequestHead, Scheme};
use crate::flow::http::spelling::Spelling;
use crate::names::Digest;
use answer::Answer;
use body::Outgoing;
use connection::{Connection, Unanswered};
use dial::Dialer;
use error::UpstreamError;
use pool::{Key, Pool};
use trust::Trust;

/// How long an upstream may take to begin its answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(900);

const SWITCHING_PROTOCOLS: u16 = 101;

/// Sends permitted requests.
pub struct Upstream {
    dialer: Dialer,
    pool: Arc<Pool>,
    answer_within: Duration,
}

/// A request on its way out.
pub struct Outbound {
    /// The head that was judged.
    pub head: RequestHead,
    /// The digest of the body when it was judged; `None` when it streams.
    pub body_digest: Option<Digest>,
    /// The body.
    pub body: Outgoing,
    /// How the program spelled the names of its fields.
    pub spelling: Spelling,
    /// Whether the program spoke HTTP/2 in the clear, and so must we.
    pub knows_h2: bool,
}

impl Upstream {
    /// An upstream side that goes to whom `trust` trusts and never to a forbidden address.
    pub fn new(trust: Trust, forbidden: Arc<Forbidden>, connect_timeout: Duration) -> Self {
        let dialer = Dialer::new(trust, forbidden, connect_timeout);
        Self { dialer, pool: Pool::start(), answer_within: ANSWER_WITHIN }
    }

    /// Sends one request and returns the beginning of its answer; the rest streams.
    pub async fn send(&self, permit: Permit, request: Box<Outbound>) -> Result<Answer, UpstreamError> {
        let alone = permit.is_reviewed();
        let (key, message) = prepare(&permit, request)?;
        match timeout(self.answer_within, self.exchange(key, message, alone)).await {
            Ok(Ok(answer)) if answer.status() == SWITCHING_PROTOCOLS => Err(UpstreamError::Switched),
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::NoAnswer(self.answer_within)),
        }
    }

    /// Connects for bytes nobody looks into: a connection of its own, nothing written.
    pub async fn connect(&self, permit: Permit, digest: Digest) -> Result<TcpStream, UpstreamError> {
        if !permit.names(digest) {
            return Err(UpstreamError::NotPermitted);
        }
        let address = SocketAddr::new(permit.destination().ip, permit.destination().port);
        self.dialer.connect(address).await
    }

    async fn exchange(
        &self,
        key: Key,
        mut message: Box<Request<Outgoing>>,
        alone: bool,
    ) -> Result<Answer, UpstreamError> {
        if alone {
            let fresh = Box::pin(self.dial_alone(&key)).await?;
            return self.answer(fresh, message, &key, false).await.map_err(Unanswered::on_a_fresh_connection);
        }
        let mut waited = false;
        loop {
            while let Some(kept) = self.pool.take(&key).await {
                match self.answer(kept, message, &key, true).await {
                    Ok(answer) => return Ok(answer),
                    // The other side closed an idle connection before a byte of this request was written.
                    Err(Unanswered { unwritten: Some(unwritten), .. }) => message = unwritten,
                    Err(unanswered) => return Err(UpstreamError::Exchange(unanswered.error)),
                }
            }
            let first = if waited { None } else { self.pool.first(&key).await };
            if first.is_none() && !mem::replace(&mut waited, true) {
                continue;
            }
            let fresh = Box::pin(self.dial(&key)).await?;
            drop(first);
            return self.answer(fresh, message, &key, true).await.map_err(Unanswered::on_a_fresh_connection);
        }
    }

    /// A connection nobody else uses.
    async fn dial_alone(&self, key: &Key) -> Result<Connection, UpstreamError> {
        self.dialer.dial(key.address, key.name.as_deref()).await?.into_connection(key.knows_h2).await
    }

    /// A connection that others may use as well, or after this request.
    async fn dial(&self, key: &Key) -> Result<Connection, UpstreamError> {
        let fresh = self.dial_alone(key).await?;
        match &fresh {
            Connection::H1(_) => self.pool.unshared(key),
            Connection::H2(sender) => self.pool.share(key, sender),
        }
        Ok(fresh)
    }

    async fn answer(
        &self,
        mut connection: Connection,
        message: Box<Request<Outgoing>>,
        key: &Key,
        keep: bool,
    ) -> Result<Answer, Unanswered> {
        let response = connection.send(message).await?;
        let lease = keep.then(|| pool::Lease::new(Arc::clone(&self.pool), key.clone(), connection));
        Ok(Answer::new(response, key.name.clone(), lease))
    }
}

/// What goes out, and over which connections it may; nothing, unless the permit names it.
fn prepare(permit: &Permit, request: Box<Outbound>) -> Result<(Key, Box<Request<Outgoing>>), UpstreamError> {
    if !permit.names(request.head.digest(request.body_digest)) {
        return Err(UpstreamError::NotPermitted);
    }
    let name = (request.head.scheme == Scheme::Https).then(|| request.head.host.clone());
    let address = SocketAddr::new(permit.destination().ip, permit.destination().port);
    // In the clear nothing is agreed on: it is as the program knew it, and gRPC is never anything else.
    let knows_h2 = name.is_none() && (request.knows_h2 || is_grpc(&request.head));
    let key = Key { agent: permit.agent().clone(), name, address, knows_h2, lane: thread::current().id() };
    let mut message = Box::new(message(&request.head, request.body)?);
    request.spelling.apply(&mut message);
    Ok((key, message))
}

/// The message as it is written: made from the canonical head alone.
pub fn message(head: &RequestHead, body: Outgoing) -> Result<Request<Outgoing>, UpstreamError> {
    let unwritable = |error: ::http::Error| UpstreamError::Unwritable(error);
    let uri = Uri::builder().scheme(head.scheme.as_str()).authority(head.authority());
    let uri = uri.path_and_query(head.target.as_str()).build().map_err(unwritable)?;
    let method = Method::from_bytes(head.method.as_bytes()).map_err(|error| unwritable(error.into()))?;
    let mut fields = HeaderMap::with_capacity(head.headers.len() + 2);
    for header in &head.headers {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|error| unwritable(error.into()))?;
        let value = HeaderValue::from_bytes(&header.value).map_err(|error| unwritable(error.into()))?;
        fields.append(name, value);
    }
    let mut message = Request::new(body);
    (*message.uri_mut(), *message.method_mut(), *message.headers_mut()) = (uri, method, fields);
    Ok(message)
}

/// How the content types of gRPC begin.
const GRPC: &[u8] = b"application/grpc";

fn is_grpc(head: &RequestHead) -> bool {
    head.headers.iter().any(|field| field.name == "content-type" && field.value.starts_with(GRPC))
}

/// Puts a message into the form of the connection it goes over.
pub fn adapt(message: &mut Request<Outgoing>, h2: bool) {
    if h2 {
        *message.version_mut() = Version::HTTP_2;
        for of_http1 in [HOST, TRANSFER_ENCODING] {
            message.headers_mut().remove(of_http1);
        }
        if message.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC)) {
            // gRPC servers may insist on it; it concerns this connection only.
            message.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        }
        return;
    }
    *message.version_mut() = Version::HTTP_11;
    let authority = message.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(authority)) = authority {
        // In front, as clients send it (RFC 9110, 7.2).
        let fields = mem::take(message.headers_mut());
        message.headers_mut().insert(HOST, authority);
        message.headers_mut().extend(fields);
    }
    let target = message.uri().path_and_query().cloned();
    *message.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    message.headers_mut().remove(TE);
    // A request that may have a body says when it has none: there are servers that insist (RFC 9110, 8.6).
    let may_have_body = matches!(*message.method(), Method::POST | Method::PUT | Method::PATCH);
    if may_have_body && message.body().is_end_stream() {
        message.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    // Unless told to, the client does not write a body of unknown length behind methods that seldom have one.
    if !message.body().is_end_stream() && message.body().size_hint().exact().is_none() {
        message.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::body::Sent;
    use super::*;
    use crate::flow::http::canonical::CanonicalRequest;
    use crate::flow::origin::Destination;
    use crate::ipc::approver::SendOrder;
    use crate::names::HoldId;

    /// Leave to send `GET /` to an address.
    fn permit(address: SocketAddr) -> (Permit, RequestHead) {
        let head = RequestHead {
            scheme: Scheme::Http,
            host: "a.example".into(),
            port: address.port(),
            method: "GET".into(),
            target: "/".into(),
            headers: vec![],
        };
        let request = CanonicalRequest { head: head.clone(), body: Bytes::new() };
        let order = SendOrder {
            hold: HoldId(ulid::Ulid(1)),
            agent: "a".parse().unwrap(),
            destination: Destination { ip: address.ip(), port: address.port(), verified_name: None },
            digest: request.digest(),
            request,
        };
        (Permit::by_reviewer(&order).unwrap(), head)
    }

    fn upstream(own: &[SocketAddr]) -> Upstream {
        let forbidden = Arc::new(Forbidden::default());
        forbidden.add(own);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trust = Trust::new(&[], &[], &provider).unwrap();
        Upstream::new(trust, forbidden, Duration::from_secs(5))
    }

    async fn send(upstream: &Upstream, permit: Permit, head: RequestHead) -> Result<Answer, UpstreamError> {
        let body = Outgoing::whole(Bytes::new(), Sent::default());
        let (body_digest, spelling) = (Some(Digest::of(b"")), Spelling::default());
        upstream.send(permit, Outbound { head, body_digest, body, spelling, knows_h2: false }.into()).await
    }

    #[tokio::test]
    async fn a_permit_is_leave_for_the_request_it_names_and_for_no_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (permit, mut head) = permit(listener.local_addr().unwrap());
        head.target = "/other".into();
        let refused = send(&upstream(&[]), permit, head).await;
        assert!(matches!(refused, Err(UpstreamError::NotPermitted)));
        let accepted = std::pin::pin!(listener.accept());
        assert!(futures_util::poll!(accepted).is_pending(), "nothing was dialled");
    }

    #[tokio::test]
    async fn even_a_permit_does_not_lead_to_ourselves() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (permit, head) = permit(address);
        let refused = send(&upstream(&[address]), permit, head).await;
        assert!(matches!(refused, Err(UpstreamError::Forbidden(_))));
    }
}
