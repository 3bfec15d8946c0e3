//! The second backstop in every network namespace a gate serves. It is a layer more: where it cannot be raised, the log
//! says so and the hooks hold alone.

use std::os::fd::AsFd as _;

use crate::capture::backstop::{self, BackstopError};
use crate::capture::{Gate, Listeners};
use crate::names::AgentName;
use crate::report::Chain;

/// Raises it, or replaces the one that is there, in the namespace of the sockets.
pub(super) fn raise(gate: &Gate, sockets: &Listeners) {
    let Some(socket) = sockets.tcp.first() else { return };
    if let Err(error) = gate.raise_backstop(socket.as_fd()) {
        tracing::warn!(agent = %gate.agent(), "there is no second backstop, so the hooks hold alone: {}", Chain(&error));
    }
}

/// Takes it away from the namespace of the sockets.
pub(super) fn lower(gate: &Gate, sockets: &Listeners) {
    if let Some(socket) = sockets.tcp.first() {
        complain(gate.agent(), gate.lower_backstop(socket.as_fd()));
    }
}

/// Takes it away from our own namespace, when no socket is left to tell another.
pub(super) fn lower_here(instance: &str, agent: &AgentName) {
    complain(agent, backstop::lower_here(instance, agent));
}

fn complain(agent: &AgentName, lowered: Result<(), BackstopError>) {
    match lowered {
        // Without the program there was no rule.
        Ok(()) | Err(BackstopError::NoProgram) => {}
        Err(error) => {
            tracing::warn!(%agent, "the second backstop could not be taken away: {}", Chain(&error))
        }
    }
}
