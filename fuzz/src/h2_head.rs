//! Heads of HTTP/2 requests: whatever fields a client sends, what is made of them is a clean canonical head.

use crate::canonical;
use crate::connection::{self, Pieces};

/// Between two fields, and between a name and its value: bytes that no text has.
const NEXT: u8 = 0xff;
const VALUE: u8 = 0xfe;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;

/// Longest frame a peer has to take.
const MAX_FRAME: usize = 16 << 10;

/// Takes fields: names and values with bytes between them that no text has.
pub fn check(data: &[u8]) {
    let fields: Vec<(&[u8], &[u8])> = data.split(|&c| c == NEXT).map(split).collect();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    if block.len() > MAX_FRAME {
        return;
    }
    let bytes =
        [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_STREAM_AND_HEADERS, 1, &block)].concat();
    for seen in connection::http2(Pieces::whole(&bytes)) {
        let Ok(head) = seen.head else { continue };
        let said = |name: &[u8]| fields.iter().find(|field| field.0 == name).map(|field| field.1);
        assert_eq!(said(b":method"), Some(head.method.as_bytes()));
        let path = said(b":path").expect("a request has a path");
        // The library that reads HTTP/2 cuts a fragment off before we see it; it is neither judged nor sent.
        let path = path.split(|&c| c == b'#').next().unwrap_or_default();
        assert!(path == head.target.as_bytes() || path.starts_with(b"*"), "{:?}", head.target);
        for header in &head.headers {
            assert!(said(header.name.as_bytes()).is_some(), "{header:?} was never said");
        }
        canonical::check(&head, &[]);
        // The same over plain HTTP/1, where it is read again.
        let plain = shield_agent::flow::http::canonical::RequestHead {
            scheme: shield_agent::flow::http::canonical::Scheme::Http,
            port: 80,
            ..head
        };
        canonical::check(&plain, &[]);
    }
}

fn split(field: &[u8]) -> (&[u8], &[u8]) {
    match field.iter().position(|&c| c == VALUE) {
        Some(at) => (&field[..at], &field[at + 1..]),
        None => (field, &[]),
    }
}

/// RFC 7541, 6.2.2: a field that is spelled out.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        integer(text.len(), &mut bytes);
        bytes.extend_from_slice(text);
    }
    bytes
}

/// RFC 7541, 5.1, with a prefix of seven bits.
fn integer(value: usize, bytes: &mut Vec<u8>) {
    let Some(mut rest) = value.checked_sub(0x7f) else { return bytes.push(value as u8) };
    bytes.push(0x7f);
    while rest >= 0x80 {
        bytes.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

/// RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}
