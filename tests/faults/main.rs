//! Roles die at the worst moments: no hold that was acknowledged is lost, nothing is sent twice, nothing leaks.

mod blocked;
mod full;
mod kills;
mod resident;
mod restarts;
