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
pub mod ways;
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
use crate::names::{AgentName, Digest};
use answer::Answer;
use body::Outgoing;
use connection::{Connection, Unanswered};
use dial::{Dialed, Dialer, Target};
use error::UpstreamError;
use pool::{Key, Pool};
use trust::Trust;
use ways::Ways;

/// How long an upstream may take to begin its answer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(900);

const SWITCHING_PROTOCOLS: u16 = 101;

/// Sends permitted requests.
pub struct Upstream {
    /// Which of a name's addresses are tried.
    pub ways: Ways,
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

/// A request that has no answer.
pub struct Failed {
    /// Why.
    pub why: UpstreamError,
    /// The request, when nobody was reached to write it to.
    pub unreached: Option<Box<Outbound>>,
}

impl Failed {
    fn before_sending(why: UpstreamError, request: Box<Outbound>) -> Self {
        Self { unreached: why.is_unreached().then_some(request), why }
    }
}

impl From<UpstreamError> for Failed {
    fn from(why: UpstreamError) -> Self {
        Self { why, unreached: None }
    }
}

impl Upstream {
    /// An upstream side that goes to whom `trust` trusts and never to a forbidden address.
    pub fn new(trust: Trust, ways: Ways, forbidden: Arc<Forbidden>, connect_timeout: Duration) -> Self {
        let dialer = Dialer::new(trust, forbidden, connect_timeout);
        Self { dialer, ways, pool: Pool::start(), answer_within: ANSWER_WITHIN }
    }

    /// Sends one request and returns the beginning of its answer; the rest streams.
    pub async fn send(&self, permit: Permit, request: Box<Outbound>) -> Result<Answer, Failed> {
        let alone = permit.is_reviewed();
        let key = key(&permit, (&request.head, request.body_digest), request.knows_h2)?;
        match timeout(self.answer_within, self.exchange(key, request, alone)).await {
            Ok(Ok(answer)) if answer.status() == SWITCHING_PROTOCOLS => Err(UpstreamError::Switched.into()),
            Ok(answer) => answer,
            Err(_) => Err(UpstreamError::NoAnswer(self.answer_within).into()),
        }
    }

    /// Connects for bytes nobody looks into: a connection of its own, nothing written. `name` is whose address it is, when
    /// that is known.
    pub async fn connect(
        &self,
        permit: Permit,
        digest: Digest,
        name: Option<&str>,
    ) -> Result<TcpStream, UpstreamError> {
        if !permit.names(digest) {
            return Err(UpstreamError::NotPermitted);
        }
        let (agent, to) = (permit.agent(), permit.destination());
        let address = SocketAddr::new(to.ip, to.port);
        let has_others = name.is_some_and(|name| self.ways.other(agent, name, address).is_some());
        let connected = self.dialer.connect(Target { address, has_others }).await;
        self.note(agent, address, &connected);
        connected
    }

    /// Remembers where nobody answers.
    fn note<T>(&self, agent: &AgentName, address: SocketAddr, dialed: &Result<T, UpstreamError>) {
        if dialed.as_ref().is_err_and(UpstreamError::is_unreached) {
            self.ways.avoid(agent, address);
        }
    }

    async fn exchange(&self, key: Key, request: Box<Outbound>, alone: bool) -> Result<Answer, Failed> {
        let (mut connection, mut is_kept) = match self.reach(&key, alone).await {
            Ok(reached) => reached,
            Err(why) => return Err(Failed::before_sending(why, request)),
        };
        let mut message = request.into_message()?;
        loop {
            match self.answer(connection, message, &key, !alone).await {
                Ok(answer) => return Ok(answer),
                // The other side closed an idle connection before a byte of this request was written.
                Err(Unanswered { unwritten: Some(unwritten), .. }) if is_kept => message = unwritten,
                Err(unanswered) => return Err(UpstreamError::from(unanswered).into()),
            }
            (connection, is_kept) = self.reach(&key, alone).await?;
        }
    }

    /// A connection for a request, and whether it was kept from another.
    async fn reach(&self, key: &Key, alone: bool) -> Result<(Connection, bool), UpstreamError> {
        if alone {
            // A person said yes to this address.
            return Ok((Box::pin(self.dial(key, false)).await?, false));
        }
        if let Some(kept) = self.pool.take(key).await {
            return Ok((kept, true));
        }
        let first = self.pool.first(key).await;
        if first.is_none()
            && let Some(kept) = self.pool.take(key).await
        {
            return Ok((kept, true));
        }
        let fresh = Box::pin(self.dial(key, self.ways.has_others(key))).await?;
        match &fresh {
            Connection::H1(_) => self.pool.unshared(key),
            Connection::H2(sender) => self.pool.share(key, sender),
        }
        drop(first);
        Ok((fresh, false))
    }

    async fn dial(&self, key: &Key, has_others: bool) -> Result<Connection, UpstreamError> {
        self.dial_to(key, has_others, false).await?.into_connection(key.knows_h2).await
    }

    async fn dial_to(&self, key: &Key, has_others: bool, http1: bool) -> Result<Dialed, UpstreamError> {
        if has_others && self.ways.is_avoided(&key.agent, key.address) {
            return Err(UpstreamError::Silent(key.address));
        }
        let target = Target { address: key.address, has_others };
        let dialed = self.dialer.dial(target, key.tls_name(), http1).await;
        self.note(&key.agent, key.address, &dialed);
        dialed
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
        Ok(Answer::new(response, key.tls_name().map(str::to_owned), lease))
    }
}

/// Over which connections a request may go out; over none, unless the permit names it.
fn key(
    permit: &Permit,
    (head, body_digest): (&RequestHead, Option<Digest>),
    knows_h2: bool,
) -> Result<Key, UpstreamError> {
    if !permit.names(head.digest(body_digest)) {
        return Err(UpstreamError::NotPermitted);
    }
    let tls = head.scheme == Scheme::Https;
    Ok(Key {
        agent: permit.agent().clone(),
        host: head.host.clone(),
        address: SocketAddr::new(permit.destination().ip, permit.destination().port),
        tls,
        // In the clear nothing is agreed on: it is as the program knew it, and gRPC is never anything else.
        knows_h2: !tls && (knows_h2 || is_grpc(head)),
        lane: thread::current().id(),
    })
}

impl Outbound {
    fn into_message(self: Box<Self>) -> Result<Box<Request<Outgoing>>, UpstreamError> {
        let mut message = Box::new(message(&self.head, self.body)?);
        self.spelling.apply(&mut message);
        Ok(message)
    }
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
    use crate::dns::limits::Limits;
    use crate::dns::{self, Resolver};
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
        let resolver = Resolver::new(vec![], Limits::default(), dns::Policy::default());
        let ways = Ways::new(resolver.into(), Arc::clone(&forbidden));
        Upstream::new(trust, ways, forbidden, Duration::from_secs(5))
    }

    async fn send(upstream: &Upstream, permit: Permit, head: RequestHead) -> Result<Answer, UpstreamError> {
        let body = Outgoing::whole(Bytes::new(), Sent::default());
        let (body_digest, spelling) = (Some(Digest::of(b"")), Spelling::default());
        let request = Outbound { head, body_digest, body, spelling, knows_h2: false };
        upstream.send(permit, request.into()).await.map_err(|failed| failed.why)
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
