//! What the roles say to each other, over socketpairs they inherited.
//!
//! Length-prefixed frames of postcard-encoded messages, bounded; each side treats the other as hostile. Which role
//! may say what is a type: a worker cannot utter a decision. See ARCHITECTURE.md, "Processes".

pub mod approver;
pub mod attempt;
pub mod fds;
pub mod frame;
pub mod gate;
pub mod launch;
pub mod line;
pub mod signer;
pub mod supervisor;
pub mod worker;
