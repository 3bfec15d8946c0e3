//! The approver as one: what the worker asks, reviewers decide and time does, against a real store and a clock that is
//! moved by hand.

mod attempts;
mod deciding;
mod holding;
mod keeping;
mod recording;
mod sending;
pub(crate) mod world;
