//! agent.shield in user space: a person at the doors an AI agent should not open alone.
//!
//! Modules are declared in the order a request meets them; see ARCHITECTURE.md for its whole life.

// Words used everywhere.
pub mod config;
pub mod finding;
pub mod names;
pub mod networks;
pub mod report;
pub mod yaml;
// The processes and what they say to each other.
pub mod ipc;
pub mod privileges;
// The command line.
pub mod cli;
// The supervisor, the processes it starts, `shield run` and `shield attach`.
pub mod attach;
pub mod daemon;
pub mod health;
pub mod launch;
pub mod prove;
pub mod role;
// The kernel half.
pub mod capture;
// From a socket to a decision to bytes upstream.
pub mod flow;
pub mod worker;
// The approval daemon.
pub mod approval;
pub mod journal;
pub mod store;
// Where people decide: pages and an API, and the command line's calls of it.
pub mod console;
pub mod control;
// The agents' resolver, and the CA of this install.
pub mod dns;
pub mod signer;
