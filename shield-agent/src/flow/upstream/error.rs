//! Why a permitted request has no answer, and whether any of it may have arrived.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::flow::accept::forbidden::ForbiddenAddress;

/// See the module. Display is a sentence for the agent; the source is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The permit is for another request.
    #[error("the permit is for another request")]
    NotPermitted,
    /// Nothing is forwarded to that address.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
    /// The request cannot be written as HTTP.
    #[error("the request cannot be written as HTTP")]
    Unwritable(#[source] http::Error),
    /// No connection.
    #[error("{address} cannot be reached: {}", source.kind())]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No connection in time.
    #[error("{address} did not accept a connection within {after:?}")]
    ConnectTimeout {
        /// Where.
        address: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// No connection was tried: the last one failed, and there are other addresses.
    #[error("nobody answered at {0} a moment ago")]
    Silent(SocketAddr),
    /// No trusted TLS session.
    #[error("the TLS connection to {name} failed: {}", tls_reason(source))]
    Tls {
        /// The name it had to be verified for.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The connection was made but does not speak HTTP, or broke before anything was written.
    #[error("the connection to the destination broke before the request was written")]
    NotWritten(#[source] hyper::Error),
    /// The request was written, at least in part, and there is no answer.
    #[error("the destination did not answer: {}", exchange_reason(.0))]
    Exchange(#[source] hyper::Error),
    /// The request was written, and no answer began in time.
    #[error("the destination did not begin to answer within {0:?}")]
    NoAnswer(Duration),
    /// The answer is not one to the request.
    #[error("the destination switched protocols unasked")]
    Switched,
    /// The answer to a WebSocket handshake is not valid: nothing but the handshake was sent.
    #[error("the destination answered the WebSocket handshake wrongly: {0}")]
    BadSwitch(&'static str),
    /// The answer broke off.
    #[error("the destination's answer broke off")]
    BrokeOff(#[source] hyper::Error),
}

impl UpstreamError {
    /// Whether a byte of the request may have reached the destination. When in doubt: yes.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::NotPermitted
            | Self::Forbidden(_)
            | Self::Unwritable(_)
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Silent(_)
            | Self::Tls { .. }
            | Self::NotWritten(_) => false,
            Self::Exchange(_)
            | Self::NoAnswer(_)
            | Self::Switched
            | Self::BadSwitch(_)
            | Self::BrokeOff(_) => true,
        }
    }

    /// Whether nobody answered at the address, which is no fault of this host: at another address somebody may.
    pub fn is_unreached(&self) -> bool {
        use io::ErrorKind as Kind;
        let there = [
            Kind::ConnectionRefused,
            Kind::ConnectionReset,
            Kind::HostUnreachable,
            Kind::NetworkUnreachable,
            Kind::TimedOut,
        ];
        match self {
            Self::Connect { source, .. } => there.contains(&source.kind()),
            Self::ConnectTimeout { .. } | Self::Silent(_) => true,
            _ => false,
        }
    }

    /// Whether it was a matter of time: answered 504 instead of 502.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout { .. } | Self::Silent(_) | Self::NoAnswer(_))
    }
}

fn exchange_reason(error: &hyper::Error) -> &'static str {
    if error.is_parse() {
        "what it sent is not HTTP"
    } else if error.is_body_write_aborted() || error.is_user() {
        "the request's body ended early"
    } else {
        "the connection was closed"
    }
}

/// The reason of a failed handshake in plain words.
fn tls_reason(error: &io::Error) -> String {
    let tls =
        error.get_ref().and_then(|error| (error as &(dyn Error + 'static)).downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => certificate_reason(reason),
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))
        | Some(rustls::Error::PeerIncompatible(_)) => "the server offers only outdated TLS".to_owned(),
        Some(rustls::Error::AlertReceived(alert)) => format!("the server refused it ({alert:?})"),
        Some(rustls::Error::InvalidMessage(_)) => "what the server sends is not TLS".to_owned(),
        Some(other) => other.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the server closed it".to_owned(),
        None => error.kind().to_string(),
    }
}

fn certificate_reason(reason: &CertificateError) -> String {
    let plain = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet"
        }
        CertificateError::Revoked => "its certificate was revoked",
        CertificateError::UnknownRevocationStatus => {
            "no list in upstream.hosts says whether its certificate was revoked"
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list of revoked certificates is out of date"
        }
        CertificateError::UnknownIssuer => "its certificate is not signed by a trusted authority",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name"
        }
        CertificateError::BadSignature => "its certificate's signature is wrong",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its certificate is signed in an outdated way"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers"
        }
        CertificateError::BadEncoding => "its certificate cannot be read",
        // The verifier's own word for what has no name above, such as a violated constraint.
        CertificateError::Other(other) => return format!("its certificate cannot be verified: {other}"),
        _ => "its certificate cannot be verified",
    };
    plain.to_owned()
}
