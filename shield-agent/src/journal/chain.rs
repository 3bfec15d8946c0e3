//! The chain: a record's hash covers everything in it and the hash of the record before.

use sha2::{Digest as _, Sha256};

/// The hash before the first record.
pub const GENESIS: [u8; 32] = [0; 32];

/// The newest record: where the chain goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS }
    }
}

/// What a hash covers, besides the hash before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Number, from 1 without gaps.
    pub seq: i64,
    /// Microseconds since 1970.
    pub at: i64,
    /// What kind of record.
    pub kind: &'a str,
    /// The agent it is about.
    pub agent: Option<&'a str>,
    /// The exchange or hold it is about.
    pub subject: Option<&'a str>,
    /// The verdict, where an exchange was judged.
    pub verdict: Option<&'a str>,
    /// JSON.
    pub body: &'a str,
}

impl Link<'_> {
    /// The record's hash. Parts are length-prefixed: no two different records hash the same bytes.
    pub fn hash(&self, prev: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"agent.shield journal v1\n");
        hash.update(prev);
        hash.update(self.seq.to_be_bytes());
        hash.update(self.at.to_be_bytes());
        for part in [Some(self.kind), self.agent, self.subject, self.verdict, Some(self.body)] {
            // An absent part is not an empty one.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        hash.finalize().into()
    }
}
