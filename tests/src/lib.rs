//! The harness: throwaway deployments with a real daemon, a real network and an origin that keeps a ledger.
//!
//! Nothing here knows how the product works inside: it sees what a user, an agent and a server would see.

pub mod client;
pub mod deployment;
pub mod foreign;
pub mod hooks;
pub mod launcher;
pub mod netns;
pub mod origin;
pub mod proxy;
pub mod sniffer;
pub mod sockets;
pub mod wait;
pub mod world;
