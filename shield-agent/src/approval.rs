//! The approval daemon: holds, decisions, permits.

pub mod engine;
pub mod error;
pub mod event;
pub mod listing;
pub mod mask;
pub mod permit;
pub mod view;
pub mod visible;
