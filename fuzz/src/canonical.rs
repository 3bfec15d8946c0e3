//! What every canonical head must be, and what it becomes on its way out.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use shield_agent::flow::http::canonical::RequestHead;
use shield_agent::flow::http::host;
use shield_agent::flow::upstream::body::{Outgoing, Sent};
use shield_agent::flow::upstream::{adapt, message};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::{Pieces, http1 as serve};
use crate::strict;

/// Fields no canonical head may hold: they are about one connection or about framing (RFC 9110, 7.6.1).
const FORBIDDEN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "proxy-authorization",
];

/// Most requests that a head is written by need so many turns of its connection.
const TURNS: usize = 4;

/// A head the product took: in one spelling, written in one way, and the same when it is read again.
pub fn check(head: &RequestHead, body: &[u8]) {
    check_form(head);
    check_url(head);
    let written = write(head, body);
    let end = written.windows(4).position(|four| four == b"\r\n\r\n").expect("a head was written") + 4;
    let clear = strict::head(&written[..end]).expect("what is sent has one reading");
    assert_eq!((clear.method, clear.target), (head.method.as_bytes(), head.target.as_bytes()));
    check_with_httparse(head, &written[..end]);
    if head.scheme == shield_agent::flow::http::canonical::Scheme::Http {
        let (again, refused) = serve(Pieces::whole(&written));
        assert_eq!(refused, None, "what is sent would be refused");
        assert_eq!(again.len(), 1, "what is sent is one request");
        assert_eq!(again[0].head.as_ref(), Ok(head), "what is sent is read as something else");
        assert_eq!(again[0].body.as_deref(), Some(body), "what is sent has another body");
    }
}

fn check_form(head: &RequestHead) {
    assert!(!head.method.is_empty() && head.method.bytes().all(strict::is_tchar), "method {:?}", head.method);
    let starred = head.target == "*" && head.method == "OPTIONS";
    assert!(starred || head.target.starts_with('/'), "target {:?}", head.target);
    assert!(head.target.bytes().all(|c| matches!(c, b'!'..=b'~') && c != b'#'), "target {:?}", head.target);
    let bracketed = if head.host.contains(':') { format!("[{}]", head.host) } else { head.host.clone() };
    assert_eq!(host::canonical(&bracketed).as_ref(), Ok(&head.host), "the host is not in its one spelling");
    for header in &head.headers {
        let lower = |c| strict::is_tchar(c) && !c.is_ascii_uppercase();
        assert!(!header.name.is_empty() && header.name.bytes().all(lower), "field {:?}", header.name);
        assert!(!FORBIDDEN.contains(&header.name.as_str()), "{} is passed on", header.name);
        assert!(header.value.iter().all(|&c| strict::is_field_byte(c)), "field {header:?}");
        assert_eq!(header.value.trim_ascii(), &header.value[..], "field {header:?}");
    }
    assert!(
        head.header_values("upgrade").all(|value| value == b"websocket")
            && head.header_values("upgrade").count() <= 1
    );
}

/// The URL that is shown names the host and path that are asked, for a browser too.
fn check_url(head: &RequestHead) {
    if head.target == "*" {
        return;
    }
    let url = url::Url::parse(&head.url()).expect("what is shown is a URL");
    let shown = match url.host().expect("it has a host") {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(ip) => ip.to_string(),
        url::Host::Ipv6(ip) => IpAddr::from(ip).to_string(),
    };
    assert_eq!(shown, head.host);
    assert_eq!(url.port_or_known_default(), Some(head.port));
    assert_eq!(
        decoded(url.path()),
        decoded(head.path()),
        "a browser would ask for another path than {:?}",
        head.target
    );
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::new();
    while let Some(&c) = bytes.next() {
        let pair = bytes.as_slice().first_chunk::<2>().filter(|_| c == b'%');
        let value = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        decoded.push(value.unwrap_or(c));
        if value.is_some() {
            bytes.nth(1);
        }
    }
    decoded
}

/// A parser that is not ours, and that most of the world's Rust servers use, reads the same.
fn check_with_httparse(head: &RequestHead, written: &[u8]) {
    let mut room = [httparse::EMPTY_HEADER; 256];
    let mut read = httparse::Request::new(&mut room);
    assert_eq!(read.parse(written), Ok(httparse::Status::Complete(written.len())));
    assert_eq!((read.method, read.path, read.version), (Some(&*head.method), Some(&*head.target), Some(1)));
    let framing = ["host", "content-length", "transfer-encoding", "connection"];
    let fields: Vec<(String, &[u8])> =
        read.headers.iter().map(|field| (field.name.to_ascii_lowercase(), field.value)).collect();
    let sent: Vec<_> = fields.iter().filter(|(name, _)| !framing.contains(&&**name)).collect();
    let judged: Vec<_> = head.headers.iter().map(|header| (header.name.clone(), &header.value[..])).collect();
    assert_eq!(sent, judged.iter().collect::<Vec<_>>(), "what is sent has other fields than what was judged");
    let hosts: Vec<_> = fields.iter().filter(|(name, _)| name == "host").collect();
    assert!(matches!(hosts[..], [(_, host)] if *host == head.authority().as_bytes()), "{hosts:?}");
}

/// The bytes the product sends upstream over HTTP/1.
fn write(head: &RequestHead, body: &[u8]) -> Vec<u8> {
    let outgoing = Outgoing::whole(Bytes::copy_from_slice(body), Sent::default());
    let mut request = message(head, outgoing).expect("what was judged can be written");
    adapt(&mut request, false);
    if head.opens_websocket() {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let wire = Wire::default();
    let mut cx = Context::from_waker(Waker::noop());
    let shaken = pin!(http1::handshake(TokioIo::new(wire.clone()))).as_mut().poll(&mut cx);
    let Poll::Ready(Ok((mut sender, connection))) = shaken else {
        unreachable!("HTTP/1 has no handshake to wait for")
    };
    let (mut connection, mut sending) = (pin!(connection), pin!(sender.send_request(request)));
    for _ in 0..TURNS {
        // Neither ends: no answer ever comes.
        let _ = (sending.as_mut().poll(&mut cx), connection.as_mut().poll(&mut cx));
    }
    wire.written()
}

/// Keeps what is written; never answers.
#[derive(Clone, Debug, Default)]
struct Wire(Arc<Mutex<Vec<u8>>>);

impl Wire {
    fn written(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
