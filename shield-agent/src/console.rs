//! The console: where people look at held requests and decide, as pages and as an API.
//!
//! Two doors lead to the same handlers: the console's address, where a session says who decides, and `control.sock`, where
//! the kernel says that it is root. An agent reaches neither. It shows what the engine gives it, masked already, and
//! decides nothing.

mod api;
mod app;
mod assets;
mod auth;
mod events;
mod guard;
mod login;
mod pages;
mod problem;
mod router;
mod server;

pub use self::app::Door;
pub use self::router::router;
pub use self::server::{ConsoleError, serve, serve_control};

#[cfg(test)]
mod tests;
