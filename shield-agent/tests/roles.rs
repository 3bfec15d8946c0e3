//! Roles as real processes: what the supervisor starts has nothing left but its channel.
//!
//! Needs root, to have something to give up; says so and passes elsewhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use shield_agent::ipc::fds;
use shield_agent::ipc::supervisor::{Duty, SignerReady, Start};
use tokio::net::UnixStream;

/// A user nobody has.
const ROLE_USER: u32 = 64777;

#[tokio::test]
async fn a_role_at_work_has_no_privilege_left() {
    let Some(scratch) = scratch() else { return };
    // Something it must not keep: a descriptor that is not close-on-exec.
    let leak = std::fs::File::open("/etc/passwd").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&leak).to_string();
    clear_close_on_exec(&leak);

    let (mut signer, channel) = spawn("signer");
    let (_worker, theirs) = StdStream::pair().unwrap();
    fds::send(&channel, &start(scratch.path(), std::process::id()), &[theirs.as_fd()]).await.unwrap();
    let (ready, _): (SignerReady, _) = fds::receive(&channel).await.unwrap();
    assert!(!ready.certificate.is_empty());

    let process = Path::new("/proc").join(signer.id().to_string());
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    assert!(field("Uid:").split("\t").all(|uid| uid == ROLE_USER.to_string()), "{status}");
    assert_eq!(field("Groups:"), "");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    // A process that may leave a dump belongs to its user, also in /proc.
    assert_eq!(std::fs::metadata(process.join("status")).unwrap().uid(), 0);
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
    let held = std::fs::read_link(process.join("fd").join(number)).unwrap_or_default();
    assert_ne!(held, Path::new("/etc/passwd"));
    assert_eq!(std::fs::read(process.join("environ")).unwrap(), b"");
    assert_eq!(std::fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));

    drop(_worker);
    assert!(signer.wait().unwrap().success(), "a signer without a worker has nothing to do");
}

#[tokio::test]
async fn a_role_that_outlived_its_supervisor_does_not_begin() {
    let Some(scratch) = scratch() else { return };
    let (mut signer, channel) = spawn("signer");
    let (_worker, theirs) = StdStream::pair().unwrap();
    let somebody_else = 1;
    fds::send(&channel, &start(scratch.path(), somebody_else), &[theirs.as_fd()]).await.unwrap();
    assert!(fds::receive::<SignerReady>(&channel).await.is_err());
    assert_eq!(signer.wait().unwrap().code(), Some(1));
    assert!(!scratch.path().join("ca/ca.key").exists());
}

#[test]
fn a_role_started_by_hand_says_who_starts_it() {
    let output = shield("worker").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("shield daemon"), "{said}");
}

fn shield(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shield"));
    command.args(["role", role]).env_clear().current_dir("/");
    command
}

fn spawn(role: &str) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs.into_std().unwrap());
    (shield(role).stdin(theirs).spawn().unwrap(), ours)
}

fn start(state: &Path, supervisor: u32) -> Start {
    Start {
        uid: ROLE_USER,
        gid: ROLE_USER,
        supervisor,
        duty: Duty::Sign { ca_dir: state.join("ca"), names_per_second: 50 },
    }
}

/// A directory the role can reach, with one inside that is its own; `None` without root.
fn scratch() -> Option<tempfile::TempDir> {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: a role gives up what only root has");
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let ca = scratch.path().join("ca");
    std::fs::create_dir(&ca).unwrap();
    chown(&ca, Some(ROLE_USER), Some(ROLE_USER)).unwrap();
    Some(scratch)
}

fn clear_close_on_exec(file: &std::fs::File) {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}
