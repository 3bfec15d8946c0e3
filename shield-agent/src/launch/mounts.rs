//! The agent's view of the host's files: its own mount namespace, in which programs find our trust files where they look
//! for the host's, and find neither our sockets and state, nor the handles of the gate, nor the host's own sockets.
//!
//! It never changes a file of the host.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::trust::{DIRECTORY, TrustContent, Trusted};
use super::{LaunchError, runtime};
use crate::ipc::gate::PreparedRun;
use crate::privileges::Identity;

/// Where distributions keep the bundle of roots; the first that exists is the one programs read.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where distributions keep Java's trust store.
pub const JAVA_STORES: &[&str] = &["/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts"];

/// Enters a mount namespace of our own in which the agent sees `content` as the host's roots.
pub(super) fn enter(
    prepared: &PreparedRun,
    content: &TrustContent,
    user: &Identity,
) -> Result<Trusted, LaunchError> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)
        .map_err(|errno| LaunchError::setup("entering a namespace of our own for", "mounts")(errno.into()))?;
    change("keeping mounts to ourselves at", Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    runtime::hide(user)?;
    for directory in prepared.hide.iter().filter(|directory| directory.is_dir()) {
        cover(directory)?;
        read_only(directory)?;
    }
    let cgroup = File::open(&prepared.cgroup).map_err(LaunchError::setup("opening", &prepared.cgroup))?;
    let own = PathBuf::from(format!("/proc/self/fd/{}", cgroup.as_raw_fd()));
    for (kind, place) in mounted().map_err(LaunchError::setup("reading", "/proc/self/mounts"))? {
        match kind.as_str() {
            "bpf" => cover(&place).and_then(|()| read_only(&place))?,
            "cgroup2" => {
                // Nothing above its own: a child can be born in any cgroup that can be opened, written to or not.
                bind(&own, &place)?;
                read_only(&place)?;
            }
            _ => {}
        }
    }
    show_trust(prepared, content)
}

/// Puts the trust files where `run_dir` was, and over the host's own.
fn show_trust(prepared: &PreparedRun, content: &TrustContent) -> Result<Trusted, LaunchError> {
    let run_dir = &prepared.run_dir;
    // Gone with the host's `/run`, when it is below that.
    fs::create_dir_all(run_dir).map_err(LaunchError::setup("making", run_dir))?;
    cover(run_dir)?;
    let directory = run_dir.join(DIRECTORY);
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o755)
        .create(&directory)
        .map_err(LaunchError::setup("making", &directory))?;
    let trusted =
        content.write(&directory).map_err(LaunchError::setup("writing trust files in", &directory))?;
    read_only(run_dir)?;
    if let Some(place) = SYSTEM_BUNDLES.iter().map(Path::new).find(|place| place.is_file()) {
        bind(&trusted.bundle, place)?;
    }
    if let Some(store) = &trusted.java {
        for place in JAVA_STORES.iter().map(Path::new).filter(|place| place.is_file()) {
            bind(store, place)?;
        }
    }
    Ok(trusted)
}

/// Hides a directory behind an empty one.
pub(super) fn cover(directory: &Path) -> Result<(), LaunchError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shield"), directory, Some("tmpfs"), flags, Some("mode=0755,size=16m"))
        .map_err(|errno| LaunchError::setup("hiding", directory)(errno.into()))
}

pub(super) fn bind(what: &Path, place: &Path) -> Result<(), LaunchError> {
    mount(Some(what), place, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| LaunchError::setup("mounting over", place)(errno.into()))
}

fn read_only(place: &Path) -> Result<(), LaunchError> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    change("making read-only", place, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | safe)
}

fn change(act: &'static str, place: &Path, flags: MsFlags) -> Result<(), LaunchError> {
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)
        .map_err(|errno| LaunchError::setup(act, place)(errno.into()))
}

/// File system type and place of every mount.
fn mounted() -> io::Result<Vec<(String, PathBuf)>> {
    Ok(parse_mounts(&fs::read_to_string("/proc/self/mounts")?))
}

fn parse_mounts(table: &str) -> Vec<(String, PathBuf)> {
    let entry = |line: &str| {
        let mut fields = line.split(' ');
        let place = fields.nth(1)?;
        Some((fields.next()?.to_owned(), PathBuf::from(unescape(place))))
    };
    table.lines().filter_map(entry).collect()
}

/// The kernel writes blanks and backslashes of a path as three octal digits.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (escaped, plain)| path.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_type_wherever_they_are() {
        let table = "cgroup2 /sys/fs/cgroup/my\\040place cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        let expected = [("cgroup2", "/sys/fs/cgroup/my place"), ("bpf", "/sys/fs/bpf")];
        let expected = expected.map(|(kind, place)| (kind.to_owned(), PathBuf::from(place)));
        assert_eq!(parse_mounts(table), expected);
    }
}
