//! HTTP/1.1 as RFC 9112 writes it, without any of the leniency it grants: an opinion of our own on what is ambiguous.
//!
//! It decides nothing. It reads byte by byte, unlike the reader it is compared with, and shares nothing with it.

/// A head that has one reading.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The target, in whichever form.
    pub target: &'a [u8],
    /// Fields in order: name as written, value without white space around it.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    /// How long the body is.
    pub body: Body,
}

/// RFC 9112, 6.3: how a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Why there is no single reading.
pub type Ambiguous = &'static str;

/// A cursor over bytes.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Takes bytes as long as they are of a class.
    fn take(&mut self, class: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&c| !class(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Takes exactly `text`.
    fn expect(&mut self, text: &[u8], otherwise: Ambiguous) -> Result<(), Ambiguous> {
        self.0 = self.0.strip_prefix(text).ok_or(otherwise)?;
        Ok(())
    }
}

/// RFC 9110, 5.6.2.
pub fn is_tchar(c: u8) -> bool {
    matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// RFC 9110, 5.5: visible, white space or obsolete text.
pub fn is_field_byte(c: u8) -> bool {
    matches!(c, b'\t' | b' '..=b'~' | 0x80..)
}

/// Reads one head, which has to be all of `text`.
pub fn head(text: &[u8]) -> Result<Head<'_>, Ambiguous> {
    let mut cursor = Cursor(text);
    let method = cursor.take(is_tchar);
    if method.is_empty() {
        return Err("no method");
    }
    cursor.expect(b" ", "no single space after the method")?;
    let target = cursor.take(|c| matches!(c, b'!'..=b'~'));
    if target.is_empty() || target.contains(&b'#') {
        return Err("no target, or one with a fragment");
    }
    cursor.expect(b" HTTP/1.", "no version 1 after a single space")?;
    let minor = cursor.take(|c| matches!(c, b'0' | b'1'));
    if minor.len() != 1 {
        return Err("a version that is neither 1.0 nor 1.1");
    }
    cursor.expect(b"\r\n", "the request line does not end in CR LF")?;
    let mut fields = Vec::new();
    while !cursor.0.starts_with(b"\r\n") {
        let name = cursor.take(is_tchar);
        if name.is_empty() {
            return Err("a line that is no field");
        }
        cursor.expect(b":", "no colon right after a field's name")?;
        fields.push((name, cursor.take(is_field_byte).trim_ascii()));
        cursor.expect(b"\r\n", "a field does not end in CR LF")?;
    }
    if cursor.0.len() != 2 {
        return Err("something follows the empty line");
    }
    let body = framing(&fields, minor == b"1")?;
    Ok(Head { method, target, fields, body })
}

/// RFC 9112, 6.3, where every "ought to be handled as an error" is one, and 3.2 for `Host`.
fn framing(fields: &[(&[u8], &[u8])], is_11: bool) -> Result<Body, Ambiguous> {
    // Gateways that put fields into variables of a program cannot tell `_` from `-`.
    let named = |wanted: &'static str| {
        fields.iter().filter(move |(name, _)| {
            let name: Vec<u8> =
                name.iter().map(|c| if *c == b'_' { b'-' } else { c.to_ascii_lowercase() }).collect();
            name == wanted.as_bytes()
        })
    };
    if fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"host")).count() != 1 {
        return Err("not exactly one Host");
    }
    let codings: Vec<&[u8]> = named("transfer-encoding").map(|(_, value)| *value).collect();
    let lengths: Vec<&[u8]> = named("content-length").map(|(_, value)| *value).collect();
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Body::Length(0)),
        ([coding], []) if is_11 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        ([], [length]) => number(length, 10).map(Body::Length).ok_or("a length that is no number"),
        _ => Err("more than one statement of the length, or one that is not understood"),
    }
}

/// A number of nothing but digits.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    let mut value: Option<u64> = if text.is_empty() { None } else { Some(0) };
    for &c in text {
        let digit = char::from(c).to_digit(radix)?;
        value = value.and_then(|value| value.checked_mul(radix.into())?.checked_add(digit.into()));
    }
    value
}

/// What a connection says, message by message.
#[derive(Debug, PartialEq, Eq)]
pub struct Messages {
    /// The bodies of those that are there to their end.
    pub bodies: Vec<Vec<u8>>,
    /// Why the one behind them is ambiguous; `None` when it is not there to its end.
    pub refused: Option<Ambiguous>,
}

/// Reads all messages of a connection.
pub fn messages(mut bytes: &[u8]) -> Messages {
    let mut bodies = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let (text, rest) = bytes.split_at(end + 4);
        let body = match head(text) {
            Ok(head) => head.body,
            Err(why) => return Messages { bodies, refused: Some(why) },
        };
        match read_body(body, rest) {
            Ok(Some((body, rest))) => {
                bodies.push(body);
                bytes = rest;
            }
            Ok(None) => return Messages { bodies, refused: None },
            Err(why) => return Messages { bodies, refused: Some(why) },
        }
    }
    Messages { bodies, refused: None }
}

/// A body and what follows it; `None` when its end is not there yet.
type Ended<'a> = Option<(Vec<u8>, &'a [u8])>;

fn read_body(body: Body, bytes: &[u8]) -> Result<Ended<'_>, Ambiguous> {
    match body {
        Body::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            Ok(bytes.split_at_checked(length).map(|(body, rest)| (body.to_vec(), rest)))
        }
        Body::Chunked => dechunk(bytes),
    }
}

/// RFC 9112, 7.1, without extensions and without trailers.
fn dechunk(mut bytes: &[u8]) -> Result<Ended<'_>, Ambiguous> {
    let mut body = Vec::new();
    loop {
        let line_end = bytes.iter().position(|c| !c.is_ascii_hexdigit());
        let Some(line_end) = line_end else {
            return if bytes.len() > 16 { Err("a chunk's size is too large") } else { Ok(None) };
        };
        let size = number(&bytes[..line_end], 16).ok_or("a chunk's size is no number")?;
        let Some(rest) = crlf(&bytes[line_end..])? else { return Ok(None) };
        if size == 0 {
            return Ok(crlf(rest)?.map(|rest| (body, rest)));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let Some((data, rest)) = rest.split_at_checked(size) else { return Ok(None) };
        body.extend_from_slice(data);
        let Some(rest) = crlf(rest)? else { return Ok(None) };
        bytes = rest;
    }
}

/// What follows CR LF; `None` when only its beginning is there.
fn crlf(bytes: &[u8]) -> Result<Option<&[u8]>, Ambiguous> {
    match bytes {
        [] | [b'\r'] => Ok(None),
        [b'\r', b'\n', rest @ ..] => Ok(Some(rest)),
        _ => Err("no CR LF where one has to be"),
    }
}
