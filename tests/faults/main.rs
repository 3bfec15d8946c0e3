//! Roles die at the worst moments, and gates are tampered with: no hold that was acknowledged is lost, nothing is sent twice,
//! nothing leaks.

mod blocked;
mod full;
mod guarded;
mod kills;
mod resident;
mod restarts;
mod silent;
mod watched;
