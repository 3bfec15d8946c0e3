//! The approval daemon: holds, decisions, permits.

pub mod permit;
pub mod view;
