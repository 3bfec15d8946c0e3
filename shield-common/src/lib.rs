//! Types and rules shared by the kernel programs (`shield-ebpf`) and user space.
//!
//! Nothing here allocates, does I/O or depends on std: the same code runs in the kernel.
#![no_std]

pub mod limits;
pub mod original;
