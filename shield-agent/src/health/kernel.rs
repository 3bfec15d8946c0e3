//! The kernel and the rights to use it: what no gate can be without.

use std::path::Path;

use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, unshare};

use super::{Area, Check};
use crate::capture::cgroup::cgroup2_mount;
use crate::capture::host;

/// What attaching a gate and launching an agent take.
const NEEDED: [(Capability, &str); 6] = [
    (Capability::CAP_BPF, "CAP_BPF"),
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    (Capability::CAP_SYS_ADMIN, "CAP_SYS_ADMIN"),
    (Capability::CAP_SETUID, "CAP_SETUID"),
    (Capability::CAP_SETGID, "CAP_SETGID"),
    (Capability::CAP_CHOWN, "CAP_CHOWN"),
];

/// Every check of this area, but the hooks.
pub(super) fn check() -> Vec<Check> {
    vec![root(), capabilities(), release(), btf(), cgroup2(), bpffs(), netns()]
}

fn ok(id: &'static str, finding: impl Into<String>) -> Check {
    Check::ok(Area::Kernel, id, finding)
}

fn missing(id: &'static str, finding: impl Into<String>, remedy: &str) -> Check {
    Check::missing(Area::Kernel, id, finding, remedy)
}

fn root() -> Check {
    match nix::unistd::geteuid().is_root() {
        true => ok("root", "asked as root, so that everything could be tried"),
        false => missing("root", "asked by an ordinary user, who cannot try the hooks", "run it with sudo"),
    }
}

fn capabilities() -> Check {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let lacking: Vec<_> = NEEDED.iter().filter(|(needed, _)| !has(*needed)).map(|(_, name)| *name).collect();
    match lacking.is_empty() {
        true => ok("capabilities", "everything the daemon needs of root"),
        false => {
            let remedy =
                "give them to the daemon: in a unit CapabilityBoundingSet=, in a container --cap-add";
            missing("capabilities", format!("without {}", lacking.join(", ")), remedy)
        }
    }
}

fn release() -> Check {
    let release = host::release();
    match host::new_enough(&release) {
        true => ok("kernel", format!("Linux {release}")),
        false => missing("kernel", format!("Linux {release} is older than 6.1"), "boot Linux 6.1 or newer"),
    }
}

fn btf() -> Check {
    match Path::new(host::BTF).exists() {
        true => ok("btf", "the kernel has type information"),
        false => {
            let finding = format!("the kernel has no type information at {}", host::BTF);
            missing("btf", finding, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y")
        }
    }
}

fn cgroup2() -> Check {
    let Ok(mount) = cgroup2_mount() else {
        let remedy = "mount -t cgroup2 none /sys/fs/cgroup/unified";
        return missing("cgroup2", "no cgroup2 file system is mounted", remedy);
    };
    let hybrid = if mount == Path::new("/sys/fs/cgroup") { "" } else { ", beside cgroups of version 1" };
    ok("cgroup2", format!("mounted at {}{hybrid}", mount.display()))
}

fn bpffs() -> Check {
    match host::is_bpffs_mounted() {
        true => ok("bpffs", "mounted, so that gates outlive the daemon"),
        false if caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false) => {
            ok("bpffs", "not mounted yet: the daemon mounts it")
        }
        false => missing("bpffs", "no BPF file system is mounted", "mount -t bpf bpf /sys/fs/bpf"),
    }
}

/// Listeners are opened by a process that enters the agent's namespace.
fn netns() -> Check {
    // A namespace belongs to a thread: this one ends with it.
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match made {
        Ok(Ok(())) => ok("netns", "network namespaces can be made"),
        Ok(Err(errno)) => {
            let remedy = "allow unshare(CLONE_NEWNET) to root, with a kernel built with CONFIG_NET_NS=y";
            missing("netns", format!("no network namespace could be made: {}", errno.desc()), remedy)
        }
        Err(_) => missing("netns", "the attempt to make a network namespace died", "report it"),
    }
}
