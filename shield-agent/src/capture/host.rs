//! Whether this host can gate anything: looked at before the first agent, told in one sentence.

use std::fs::File;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::cgroup::cgroup2_mount;
use super::error::CaptureError;
use super::{object, pins};

/// The oldest kernel with every helper the hooks call.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
pub(crate) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Checks everything a gate needs, mounts a BPF file system if there is none, and loads the hooks once without
/// attaching them.
pub fn check_host() -> Result<(), CaptureError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(CaptureError::NotRoot);
    }
    let release = release();
    if !new_enough(&release) {
        return Err(CaptureError::KernelTooOld { found: release });
    }
    cgroup2_mount()?;
    if !Path::new(BTF).exists() {
        return Err(CaptureError::NoBtf(BTF));
    }
    have_bpffs()?;
    object::load().map(drop)
}

/// Which kernel is running; nothing when it does not say.
pub(crate) fn release() -> String {
    let kernel = nix::sys::utsname::uname();
    kernel.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a BPF file system is mounted where gates are pinned.
pub(crate) fn is_bpffs_mounted() -> bool {
    statfs(pins::BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Makes sure there is a BPF file system to pin to.
pub(super) fn have_bpffs() -> Result<(), CaptureError> {
    if is_bpffs_mounted() {
        return Ok(());
    }
    // Two that mount at the same time would hide each other's pins.
    let _alone = File::open(pins::BPFFS)
        .and_then(|dir| Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, error)| error.into()))
        .map_err(|source| CaptureError::NoBpffs { path: pins::BPFFS, source })?;
    if is_bpffs_mounted() {
        return Ok(());
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("bpf"), pins::BPFFS, Some("bpf"), quiet, Some("mode=0700"))
        .map_err(|error| CaptureError::NoBpffs { path: pins::BPFFS, source: error.into() })
}

/// Whether a release such as `6.8.0-45-generic` is new enough. One we cannot read is not.
pub(crate) fn new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= OLDEST_KERNEL,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_6_1_on_are_new_enough() {
        for release in ["6.1.0", "6.1.0-13-amd64", "6.18.44", "7.0-rc1", "10.0"] {
            assert!(new_enough(release), "{release}");
        }
        for release in ["6.0.19", "5.15.0-91-generic", "4.19", "", "linux"] {
            assert!(!new_enough(release), "{release}");
        }
    }
}
