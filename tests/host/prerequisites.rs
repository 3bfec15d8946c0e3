//! A host that cannot gate says what is missing and what to do, in one sentence, and nothing is attached.

use std::process::Command;

use anyhow::{Result, ensure};
use shield_agent::capture::cgroup::cgroup2_mount;

use crate::{actor, world};

/// What `check_host` says in a mount namespace where `change` was run first.
fn complaint(change: &str) -> Result<String> {
    let script = format!("{change} \"$0\" check");
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).arg(actor()).output()?;
    ensure!(output.status.code() == Some(1), "{}: {output:?}", output.status);
    Ok(String::from_utf8(output.stderr)?.trim_end().to_owned())
}

#[test]
fn every_prerequisite_that_is_missing_is_named_with_its_remedy() -> Result<()> {
    if world()?.is_none() {
        return Ok(());
    }
    let without_cgroup2 = format!("umount --lazy {} && exec", cgroup2_mount()?.display());
    for (change, thing, remedy) in [
        ("exec setpriv --reuid 65534 --clear-groups", "needs root", "sudo"),
        (&without_cgroup2, "no cgroup2", "mount -t cgroup2"),
        ("mount -t tmpfs none /sys/kernel/btf && exec", "no type information", "CONFIG_DEBUG_INFO_BTF"),
        (
            "umount --lazy --all-targets /sys/fs/bpf && exec setpriv --bounding-set -sys_admin",
            "cannot mount a BPF file system",
            "mount -t bpf",
        ),
        ("exec setpriv --bounding-set -bpf,-sys_admin", "refused to load", "CAP_BPF"),
    ] {
        let complaint = complaint(change)?;
        assert!(complaint.contains(thing) && complaint.contains(remedy), "{change}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{change}: {complaint}");
    }
    Ok(())
}
