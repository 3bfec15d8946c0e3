//! A host that cannot gate says what is missing and what to do, in one sentence, and nothing is attached.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_tests::deployment::programs;

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

/// A configuration in a directory of its own.
fn configure(dir: &Path) -> Result<std::path::PathBuf> {
    let place = dir.display();
    std::fs::create_dir(dir.join("state"))?;
    std::fs::write(dir.join("policy.yaml"), "version: 1\nrules: []\n")?;
    let config = dir.join("shield.yaml");
    let text = format!(
        "instance: doctor-{}\nstate_dir: {place}/state\nrun_dir: {place}/run\npolicies: [{place}/policy.yaml]\n\
         store: {{ url: \"sqlite://{place}/state/shield.db\" }}\n",
        std::process::id()
    );
    std::fs::write(&config, text)?;
    Ok(config)
}

/// What `shield doctor` finds in a mount namespace where `change` was run first: exit code and checks.
fn diagnosis(config: &Path, change: &str) -> Result<(i32, Vec<Value>)> {
    let script = format!("{change} \"$0\" doctor --json --config \"$1\"");
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(programs()?.join("shield"))
        .arg(config)
        .output()?;
    let said = || format!("{change}: {}", String::from_utf8_lossy(&output.stderr));
    let checks = serde_json::from_slice(&output.stdout).with_context(said)?;
    Ok((output.status.code().with_context(said)?, checks))
}

// E13: a set-up in which agents could not be gated is found out, with its reason.
#[test]
fn the_doctor_names_what_is_broken_and_says_what_to_do() -> Result<()> {
    if world()?.is_none() {
        return Ok(());
    }
    let mount = cgroup2_mount()?;
    let without_cgroup2 = format!("umount --lazy {} && exec", mount.display());
    let frozen_cgroup2 = format!("mount -o bind,remount,ro {} && exec", mount.display());
    let hidden = |file: &str, text: &str| {
        format!("printf '{text}' > $(dirname $1)/fake && mount --bind $(dirname $1)/fake {file} && exec")
    };
    let strangers_id = hidden("/etc/passwd", "root:x:0:0::/root:/bin/sh\\nann:x:64102:64102::/:/bin/sh\\n");
    let every_bpf = hidden("/proc/sys/kernel/unprivileged_bpf_disabled", "0\\n");
    let interpreted = hidden("/proc/sys/net/core/bpf_jit_enable", "0\\n");
    for (change, id, status, remedy) in [
        ("exec setpriv --reuid 65534 --clear-groups", "root", "missing", "sudo"),
        ("exec setarch --uname-2.6", "kernel", "missing", "6.1"),
        (&without_cgroup2, "cgroup2", "missing", "mount -t cgroup2"),
        (&without_cgroup2, "attach", "missing", "mount -t cgroup2"),
        (&frozen_cgroup2, "attach", "missing", "check that it exists"),
        ("mount -t tmpfs none /sys/kernel/btf && exec", "btf", "missing", "CONFIG_DEBUG_INFO_BTF"),
        (
            "umount --lazy --all-targets /sys/fs/bpf && exec setpriv --bounding-set -sys_admin",
            "bpffs",
            "missing",
            "mount -t bpf",
        ),
        ("mount -o bind,remount,ro /sys/fs/bpf && exec", "attach", "missing", "BPF file system"),
        ("exec setpriv --bounding-set -bpf,-sys_admin", "hooks", "missing", "CAP_BPF"),
        ("exec setpriv --bounding-set -net_admin,-sys_admin", "hooks", "missing", "CAP_NET_ADMIN"),
        ("exec setpriv --bounding-set -setuid", "capabilities", "missing", "CapabilityBoundingSet"),
        ("exec setpriv --bounding-set -sys_admin", "netns", "missing", "unshare"),
        (&every_bpf, "unprivileged-bpf", "weaker", "sysctl"),
        (&interpreted, "jit", "weaker", "sysctl"),
        (&strangers_id, "users", "missing", "useradd"),
        ("unset SSL_CERT_DIR; export SSL_CERT_FILE=/dev/null && exec", "roots", "missing", "ca-certificates"),
        ("echo 'rules: [{}]' > $(dirname $1)/policy.yaml && exec", "policy", "missing", "policy check"),
        ("rm $(dirname $1)/policy.yaml && exec", "policy", "missing", "policy check"),
        ("echo 'stat_dir: /x' >> $1 && exec", "config", "missing", "correct"),
        ("rm $1 && exec", "config", "missing", "correct"),
        ("mount -t tmpfs -o size=64k none $(dirname $1)/state && exec", "state-dir", "missing", "make room"),
        ("chown 65534 $(dirname $1)/state && exec", "state-dir", "missing", "root's own"),
        ("touch $(dirname $1)/run && exec", "run-dir", "missing", "run_dir"),
        ("exec", "daemon", "missing", "shield daemon"),
    ] {
        let dir = tempfile::Builder::new().prefix("shield-doctor-").tempdir()?;
        let (code, checks) = diagnosis(&configure(dir.path())?, change)?;
        let check =
            checks.iter().find(|check| check["id"] == id).with_context(|| format!("{change}: no {id}"))?;
        assert_eq!(check["status"], status, "{change}: {check}");
        ensure!(check["remedy"].as_str().is_some_and(|said| said.contains(remedy)), "{change}: {check}");
        // No daemon runs for any of them.
        assert_eq!(code, 5, "{change}");
    }
    Ok(())
}

#[test]
fn the_doctor_finds_nothing_wrong_with_the_kernel_the_tests_run_on() -> Result<()> {
    if world()?.is_none() {
        return Ok(());
    }
    let dir = tempfile::Builder::new().prefix("shield-doctor-").tempdir()?;
    let (_, checks) = diagnosis(&configure(dir.path())?, "exec")?;
    let ill: Vec<_> =
        checks.iter().filter(|check| check["area"] == "kernel" && check["status"] != "ok").collect();
    assert!(ill.is_empty(), "{ill:?}");
    assert!(checks.iter().any(|check| check["id"] == "attach"), "{checks:?}");
    Ok(())
}
