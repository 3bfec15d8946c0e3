//! The approval daemon: holds, decisions, permits. In the order of a hold's life: take, decide, send.

mod agents;
mod attempts;
pub mod channel;
mod decide;
mod distrust;
pub mod engine;
pub mod error;
pub mod event;
mod exchanges;
pub mod held;
pub mod hold;
mod keep;
pub mod listing;
mod lookup;
pub mod mask;
pub mod permit;
pub mod records;
mod send;
mod take;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;
pub mod visible;
pub mod waiting;
