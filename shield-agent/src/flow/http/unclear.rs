//! Why a message is not served: it can be read in more than one way, or asks for something that is not there.

use std::net::IpAddr;
use std::time::Duration;

use ::http::StatusCode;

use super::host::BadHost;

/// What is wrong with a request before any rule was asked. Display is the sentence its sender gets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// The connection does not speak HTTP/1 at all: treated as opaque, not as a bad request.
    #[error("the connection does not speak HTTP")]
    NotHttp,
    /// Two programs could read the message differently.
    #[error("the request is ambiguous: {0}")]
    Ambiguous(&'static str),
    /// A host is spelled in a way two programs could read differently.
    #[error("the request is ambiguous")]
    Host(#[from] BadHost),
    /// The head is longer than the limit.
    #[error("the head of the request is longer than {0} bytes")]
    TooLong(usize),
    /// The head did not arrive in time.
    #[error("the head of the request took longer than {0:?}")]
    TooSlow(Duration),
    /// It has more fields than the limit.
    #[error("the request has more than {0} fields")]
    TooMany(usize),
    /// The names of the message, the TLS session or the connection differ.
    #[error("the request is for {asked}, but its connection was opened to {opened}")]
    Misdirected {
        /// Authority of the request.
        asked: String,
        /// What the connection was opened for.
        opened: String,
    },
    /// Plain HTTP for a host that is not where its connection goes.
    #[error(
        "the request is for {host}, but nothing says that {host} is at {address}, where its connection goes: use the \
         address its name resolves to, or https"
    )]
    Elsewhere {
        /// Host of the request.
        host: String,
        /// Where the connection goes.
        address: IpAddr,
    },
    /// Clear, but not something that can pass yet.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Unclear {
    /// Status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotHttp | Self::Ambiguous(_) | Self::Host(_) => StatusCode::BAD_REQUEST,
            Self::TooLong(_) | Self::TooMany(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Misdirected { .. } | Self::Elsewhere { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
        }
    }
}
