//! What stands between a verdict and the wire: records, holds, the sends a reviewer ordered, and every answer of ours.

pub mod answers;
pub mod approver;
pub mod dialect;
pub mod exchange;
pub mod hold;
pub mod order;
pub mod outcome;
pub mod own;
pub mod patience;
pub mod recorder;
pub mod refuse;
pub mod reply;
pub mod unasked;
pub mod via;
pub mod websocket;

pub use exchange::{Asked, Exchange, Unforwarded};
pub use refuse::{conclude, refuse_request};
pub use via::{Spoken, Turn, Via};
