//! What the agent finds in `/run`: next to nothing. The host's sockets there belong to programs that would act for it
//! outside the gate: service managers, container engines, message buses, resolvers.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::chown;

use super::LaunchError;
use super::mounts::cover;
use crate::privileges::Identity;

const RUN: &str = "/run";

/// Where the host's resolver configuration may be kept.
const RESOLVER: &str = "/etc/resolv.conf";

/// Links to programs and devices, not to sockets: some distributions find their programs through them.
const KEPT_LINKS: [&str; 4] = ["booted-system", "current-system", "opengl-driver", "shm"];

/// Things of the host's `/run` that are shown again.
struct Kept {
    links: Vec<(PathBuf, PathBuf)>,
    resolver: Option<(PathBuf, Vec<u8>)>,
}

/// Puts an empty directory in place of the host's `/run`, with a private one for the agent's user inside.
pub(super) fn hide(user: &Identity) -> Result<(), LaunchError> {
    let run = Path::new(RUN);
    if !run.is_dir() {
        return Ok(());
    }
    let kept = Kept::find(run);
    cover(run)?;
    kept.show().map_err(LaunchError::setup("filling", run))?;
    let own = run.join("user").join(user.uid.to_string());
    own_directory(&own, user).map_err(LaunchError::setup("making", &own))
}

impl Kept {
    fn find(run: &Path) -> Self {
        let link = |name: &&str| Some((run.join(name), fs::read_link(run.join(name)).ok()?));
        let resolver = fs::canonicalize(RESOLVER).ok().filter(|path| path.starts_with(run));
        Self {
            links: KEPT_LINKS.iter().filter_map(link).collect(),
            resolver: resolver.and_then(|path| fs::read(&path).ok().map(|text| (path, text))),
        }
    }

    fn show(self) -> io::Result<()> {
        for (place, target) in self.links {
            symlink(target, place)?;
        }
        if let Some((path, text)) = self.resolver {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)?;
        }
        Ok(())
    }
}

fn own_directory(place: &Path, user: &Identity) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::DirBuilder::new().mode(0o700).create(place)?;
    chown(place, Some(user.uid), Some(user.gid)).map_err(io::Error::from)
}
