//! The audit journal: records in order, each bound to all before it by a hash.
//!
//! Records are only ever added, in the transaction of what they describe. No secret is ever in one.

pub mod append;
pub mod body;
pub mod chain;
pub mod entry;
pub mod read;
pub mod verify;
