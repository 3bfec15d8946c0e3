//! One spelling for a host: what is compared, judged, shown and sent.
//!
//! Refuses every spelling that two programs could read differently; it never guesses and never resolves a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An authority in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Lower case, no trailing dot, A-label or IP literal (IPv6 without brackets).
    pub host: String,
    /// The port, when one was written.
    pub port: Option<u16>,
}

/// Why a text is not a host we serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host {0:?} is not written in a form every program reads alike")]
pub struct BadHost(String);

/// Reads `host` or `host:port` as it stands in a `Host` field or an `:authority`.
pub fn authority(text: &[u8]) -> Result<Authority, BadHost> {
    let bad = || BadHost(String::from_utf8_lossy(text).into_owned());
    let text = std::str::from_utf8(text).map_err(|_| bad())?;
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (literal, after) = rest.split_once(']').ok_or_else(bad)?;
            (&text[..literal.len() + 2], after)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => Some(read_port(digits).ok_or_else(bad)?),
        None if port.is_empty() => None,
        None => return Err(bad()),
    };
    Ok(Authority { host: canonical(name)?, port })
}

/// Canonical form of a bare host name or IP literal (IPv6 in brackets).
pub fn canonical(text: &str) -> Result<String, BadHost> {
    let bad = || BadHost(text.to_owned());
    if let Some(literal) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = literal.parse().map_err(|_| bad())?;
        return Ok(IpAddr::V6(address).to_canonical().to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if !name.split('.').all(is_label) || name.len() > 253 {
        return Err(bad());
    }
    match url::Host::parse(&name) {
        // Programs read `127.1`, `0x7f.1` and `2130706433` as addresses, or not: only the plain form is one.
        Ok(url::Host::Ipv4(_)) => name.parse::<Ipv4Addr>().map(|ip| ip.to_string()).map_err(|_| bad()),
        Ok(url::Host::Domain(domain)) if domain == name => Ok(name),
        _ => Err(bad()),
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
}

fn read_port(digits: &str) -> Option<u16> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_spelling() {
        let cases: [(&str, &str, Option<u16>); 9] = [
            ("API.Example.COM", "api.example.com", None),
            ("api.example.com.", "api.example.com", None),
            ("api.example.com:8443", "api.example.com", Some(8443)),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("my_service.internal", "my_service.internal", None),
            ("192.0.2.7:80", "192.0.2.7", Some(80)),
            ("[2001:DB8::0:1]:443", "2001:db8::1", Some(443)),
            ("[::ffff:192.0.2.7]", "192.0.2.7", None),
            ("localhost", "localhost", None),
        ];
        for (text, host, port) in cases {
            let expected = Authority { host: host.into(), port };
            assert_eq!(authority(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_spelling_two_programs_read_differently_is_refused() {
        let cases = [
            "",
            ".",
            "a..b",
            "a.b..",
            "user@host",
            "user:pass@host",
            "host:",
            "host:0",
            "host:080",
            "host:65536",
            "host:80:80",
            "host:8 0",
            " host",
            "host ",
            "a/b",
            "a\\b",
            "a%2eb",
            "a\0b",
            "bücher.example",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "0177.0.0.1",
            "1.2.3.4.5",
            "[::1",
            "::1",
            "[::1%eth0]",
            "[127.0.0.1]",
            "[::1]x",
            "xn--a",
            "a,b",
            "a b",
            "*.example.com",
        ];
        for text in cases {
            assert!(authority(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(authority(b"a\xff").is_err());
    }
}
