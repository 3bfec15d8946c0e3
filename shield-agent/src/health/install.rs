//! Users, roots, configuration, policy and directories: what an administrator puts there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Area, Check};
use crate::config::Config;
use crate::daemon::policy_files::PolicyFiles;
use crate::daemon::users;
use crate::flow::policy::Policy;
use crate::report::Chain;

/// Room the store should have, bytes: without any, nothing leaves.
const ROOM: u64 = 256 << 20;

/// What does not depend on the configuration.
pub(super) fn host() -> Vec<Check> {
    vec![role_users(), roots()]
}

/// What does.
pub(super) fn check(config: &Config) -> Vec<Check> {
    vec![
        ok("config", format!("readable, instance {}", config.instance)),
        policy(config),
        state_dir(&config.state_dir),
        run_dir(&config.run_dir),
        group(&config.group),
    ]
}

fn ok(id: &'static str, finding: impl Into<String>) -> Check {
    Check::ok(Area::Install, id, finding)
}

fn missing(id: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check::missing(Area::Install, id, finding, remedy)
}

fn role_users() -> Check {
    let missing_users: Vec<&str> = users::NAMES.into_iter().filter(|name| !users::exists(name)).collect();
    let remedy = "useradd --system --no-create-home for each, or install the package";
    match users::find() {
        Ok(_) if missing_users.is_empty() => ok("users", "each role has a user of its own"),
        Ok(_) => Check::weaker(
            Area::Install,
            "users",
            format!("roles run as fixed user ids, for want of {}", missing_users.join(", ")),
            "nothing stops a later user from getting the id of a role",
            remedy,
        ),
        Err(error) => missing("users", Chain(&error).to_string(), remedy),
    }
}

/// Who may start agents without being root.
fn group(name: &str) -> Check {
    match users::group(name) {
        Ok(Some(_)) => ok("group", format!("members of {name} may start agents")),
        Ok(None) => Check::weaker(
            Area::Install,
            "group",
            format!("there is no group {name}"),
            "only root may start agents",
            "groupadd --system with that name, then restart the daemon",
        ),
        Err(error) => {
            missing("group", Chain(&error).to_string(), format!("make group {name} known, or set `group`"))
        }
    }
}

fn roots() -> Check {
    match rustls_native_certs::load_native_certs().certs.len() {
        0 => missing(
            "roots",
            "no certificate roots, so no upstream can be verified",
            "install ca-certificates",
        ),
        count => ok("roots", format!("{count} certificate roots")),
    }
}

fn policy(config: &Config) -> Check {
    let text = match PolicyFiles::unread(&config.policies).read_text() {
        Ok(text) => text,
        Err(error) => return missing("policy", Chain(&error).to_string(), "see `shield policy check`"),
    };
    match Policy::compile(&text.files) {
        Ok(_) if text.files.is_empty() => Check::weaker(
            Area::Install,
            "policy",
            format!("no file fits {}", config.policies.join(", ")),
            "no request is held: everything that is HTTP goes through",
            "copy policies/starter.yaml there, or set policies",
        ),
        Ok(policy) => ok("policy", format!("{} rules in {} files", policy.rule_count(), text.files.len())),
        Err(mistakes) => missing("policy", mistakes.to_string(), "correct it, and see `shield policy check`"),
    }
}

/// Everything is written down here before it leaves.
fn state_dir(place: &Path) -> Check {
    match usable(place) {
        Ok(Some(0..ROOM)) => missing(
            "state-dir",
            format!("{} has less than {} MiB left", place.display(), ROOM >> 20),
            "make room: where nothing can be recorded, nothing leaves",
        ),
        Ok(Some(left)) => ok("state-dir", format!("{}, {} MiB left", place.display(), left >> 20)),
        Ok(None) => ok("state-dir", format!("{} is made by the daemon", place.display())),
        Err(why) => missing("state-dir", why, "make it root's own directory, or set state_dir"),
    }
}

fn run_dir(place: &Path) -> Check {
    match usable(place) {
        Ok(Some(_)) => ok("run-dir", place.display().to_string()),
        Ok(None) => ok("run-dir", format!("{} is made by the daemon", place.display())),
        Err(why) => missing("run-dir", why, "make it root's own directory, or set run_dir"),
    }
}

/// Room below a directory of root's, bytes; `None` when there is none yet and it can be made.
fn usable(place: &Path) -> Result<Option<u64>, String> {
    let said = |what: &str| format!("{} {what}", place.display());
    match fs::metadata(place) {
        Ok(data) if !data.is_dir() => Err(said("is no directory")),
        Ok(data) if data.uid() != 0 => Err(said("belongs to another user than root")),
        Ok(_) => {
            let room = statvfs(place).map_err(|errno| said(errno.desc()))?;
            let writable = !room.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
            let left = room.blocks_available() as u64 * room.fragment_size() as u64;
            if writable { Ok(Some(left)) } else { Err(said("is on a read-only file system")) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match place.ancestors().skip(1).find(|above| above.exists()) {
                Some(above) if above.is_dir() => Ok(None),
                _ => Err(said("cannot be made: what is above it is no directory")),
            }
        }
        Err(error) => Err(said(&error.to_string())),
    }
}
