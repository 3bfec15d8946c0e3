//! Listeners that outlive the daemon: the service manager keeps them and hands them to the next one, so that connections
//! made in between wait instead of being refused.
//!
//! systemd's protocol of stored descriptors; a manager that does not speak it changes nothing. What comes back is looked
//! at before it is used, and never trusted to be whose its name says.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use super::notify;
use crate::capture::{Gate, Listeners};
use crate::names::AgentName;

/// Descriptors are passed from this one on.
const FIRST: RawFd = 3;

/// What the service manager handed over, by name.
#[derive(Debug, Default)]
pub struct Kept {
    groups: BTreeMap<String, Vec<OwnedFd>>,
}

impl Kept {
    /// Takes what was handed to this process. Called once, before anything else is started.
    pub fn receive() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
            return Self::default();
        }
        let count: RawFd = variable("LISTEN_FDS").parse().unwrap_or(0);
        let names = variable("LISTEN_FDNAMES");
        let mut kept = Self::default();
        for (descriptor, name) in (FIRST..FIRST.saturating_add(count)).zip(names.split(':')) {
            // SAFETY: plain numbers. It fails for what is not a descriptor, which is then left alone.
            let inherited = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
            if inherited {
                // SAFETY: it is open, was passed to this process to own, and nobody here has used it before.
                let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
                kept.groups.entry(name.to_owned()).or_default().push(socket);
            }
        }
        kept
    }

    /// The listeners of one agent, a set for each network namespace. What is no whole set is let go.
    pub fn take(&mut self, instance: &str, agent: &AgentName) -> Vec<Listeners> {
        let prefix = name(instance, agent, "");
        let names: Vec<String> =
            self.groups.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
        let mut sets = Vec::new();
        for name in names {
            match Listeners::assemble(self.groups.remove(&name).unwrap_or_default()) {
                Ok(set) => sets.push(set),
                Err(error) => {
                    tracing::warn!(%agent, "listeners that were kept cannot be used: {error}");
                    notify::let_go(&name);
                }
            }
        }
        sets
    }

    /// Lets go of what belongs to nobody any more.
    pub fn let_go_of_the_rest(self) {
        self.groups.keys().for_each(|name| notify::let_go(name));
    }
}

/// Has the service manager keep an agent's listeners.
pub fn keep(gate: &Gate, sockets: &Listeners) {
    let all: Vec<BorrowedFd<'_>> =
        sockets.tcp.iter().chain(&sockets.dns).map(|socket| socket.as_fd()).collect();
    notify::keep(&name(gate.instance(), gate.agent(), &sockets.netns_cookie.to_string()), &all);
}

/// Has the service manager forget them.
pub fn let_go(instance: &str, agent: &AgentName, sockets: &Listeners) {
    notify::let_go(&name(instance, agent, &sockets.netns_cookie.to_string()));
}

fn name(instance: &str, agent: &AgentName, netns: &str) -> String {
    format!("{instance}/{agent}/{netns}")
}
