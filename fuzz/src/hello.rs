//! A ClientHello as RFC 8446 and RFC 6066 write it, as far as names and protocols go: an opinion of our own.
//!
//! It decides nothing, and takes some hellos that a real server refuses.

/// What a client asks for before anything is decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server it names.
    pub name: Option<Vec<u8>>,
    /// The protocols it speaks.
    pub protocols: Option<Vec<Vec<u8>>>,
}

const HANDSHAKE: usize = 22;
const CLIENT_HELLO: usize = 1;
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;
const ALPN: usize = 16;

/// A cursor over bytes; `None` when they end too early.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }

    /// A vector whose length has so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Cursor<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Cursor)
    }
}

/// Reads the first message of a connection.
pub fn read(connection: &[u8]) -> Option<Hello> {
    let message = unwrap_records(connection)?;
    let mut message = Cursor(&message);
    if message.number(1)? != CLIENT_HELLO {
        return None;
    }
    let mut body = message.vector(3)?;
    body.take(2 + 32)?;
    body.vector(1)?;
    body.vector(2)?;
    body.vector(1)?;
    if body.0.is_empty() {
        return Some(Hello::default());
    }
    let mut extensions = body.vector(2)?;
    let mut hello = Hello::default();
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        match kind {
            SERVER_NAME => hello.name = server_name(content)?,
            ALPN => hello.protocols = Some(protocols(content)?),
            _ => {}
        }
    }
    Some(hello)
}

/// The bytes of the first handshake message, taken out of the records they came in.
fn unwrap_records(connection: &[u8]) -> Option<Vec<u8>> {
    let mut records = Cursor(connection);
    let mut message = Vec::new();
    loop {
        if records.number(1)? != HANDSHAKE {
            return None;
        }
        records.take(2)?;
        message.extend_from_slice(records.vector(2)?.0);
        let needed = Cursor(message.get(1..).unwrap_or_default()).number(3);
        if needed.is_some_and(|needed| message.len() >= needed + 4) {
            return Some(message);
        }
    }
}

/// RFC 6066, 3.
fn server_name(mut content: Cursor<'_>) -> Option<Option<Vec<u8>>> {
    let mut list = content.vector(2)?;
    while !list.0.is_empty() {
        let kind = list.number(1)?;
        let name = list.vector(2)?;
        if kind == HOST_NAME {
            return Some(Some(name.0.to_vec()));
        }
    }
    Some(None)
}

/// RFC 7301, 3.1.
fn protocols(mut content: Cursor<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = content.vector(2)?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        protocols.push(list.vector(1)?.0.to_vec());
    }
    Some(protocols)
}
