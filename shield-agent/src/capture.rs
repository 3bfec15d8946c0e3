//! The kernel half, seen from user space: gate an agent's cgroup, and keep it gated.
//!
//! Everything here belongs to the supervisor but [`originals`], which the worker uses, and the helper's half of
//! [`listeners`]. Nothing here reads from a network. Dropping a [`Gate`] never opens it: what is attached stays
//! attached until [`Gate::detach`], whatever becomes of this process.

pub mod host;

pub mod backstop;
pub mod cgroup;
pub mod events;
pub mod gate;
pub mod listeners;
pub mod originals;
pub mod trial;

mod error;
mod foreign;
pub mod guard;
mod intact;
mod networks;
mod object;
mod pins;
mod renew;
mod sys;
mod tables;

pub use cgroup::{AgentCgroups, Cgroups};
pub use error::CaptureError;
pub use events::Events;
pub use foreign::Foreign;
pub use gate::Gate;
pub use host::check_host;
pub use intact::Broken;
pub use listeners::Listeners;
