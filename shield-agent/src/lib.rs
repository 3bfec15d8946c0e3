//! agent.shield in user space: a person at the doors an AI agent should not open alone.
//!
//! Modules are declared in the order a request meets them; see ARCHITECTURE.md for its whole life.

// Words used everywhere.
pub mod config;
pub mod names;
// The processes and what they say to each other.
pub mod ipc;
// The kernel half.
pub mod capture;
// From a socket to a decision to bytes upstream.
pub mod flow;
// The approval daemon.
pub mod approval;
// The agents' resolver, and the CA of this install.
pub mod dns;
pub mod signer;
