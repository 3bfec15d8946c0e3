//! What the speaker is told and what it tells back: lines of JSON on its standard input and output.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Bytes for one connection of their own, sent as they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saying {
    /// Where to.
    pub to: SocketAddr,
    /// Name and protocol of the TLS session; none when it is spoken in the clear.
    pub tls: Option<(String, Protocol)>,
    /// The bytes, all written at once.
    pub bytes: Vec<u8>,
    /// Milliseconds without a word before the first of an answer after which the speaker hangs up.
    pub patience: u64,
    /// The same after the first.
    pub between: u64,
}

/// What TLS agrees on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `http/1.1`.
    H1,
    /// `h2`: the answer on stream 1 is awaited.
    H2,
}

/// What came back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// Number of the saying, from 0.
    pub number: usize,
    /// Everything that was answered.
    pub answer: Vec<u8>,
    /// How the connection failed, when it did.
    pub error: Option<String>,
}
