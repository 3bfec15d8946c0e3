//! Heads of HTTP/1 requests: what is accepted has one reading, and what is made of it is that reading.

use shield_agent::flow::http::head::{self, Framing};
use shield_agent::flow::limits::HttpLimits;

use crate::connection::{self, Pieces};
use crate::{canonical, strict};

/// Takes the bytes of a connection.
pub fn check(data: &[u8]) {
    let end = data.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let first = end.map(|end| &data[..end]);
    if let Some(first) = first
        && let Ok(framing) = head::check(first, HttpLimits::default().fields)
    {
        let clear = strict::head(first).expect("what is accepted has one reading");
        let expected = match framing {
            Framing::Length(length) => strict::Body::Length(length),
            Framing::Chunked => strict::Body::Chunked,
            Framing::Upgrade => strict::Body::Length(0),
        };
        assert_eq!(clear.body, expected, "where the message ends");
    }
    let (seen, _refused) = connection::http1(Pieces::whole(data));
    let Some(seen) = seen.first() else { return };
    let clear = strict::head(first.expect("a whole head")).expect("what is served has one reading");
    let (Ok(head), Some(body)) = (&seen.head, &seen.body) else { return };
    check_target(&clear, head);
    assert_eq!(head.method.as_bytes(), clear.method);
    for header in &head.headers {
        let is_it = |(name, _): &&(&[u8], &[u8])| name.eq_ignore_ascii_case(header.name.as_bytes());
        assert!(clear.fields.iter().any(|field| is_it(&field)), "{header:?} was never said");
    }
    canonical::check(head, body);
}

/// The request goes where its line and its `Host` say (RFC 9112, 3.2).
fn check_target(clear: &strict::Head<'_>, head: &shield_agent::flow::http::canonical::RequestHead) {
    let (_, host) =
        clear.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"host")).expect("one Host");
    let host = std::str::from_utf8(host).expect("a host is ASCII");
    assert_eq!(crate::host::key(crate::host::without_port(host)), crate::host::key_of_canonical(&head.host));
    let said = std::str::from_utf8(clear.target).expect("a target is ASCII");
    if said.starts_with('/') || said == "*" {
        assert_eq!(said, head.target);
    } else {
        let scheme = said.get(..7).expect("neither a path nor a URL");
        assert!(scheme.eq_ignore_ascii_case("http://"), "{said:?} is neither a path nor a URL");
        let begin = said[7..].find(['/', '?']).map_or(said.len(), |at| at + 7);
        let slash = if said[begin..].starts_with('/') { "" } else { "/" };
        assert_eq!(format!("{slash}{}", &said[begin..]), head.target, "{said:?}");
    }
}
