//! What stands beside the hooks: each makes a promise stronger, and where it is missing that is said here and by
//! `shield run`.

use std::fs;

use nix::errno::Errno;

use super::{Area, Check};
use crate::capture::{Cgroups, backstop};
use crate::config::Config;
use crate::launch::confine::Caveat;
use crate::report::Chain;

/// Every check of this area.
pub(super) fn check() -> Vec<Check> {
    vec![seccomp(), landlock(), second_backstop(), jit(), unprivileged_bpf(), user_namespaces()]
}

fn ok(id: &'static str, finding: impl Into<String>) -> Check {
    Check::ok(Area::Layers, id, finding)
}

/// `seccomp(2)`: whether an action is there.
const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;

fn seccomp() -> Check {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the call reads one number, which outlives it.
    let asked = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    match Errno::result(asked) {
        Ok(_) => ok("seccomp", "system calls can be filtered"),
        Err(errno) => Check::missing(
            Area::Layers,
            "seccomp",
            format!("system calls cannot be filtered: {}", errno.desc()),
            "use a kernel built with CONFIG_SECCOMP_FILTER=y",
        ),
    }
}

/// A layer that holds without our hooks.
fn second_backstop() -> Check {
    match backstop::check() {
        Ok(()) => ok("second-backstop", "the packet filter takes rules about cgroups"),
        Err(error) => Check::weaker(
            Area::Layers,
            "second-backstop",
            Chain(&error).to_string(),
            "the hooks hold alone: a hook removed by root of this host is not made up for",
            "install nftables and load the kernel modules nf_tables and nft_socket",
        ),
    }
}

/// What sees sockets that were made outside an agent.
pub(super) fn guard(config: &Config) -> Check {
    let Some(guard) = &config.gate.guard else {
        return Check::weaker(
            Area::Layers,
            "guard",
            "gate.guard is not set",
            "a socket that a process outside makes and hands to an agent passes by the agent's hooks; `shield run` closes \
             those an agent would inherit",
            "set gate.guard to a cgroup above every agent and above whoever must not hand it sockets: the root of cgroup2 \
             covers the host, and costs each of its connections some tens of nanoseconds for each agent",
        );
    };
    match Cgroups::find(&config.instance).and_then(|all| all.guarded_by(Some(guard))) {
        Ok(_) => {
            ok("guard", format!("sockets from elsewhere are refused to agents from {}", guard.display()))
        }
        Err(error) => Check::failed(Area::Layers, "guard", &error),
    }
}

/// `landlock_create_ruleset(2)`: which version the kernel has.
const LANDLOCK_CREATE_RULESET_VERSION: libc::c_long = 1;
/// The first that keeps signals and unnamed sockets within a domain.
const LANDLOCK_SCOPES: i64 = 6;

fn landlock() -> Check {
    // SAFETY: without a ruleset the call only answers.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION) };
    let caveat = match Errno::result(version) {
        Ok(version) if version >= LANDLOCK_SCOPES => {
            return ok("landlock", format!("version {version}: other processes can be put out of reach"));
        }
        Ok(_) => Caveat::Scopes,
        Err(_) => Caveat::Everything,
    };
    let sentence = caveat.to_string();
    let (weaker, remedy) = sentence.split_once(": ").unwrap_or((&sentence, "boot a newer kernel"));
    let finding = match version {
        1.. => format!("version {version}, before 6"),
        _ => "not there".to_owned(),
    };
    Check::weaker(Area::Layers, "landlock", finding, weaker, remedy)
}

fn jit() -> Check {
    match setting("net/core/bpf_jit_enable") {
        // Always on where there is no such file.
        None | Some(1..) => ok("jit", "hooks are compiled"),
        Some(_) => Check::weaker(
            Area::Layers,
            "jit",
            "hooks are interpreted",
            "connections take longer to open; nothing else changes",
            "sysctl net.core.bpf_jit_enable=1",
        ),
    }
}

fn unprivileged_bpf() -> Check {
    match setting("kernel/unprivileged_bpf_disabled") {
        Some(1..) => ok("unprivileged-bpf", "only root loads programs into the kernel"),
        _ => Check::weaker(
            Area::Layers,
            "unprivileged-bpf",
            "every user loads programs into the kernel",
            "an agent that was attached reaches more of the kernel than it needs; `shield run` refuses it the call",
            "sysctl kernel.unprivileged_bpf_disabled=1",
        ),
    }
}

/// Neither answer is better: programs need them, and the hooks hold inside.
fn user_namespaces() -> Check {
    match setting("user/max_user_namespaces") {
        None | Some(0) => ok("user-namespaces", "users cannot make them, so none can be root of one"),
        Some(_) => ok("user-namespaces", "users can make them; hooks hold inside, as `doctor --prove` shows"),
    }
}

fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}
