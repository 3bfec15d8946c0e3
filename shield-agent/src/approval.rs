//! The approval daemon: holds, decisions, permits.

pub mod view;
