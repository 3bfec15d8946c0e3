//! The console from outside: requests as browsers and scripts send them, against a real engine and store.

mod api;
mod browser;
mod deciding;
mod entering;
pub(in crate::console) mod samples;
