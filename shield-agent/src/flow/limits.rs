//! How much one agent, one connection and one request may ask for: `limits:` in the configuration.
//!
//! The usual values are those no ordinary program meets; see docs/reference/configuration.md for what each is about.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections one agent may have open; further ones wait in the listeners' backlog.
    pub connections: usize,
    /// Requests of one agent that may be under way; further ones wait for [`TURN_WITHIN`], then are refused.
    pub requests: usize,
    /// Certificates signed in a second, for names not met before; more are refused.
    pub certificates: u32,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// What concerns HTTP.
    pub http: HttpLimits,
}

/// The part that concerns HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpLimits {
    /// Longest head, bytes.
    pub head: usize,
    /// Most fields in a head.
    pub fields: usize,
    /// How long a head that began may take to arrive over HTTP/1.
    pub head_within: Duration,
    /// How long an HTTP/1 connection may stay open without a request.
    pub idle: Duration,
    /// How long a body that is waited for may say nothing.
    pub body_silence: Duration,
    /// Requests one HTTP/2 connection may have under way.
    pub streams: u32,
}

/// How long a request waits for its turn.
pub const TURN_WITHIN: Duration = Duration::from_secs(30);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 256,
            certificates: 50,
            handshake: Duration::from_secs(10),
            http: HttpLimits::default(),
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head: 64 << 10,
            fields: 200,
            head_within: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            body_silence: Duration::from_secs(60),
            streams: 128,
        }
    }
}
