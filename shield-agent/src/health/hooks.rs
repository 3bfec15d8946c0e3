//! The hooks, loaded one by one and attached once: which of them this kernel has, and what is lost without each.
//!
//! A gate is whole or it is not: where one hook is missing, no agent is started.

use super::{Area, Check};
use crate::capture::trial;

/// What each hook is there for, by the name of its program.
const PROMISES: [(&str, &str); 19] = [
    ("gate_egress", "packets that slip past another hook are dropped as they leave"),
    ("gate_ingress", "nobody outside reaches a listener of the agent's"),
    ("gate_create", "sockets are TCP or UDP, which the other hooks see"),
    ("gate_setsockopt", "no socket option leads packets elsewhere"),
    ("gate_serve", "connections are led to the daemon's own listeners only"),
    ("gate_claim", "the proxy knows where a connection was going"),
    ("gate_file", "the proxy knows where a connection was going"),
    ("gate_peername4", "programs see the host they asked for, over IPv4"),
    ("gate_peername6", "programs see the host they asked for, over IPv6"),
    ("gate_recvmsg4", "names are answered by whoever was asked, over IPv4"),
    ("gate_recvmsg6", "names are answered by whoever was asked, over IPv6"),
    ("gate_sendmsg4", "datagrams are refused and names led to our resolver, over IPv4"),
    ("gate_sendmsg6", "datagrams are refused and names led to our resolver, over IPv6"),
    ("gate_connect4", "connections are led to the proxy, over IPv4"),
    ("gate_connect6", "connections are led to the proxy, over IPv6"),
    ("guard_sendmsg4", FOREIGN),
    ("guard_sendmsg6", FOREIGN),
    ("guard_connect4", FOREIGN),
    ("guard_connect6", FOREIGN),
];

const FOREIGN: &str = "sockets from elsewhere are refused to agents below gate.guard";

/// One check for loading them, one for attaching them.
pub(super) fn check() -> Vec<Check> {
    if !nix::unistd::geteuid().is_root() {
        // Said by the check of root.
        return Vec::new();
    }
    let loaded = load();
    match loaded.status {
        super::Status::Ok => vec![loaded, attach()],
        _ => vec![loaded],
    }
}

fn load() -> Check {
    let tried = match trial::hooks() {
        Ok(tried) => tried,
        Err(error) => return Check::failed(Area::Kernel, "hooks", &error),
    };
    let refused: Vec<_> = tried.iter().filter_map(|(hook, why)| Some((*hook, why.as_deref()?))).collect();
    let Some((_, why)) = refused.first() else {
        return Check::ok(Area::Kernel, "hooks", format!("all {} load", tried.len()));
    };
    let names: Vec<_> = refused.iter().map(|(hook, _)| *hook).collect();
    let finding = format!("{} of {} do not load ({}): {why}", refused.len(), tried.len(), names.join(", "));
    let remedy = "use Linux 6.1 or newer, and allow bpf() to root: CAP_BPF, CAP_NET_ADMIN, lockdown below confidentiality";
    Check { weaker: Some(lost(&names)), ..Check::missing(Area::Kernel, "hooks", finding, remedy) }
}

/// What cannot be promised without these hooks.
fn lost(names: &[&str]) -> String {
    let mut promises: Vec<&str> =
        PROMISES.iter().filter(|(hook, _)| names.contains(hook)).map(|(_, promise)| *promise).collect();
    promises.dedup();
    format!("no agent is started, because it could not be kept that {}", promises.join("; that "))
}

fn attach() -> Check {
    match trial::gate() {
        Ok(()) => Check::ok(Area::Kernel, "attach", "a whole gate held on a cgroup made for it"),
        Err(error) => Check::failed(Area::Kernel, "attach", &error),
    }
}
