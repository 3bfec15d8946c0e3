//! Types and rules shared by the kernel programs (`shield-ebpf`) and user space.
//!
//! Nothing here allocates, does I/O or depends on std: the same code runs in the kernel.
#![no_std]

// Words.
pub mod addr;
pub mod limits;
// The rule every connection meets first.
pub mod networks;
pub mod scope;
// What the two halves leave for each other in maps.
pub mod event;
pub mod guarded;
pub mod handoff;
pub mod original;
pub mod served;

// Implemented for what crosses a map: lets aya copy it in and out of user space.
#[cfg(feature = "user")]
mod pod;
