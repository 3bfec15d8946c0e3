//! The console as a reviewer meets it: a real browser, a real daemon, real clients behind the gate, and the origin's
//! ledger as the judge of what was sent.

mod access;
mod browser;
mod deciding;
mod hostile;
mod looks;
mod refused;
mod reviewer;
mod watching;
