//! Hosts: one spelling for each, the same for the same host and for no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use shield_agent::flow::http::host;

/// Between two texts.
const NEXT: u8 = 0xff;

/// Takes two texts.
pub fn check(data: &[u8]) {
    let mut texts = data.splitn(2, |&c| c == NEXT);
    let (one, other) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let (one, other) = (check_one(one), check_one(other));
    if let (Some((one, of_one)), Some((other, of_other))) = (one, other) {
        assert_eq!(one == other, of_one == of_other, "{of_one:?} and {of_other:?}");
    }
}

/// Which host a spelling means, by rules of our own.
#[derive(Debug, PartialEq, Eq)]
pub enum Key {
    /// An address.
    Address(IpAddr),
    /// A name.
    Name(String),
}

/// The host a text of the product's choice means.
pub fn key(text: &str) -> Key {
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal.trim_end_matches(']').parse().expect("an address in brackets");
        return Key::Address(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4));
    }
    let plain = text.strip_suffix('.').unwrap_or(text);
    plain.parse::<Ipv4Addr>().map_or_else(|_| Key::Name(plain.to_lowercase()), |ip| Key::Address(ip.into()))
}

/// The same of a canonical host, where addresses have no brackets.
pub fn key_of_canonical(host: &str) -> Key {
    host.parse().map_or_else(|_| key(host), Key::Address)
}

/// An authority without its port.
pub fn without_port(text: &str) -> &str {
    match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => &text[..colon],
        _ => text,
    }
}

fn check_one(text: &[u8]) -> Option<(String, Key)> {
    let read = host::authority(text).ok()?;
    let text = std::str::from_utf8(text).expect("a host is text");
    let bracketed = if read.host.contains(':') { format!("[{}]", read.host) } else { read.host.clone() };
    assert_eq!(host::canonical(&bracketed).as_ref(), Ok(&read.host), "its own spelling is another");
    let again = read.port.map_or(bracketed.clone(), |port| format!("{bracketed}:{port}"));
    assert_eq!(host::authority(again.as_bytes()).as_ref(), Ok(&read));
    assert!(read.host.len() <= 253 && !read.host.is_empty() && !read.host.ends_with('.'));
    let plain = |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':');
    assert!(read.host.bytes().all(plain), "{:?}", read.host);
    let browser = url::Host::parse(&bracketed).expect("browsers read it too");
    assert_eq!(browser.to_string(), bracketed, "browsers spell it in another way");
    let key = key(without_port(text));
    assert_eq!(key, key_of_canonical(&read.host), "{text:?} became another host");
    Some((read.host, key))
}
