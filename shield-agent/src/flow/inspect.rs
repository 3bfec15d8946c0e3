//! From a canonical request to an action: what the exchange means.

pub mod action;
