//! What must hold for any bytes that reach a reader of agent.shield: one module for each target, `check` its property.
//!
//! A target never looks at inputs it likes: it takes any bytes, and panics when the property is broken. The programs in
//! `fuzz_targets/` search for such bytes; the test in `tests/replay.rs` tries those that were found worth keeping.
//! What a target compares with ([`strict`], [`hello`], [`records`]) is written from the RFCs and shares no code with the
//! product.

// What the targets share: readers of our own, a connection in memory, memory that is counted.
pub mod canonical;
pub mod connection;
pub mod hello;
pub mod memory;
pub mod records;
pub mod strict;
// The targets.
pub mod client_hello;
pub mod dns_answer;
pub mod dns_question;
pub mod frame;
pub mod h1_body;
pub mod h1_head;
pub mod h2_head;
pub mod host;

/// A target: its name, which is that of its corpus, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("client_hello", client_hello::check),
    ("dns_answer", dns_answer::check),
    ("dns_question", dns_question::check),
    ("frame", frame::check),
    ("h1_body", h1_body::check),
    ("h1_head", h1_head::check),
    ("h2_head", h2_head::check),
    ("host", host::check),
];
