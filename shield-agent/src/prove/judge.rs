//! What an attempt proves: from what was seen, beside what was seen without the gate. Knows no kernel and no clock.
//!
//! Nothing counts as blocked that was not seen to succeed where the gate does not stand. What blocked it is read off
//! the evidence: the hooks' counters, the refused call and its error number, and how the same call is answered to the
//! same user elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;
use shield_common::event::Reason;

use super::facts::Outcome;
use super::identity::{Identity, Mode};
use super::path::{Control, Oracle, Path};

/// What was seen of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation {
    /// How it ended for the agent.
    pub(super) outcome: Outcome,
    /// What the hooks counted meanwhile, by reason.
    pub(super) counters: BTreeMap<&'static str, u64>,
    /// What arrived behind the gate.
    pub(super) arrivals: Vec<String>,
    /// What came out at the far end of the wire.
    pub(super) packets: Vec<String>,
}

/// What stopped an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The hook on `connect()`.
    Connect,
    /// The hook on messages to an address.
    Sendmsg,
    /// The hook on new sockets.
    Create,
    /// The hook on options of sockets.
    Setsockopt,
    /// The hook on packets that leave.
    Egress,
    /// The hook on packets that arrive.
    Ingress,
    /// The filter of system calls.
    Seccomp,
    /// The domain that keeps other processes out of reach.
    Landlock,
    /// The agent's own view of files.
    Mounts,
    /// The launcher, which closes what was open.
    Launcher,
    /// The kernel wants a capability the agent lacks.
    Capability,
    /// The kernel wants another owner.
    Permission,
    /// It was led to where nobody listens.
    NoListener,
    /// Its network namespace has nothing but loopback.
    Netns,
}

impl Layer {
    /// All of them, those of the gate first.
    pub const ALL: [Self; 14] = [
        Self::Connect,
        Self::Sendmsg,
        Self::Create,
        Self::Setsockopt,
        Self::Egress,
        Self::Ingress,
        Self::NoListener,
        Self::Seccomp,
        Self::Landlock,
        Self::Mounts,
        Self::Launcher,
        Self::Netns,
        Self::Capability,
        Self::Permission,
    ];

    /// One word for a cell.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Sendmsg => "sendmsg",
            Self::Create => "create",
            Self::Setsockopt => "setsockopt",
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::NoListener => "no listener",
            Self::Netns => "netns",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Mounts => "mounts",
            Self::Launcher => "launcher",
            Self::Capability => "capability",
            Self::Permission => "permission",
        }
    }

    /// What it is, in a line.
    pub const fn means(self) -> &'static str {
        match self {
            Self::Connect => "the hook on connect() refuses it",
            Self::Sendmsg => "the hook on messages to an address refuses it",
            Self::Create => "the hook on new sockets refuses this kind",
            Self::Setsockopt => "the hook on socket options refuses the option",
            Self::Egress => "the backstop drops the packet as it leaves",
            Self::Ingress => "the backstop drops the packet as it arrives",
            Self::NoListener => "nobody listens where it would be led",
            Self::Netns => "the agent's network namespace has no such device, address or neighbour",
            Self::Seccomp => "the launcher's filter of system calls refuses the call",
            Self::Landlock => "the launcher put other processes out of reach",
            Self::Mounts => "the launcher's view of files does not have it",
            Self::Launcher => "the launcher closed what was open",
            Self::Capability => "the kernel itself wants a capability the agent lacks",
            Self::Permission => "the kernel itself keeps files and processes of others from the agent",
        }
    }
}

/// What an attempt proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Stopped.
    Blocked {
        /// By what.
        layer: Layer,
    },
    /// Led to the proxy, where it is judged.
    Redirected,
    /// It got out, as it is said it may.
    NotPromised {
        /// Why.
        why: &'static str,
    },
    /// Nothing was proved: it does not succeed without the gate either.
    NotTried {
        /// Why.
        why: String,
    },
    /// It did not get out, and nothing says what stopped it.
    Unexplained,
    /// It got out.
    Leak,
}

/// Attempts that show what the one at hand means.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside<'a> {
    /// By the same user, with less in the way: without a gate; or, for leaving one, without the launcher.
    pub(super) same: Option<&'a Observation>,
    /// By root with every capability: without a gate; or, for leaving one, inside.
    pub(super) almighty: Option<&'a Observation>,
    /// Calls a filter answers to this actor, by error number, that are answered otherwise without one.
    pub(super) filtered: Option<&'a BTreeMap<String, i32>>,
}

/// Which attempt showed that this one can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// The same user's without a gate.
    SameUserUngated,
    /// Root's without a gate.
    RootUngated,
    /// Root's inside the gate.
    RootGated,
}

impl Observation {
    /// Whether the attempt succeeded.
    pub(super) fn got_out(&self, path: &Path) -> bool {
        match path.oracle {
            Oracle::Wire => !self.packets.is_empty(),
            Oracle::Descriptor => self.outcome == Outcome::Done,
        }
    }

    fn counted(&self, reason: Reason) -> bool {
        self.counters.contains_key(reason.name())
    }
}

/// Which attempt showed that `path` can succeed, and what it sent.
pub(super) fn shown<'a>(path: &Path, beside: Beside<'a>) -> Option<(Shown, &'a Observation)> {
    let out = |seen: Option<&'a Observation>| seen.filter(|seen| seen.got_out(path));
    match path.control {
        Control::Almighty => out(beside.almighty).map(|seen| (Shown::RootGated, seen)),
        Control::Ungated => out(beside.same)
            .map(|seen| (Shown::SameUserUngated, seen))
            .or_else(|| out(beside.almighty).map(|seen| (Shown::RootUngated, seen))),
    }
}

/// Judges what was seen.
pub(super) fn judge(
    path: &Path,
    mode: Mode,
    who: Identity,
    seen: &Observation,
    beside: Beside<'_>,
) -> Verdict {
    if seen.got_out(path) {
        return match path.not_promised(mode, who) {
            Some(why) => Verdict::NotPromised { why },
            None => Verdict::Leak,
        };
    }
    if shown(path, beside).is_none() {
        return Verdict::NotTried { why: untried(beside.almighty) };
    }
    let led = seen.counted(Reason::Taken) || seen.counted(Reason::NameAsked);
    if led && !seen.arrivals.is_empty() {
        return Verdict::Redirected;
    }
    match hook(seen).or_else(|| other(seen, mode, beside)) {
        Some(layer) => Verdict::Blocked { layer },
        None => Verdict::Unexplained,
    }
}

fn untried(almighty: Option<&Observation>) -> String {
    match almighty.map(|seen| &seen.outcome) {
        Some(Outcome::Refused { call, errno }) => {
            format!("{call} answers {} here, even to root without a gate", name(*errno))
        }
        Some(Outcome::Done) => "nothing is seen of it, even without a gate".to_owned(),
        Some(Outcome::Hung) => "it hangs, even without a gate".to_owned(),
        None => "its control could not be run".to_owned(),
    }
}

/// The hook that counted a refusal.
fn hook(seen: &Observation) -> Option<Layer> {
    let call = match &seen.outcome {
        Outcome::Refused { call, .. } => call.as_str(),
        _ => "",
    };
    let hook_of_the_call = match call {
        _ if call.ends_with("socket") => Layer::Create,
        _ if call.ends_with("connect") => Layer::Connect,
        _ => Layer::Sendmsg,
    };
    let any = |reasons: &[Reason]| reasons.iter().any(|reason| seen.counted(*reason));
    match () {
        () if any(&[Reason::NoListener, Reason::UnservedNetns, Reason::ProxyGone]) => Some(Layer::NoListener),
        () if any(&[Reason::SocketKind, Reason::Datagram, Reason::Destination, Reason::NoV6Loopback]) => {
            Some(hook_of_the_call)
        }
        () if any(&[Reason::ForeignListener, Reason::NoRecord]) => Some(hook_of_the_call),
        () if any(&[Reason::RoutingOption]) => Some(Layer::Setsockopt),
        () if any(&[Reason::Egress, Reason::ForeignPacket]) => Some(Layer::Egress),
        () if any(&[Reason::Ingress]) => Some(Layer::Ingress),
        () => None,
    }
}

/// Calls that reach for another process or its sockets.
const ABOUT_OTHERS: [&str; 4] = ["connect", "open", "pidfd_getfd", "ptrace"];

/// What refused a call no hook was asked about.
fn other(seen: &Observation, mode: Mode, beside: Beside<'_>) -> Option<Layer> {
    let Outcome::Refused { call, errno } = &seen.outcome else { return None };
    if beside.filtered.is_some_and(|filtered| filtered.get(call) == Some(errno)) {
        return Some(Layer::Seccomp);
    }
    // The kernel says the same where there is less in the way: its own rules are enough.
    if beside.same.is_some_and(|same| same.outcome == seen.outcome) {
        return Some(if *errno == libc::EPERM { Layer::Capability } else { Layer::Permission });
    }
    match *errno {
        libc::ENETUNREACH | libc::ENODEV | libc::EADDRNOTAVAIL | libc::ECONNREFUSED | libc::ETIMEDOUT
            if mode == Mode::Strict =>
        {
            Some(Layer::Netns)
        }
        libc::ENOENT | libc::EROFS | libc::ENOTSOCK => Some(Layer::Mounts),
        libc::EBADF => Some(Layer::Launcher),
        libc::EPERM | libc::EACCES if ABOUT_OTHERS.contains(&call.as_str()) => Some(Layer::Landlock),
        _ => None,
    }
}

/// An error number's name.
pub(super) fn name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// Calls that are answered otherwise to a confined actor than to a free one.
pub(super) fn filtered(
    confined: &BTreeMap<String, i32>,
    free: &BTreeMap<String, i32>,
) -> BTreeMap<String, i32> {
    let differs = |(call, errno): &(&String, &i32)| free.get(*call) != Some(errno);
    confined.iter().filter(differs).map(|(call, errno)| (call.clone(), *errno)).collect()
}

#[cfg(test)]
mod tests;
