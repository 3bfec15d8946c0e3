//! `shield doctor --prove`: the promise, tried out on this very kernel. Every way out is tried by everybody who might,
//! in throwaway worlds, and a sniffer at the far end of the wire says what left.
//!
//! Nothing here touches the host's own network: each world is a pair of network namespaces made for it. Nothing is
//! taken on trust either: every attempt is made without the gate as well, and proves something only if it succeeds there.

pub mod actor;
mod deputies;
mod facts;
pub mod identity;
pub mod judge;
mod matrix;
mod neighbour;
mod netns;
pub mod path;
mod player;
mod probes;
pub mod report;
mod site;
mod sniffer;
mod stage;
mod standin;
mod wire;

pub use self::report::{Cell, Proof};
pub use self::stage::{ProveError, prove};
