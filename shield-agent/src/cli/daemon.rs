//! `shield daemon`, and the roles it starts.

use std::path::Path;

use tracing_subscriber::EnvFilter;

use super::{Failure, code};
use crate::config::Config;
use crate::role::{self, RoleKind};

/// The variable that says how much is logged, for instance `debug` or `shield_agent::flow=trace`.
const LOG_VARIABLE: &str = "SHIELD_LOG";

/// Runs the daemon until it is told to end.
pub(super) fn run(config: &Path) -> Result<u8, Failure> {
    log();
    crate::daemon::run(Config::load(config)?)?;
    Ok(code::OK)
}

/// Becomes a role.
pub(super) fn role(kind: RoleKind) -> Result<u8, Failure> {
    log();
    role::run(kind)?;
    Ok(code::OK)
}

/// Logs to standard error, where systemd and people read it.
fn log() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
}
