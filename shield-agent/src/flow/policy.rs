//! Policy: caller + action + request → verdict and why. No I/O, no clock, nothing spawned.

pub mod verdict;
