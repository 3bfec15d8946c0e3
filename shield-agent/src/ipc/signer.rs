//! Worker ⇄ signer: "sign a leaf for this name and key".

use serde::{Deserialize, Serialize};

/// From the worker to the signer.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignLeaf {
    /// Number of the request; the answer carries it.
    pub id: u64,
    /// DNS name (canonical) or IP literal the leaf is for.
    pub name: String,
    /// DER of the leaf's public key (SubjectPublicKeyInfo).
    pub public_key: Vec<u8>,
}

/// From the signer to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeafSigned {
    /// Number of the request this answers.
    pub id: u64,
    /// DER of the certificate, or why there is none.
    pub certificate: Result<Vec<u8>, SignRefused>,
}

/// Why the signer did not sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SignRefused {
    /// Not a DNS name or IP address a certificate can be issued for.
    #[error("{0:?} is not a name a certificate can be issued for")]
    BadName(String),
    /// The public key could not be read.
    #[error("the public key of the leaf could not be read")]
    BadKey,
    /// Too many new names at once.
    #[error("too many new names: the limit is {0} a second")]
    RateLimited(u32),
}
