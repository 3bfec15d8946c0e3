//! The strict reading of one HTTP/1 head, as raw bytes: what it frames, or why it is ambiguous.
//!
//! Nothing is repaired. The parser behind this one accepts bare line feeds, drops one of two lengths and skips empty
//! lines; programs further on may not, so those messages end here.

use super::parse::CONNECT_HINT;
use super::unclear::Unclear;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A body of this many bytes; zero when there is none.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// No body, and an offer to go on in another protocol: what follows belongs to whatever is agreed on.
    Upgrade,
}

/// Longest method: longer first words are not HTTP.
const MAX_METHOD: usize = 32;

/// Names whose underscored spelling some servers take for the real field.
const FRAMING_LOOKALIKES: [&[u8]; 2] = [b"content_length", b"transfer_encoding"];

/// Whether some servers take a field for one that decides where a message ends.
pub fn imitates_framing(name: &[u8]) -> bool {
    FRAMING_LOOKALIKES.iter().any(|lookalike| name.eq_ignore_ascii_case(lookalike))
}

/// Whether the value of an `Upgrade` field offers something that has to be decided. An offer of h2c may be ignored, and
/// clients go on in HTTP/1.1.
pub fn is_offer(upgrade: &[u8]) -> bool {
    upgrade.split(|&c| c == b',').any(|name| !name.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// Whether the first bytes of a connection are, or can still become, an HTTP request line.
pub fn may_be_http(start: &[u8]) -> bool {
    let line = start.split(|&c| c == b'\n').next().unwrap_or_default();
    let method = line.iter().position(|&c| c == b' ').unwrap_or(line.len());
    let token = method <= MAX_METHOD && line[..method].iter().all(|&c| is_token_char(c));
    let begun = method > 0 || start.is_empty();
    let ended = line.len() < start.len();
    token && begun && (!ended || line.windows(6).any(|part| part == b" HTTP/"))
}

/// Reads a whole head: request line, fields and the empty line, every line ending in CR LF.
pub fn check(head: &[u8], most_fields: usize) -> Result<Framing, Unclear> {
    let lines =
        head.strip_suffix(b"\r\n\r\n").ok_or(Unclear::Ambiguous("the head does not end in an empty line"))?;
    let mut lines = split_lines(lines)?.into_iter();
    let version = check_request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for line in lines {
        fields.add(line)?;
    }
    if fields.all > most_fields {
        return Err(Unclear::TooMany(most_fields));
    }
    fields.framing(version)
}

fn split_lines(text: &[u8]) -> Result<Vec<&[u8]>, Unclear> {
    let mut lines = Vec::with_capacity(24);
    for line in text.split(|&c| c == b'\n') {
        lines.push(line);
    }
    let last = lines.len() - 1;
    for (index, line) in lines.iter_mut().enumerate() {
        if index < last {
            *line = line.strip_suffix(b"\r").ok_or(Unclear::Ambiguous("a line ends without CR LF"))?;
        }
        if line.iter().any(|&c| (c < b' ' && c != b'\t') || c == 0x7f) {
            return Err(Unclear::Ambiguous("the head holds a control byte"));
        }
    }
    Ok(lines)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn check_request_line(line: &[u8]) -> Result<Version, Unclear> {
    let mut words = line.split(|&c| c == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        let spoken = line.windows(6).any(|part| part == b" HTTP/");
        return Err(if spoken {
            Unclear::Ambiguous("the request line is malformed")
        } else {
            Unclear::NotHttp
        });
    };
    if !version.starts_with(b"HTTP/") || method.is_empty() || method.len() > MAX_METHOD {
        return Err(Unclear::NotHttp);
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/2.0" if method == b"PRI" => {
            return Err(Unclear::Unsupported("HTTP/2 without TLS does not pass; use HTTP/1.1 or TLS"));
        }
        _ => return Err(Unclear::Ambiguous("the HTTP version is not 1.0 or 1.1")),
    };
    if !method.iter().all(|&c| is_token_char(c)) {
        return Err(Unclear::Ambiguous("the method is not a token"));
    }
    if method == b"CONNECT" {
        return Err(Unclear::Unsupported(CONNECT_HINT));
    }
    if !is_target(target) {
        return Err(Unclear::Ambiguous(
            "the target is malformed, or holds a byte that must be percent-encoded",
        ));
    }
    Ok(version)
}

/// The fields that decide where a message ends and whom it is for.
#[derive(Default)]
struct Fields {
    all: usize,
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    offer: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Unclear> {
        self.all += 1;
        if line.first().is_none_or(|&c| c == b' ' || c == b'\t') {
            return Err(Unclear::Ambiguous("a field is folded over several lines"));
        }
        let colon = line.iter().position(|&c| c == b':').ok_or(Unclear::Ambiguous("a field has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&c| is_token_char(c)) {
            return Err(Unclear::Ambiguous("a field name is not a token"));
        }
        if imitates_framing(name) {
            return Err(Unclear::Ambiguous("a field name imitates a framing field"));
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = read_length(value).ok_or(Unclear::Ambiguous("Content-Length is not a number"))?;
            if self.length.replace(length).is_some() {
                return Err(Unclear::Ambiguous("Content-Length is given more than once"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Unclear::Ambiguous("Transfer-Encoding is not exactly \"chunked\""));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.offer |= is_offer(value);
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Unclear> {
        match (self.hosts, self.length, self.chunked) {
            (0, ..) => Err(Unclear::Ambiguous("Host is missing")),
            (2.., ..) => Err(Unclear::Ambiguous("Host is given more than once")),
            (_, Some(_), true) => {
                Err(Unclear::Ambiguous("both Content-Length and Transfer-Encoding are given"))
            }
            (_, None, true) if version == Version::Http10 => {
                Err(Unclear::Ambiguous("Transfer-Encoding is given in HTTP/1.0"))
            }
            (_, None | Some(0), false) if self.offer => Ok(Framing::Upgrade),
            _ if self.offer => Err(Unclear::Unsupported("a request with a body cannot change the protocol")),
            (_, None, true) => Ok(Framing::Chunked),
            (_, length, false) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn read_length(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// Whether the parser behind this one takes a target for a request to somebody. It would answer those it does not take
/// without a word; which of the rare bytes it takes where, and what else than a path, is its own business.
fn is_target(target: &[u8]) -> bool {
    let plain = |c: u8| c.is_ascii_graphic() && c != b'#';
    let rare = |c: &u8| b"\"<>\\^`{|}".contains(c);
    let usual = target.first() == Some(&b'/') && !target.iter().any(rare);
    let taken = || ::http::Uri::try_from(target).is_ok_and(|uri| uri.path_and_query().is_some());
    target.iter().all(|&c| plain(c)) && (usual || taken())
}

/// Whether a byte may be in a method or the name of a field (RFC 9110, 5.6.2).
pub fn is_token_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Result<Framing, Unclear> {
        check(head.as_bytes(), 200)
    }

    #[test]
    fn a_clear_head_tells_where_its_message_ends() {
        let host = "Host: a\r\n";
        let cases = [
            (format!("GET / HTTP/1.1\r\n{host}\r\n"), Framing::Length(0)),
            (format!("POST /x?y=%20 HTTP/1.1\r\n{host}Content-Length: 12\r\n\r\n"), Framing::Length(12)),
            (format!("POST / HTTP/1.1\r\n{host}transfer-encoding:\tChunked\r\n\r\n"), Framing::Chunked),
            (format!("GET / HTTP/1.0\r\n{host}X-Text: caf\u{e9}\r\n\r\n"), Framing::Length(0)),
            (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), Framing::Length(0)),
            (format!("GET /{{a}}|b HTTP/1.1\r\n{host}\r\n"), Framing::Length(0)),
            (format!("GET / HTTP/1.1\r\n{host}Upgrade: WebSocket\r\n\r\n"), Framing::Upgrade),
            (format!("GET / HTTP/1.1\r\n{host}Upgrade: h2c\r\n\r\n"), Framing::Length(0)),
        ];
        for (head, expected) in cases {
            assert_eq!(framing(&head), Ok(expected), "{head:?}");
        }
    }

    #[test]
    fn other_protocols_are_told_from_bad_requests() {
        for start in [
            &b"\x16\x03"[..],
            b"SSH-2.0-x\r\n",
            b"*1\r\n",
            b"\0\0\0\x08",
            b" GET",
            &[b'A'; 33],
            b"EHLO a.b\r\n",
        ] {
            assert!(!may_be_http(start), "{start:?}");
        }
        for start in [&b""[..], b"G", b"GET ", b"PROPFIND /x HTTP/1.1\r\n"] {
            assert!(may_be_http(start), "{start:?}");
        }
        assert_eq!(framing("SET key value\r\n\r\n"), Err(Unclear::NotHttp));
        assert_eq!(framing("GET /\r\n\r\n"), Err(Unclear::NotHttp));
    }

    #[test]
    fn a_target_that_passes_is_one_the_parser_takes_and_addresses_nobody_but_its_host() {
        let odd = [
            "http://[::x/",
            "http://a:b:c/",
            "http://a:99999/",
            "http://",
            "http:///x",
            "http:/x",
            "http://a%b/",
            "http://a[/",
            "[",
            "?x",
            "",
            "*x",
            "a",
            "a:1",
            ":1",
            "//",
        ];
        let odd = odd.iter().map(|target| target.as_bytes().to_vec());
        let bytes =
            (0..=255).flat_map(|c| [vec![b'/', c, b'a'], vec![b'/', b'?', c], vec![c], vec![b'/', b'[', c]]);
        for target in odd.chain(bytes) {
            let taken = ::http::Uri::try_from(&target[..]).is_ok();
            assert!(taken || !is_target(&target), "{:?}", String::from_utf8_lossy(&target));
        }
        for target in ["/", "/a?b", "//", "*", "http://a", "http://a:1/b", "/%zz", "/{a}"] {
            assert!(is_target(target.as_bytes()), "{target}");
        }
        for target in ["a", "a:1", "?x", "", "/#"] {
            assert!(!is_target(target.as_bytes()), "{target}");
        }
    }

    #[test]
    fn a_head_two_parsers_read_differently_is_refused() {
        let cases = [
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a?b=<c> HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        for head in cases {
            assert!(matches!(framing(head), Err(Unclear::Ambiguous(_))), "{head:?}: {:?}", framing(head));
        }
    }

    #[test]
    fn tunnels_and_plaintext_http2_are_named_as_what_they_are() {
        for head in ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
            assert!(matches!(framing(head), Err(Unclear::Unsupported(_))), "{head:?}");
        }
    }
}
