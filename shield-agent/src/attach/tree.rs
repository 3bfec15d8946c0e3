//! Looking for a cgroup by its name, wherever a service manager or container engine has put it.

use std::fs;
use std::path::{Path, PathBuf};

use super::NotFound;

/// Directories looked at before giving up: more than any host has.
const MOST: usize = 200_000;

/// The cgroups below `root` whose name is wanted, shallowest first; not what is below those.
pub(super) fn find(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, NotFound> {
    let mut found = Vec::new();
    let mut level = vec![root.to_owned()];
    let mut seen = 0;
    while !level.is_empty() && seen < MOST {
        let mut below = Vec::new();
        for place in level {
            let entries = match fs::read_dir(&place) {
                Ok(entries) => entries,
                // One that was removed meanwhile has nothing below it.
                Err(_) if place != root => continue,
                Err(error) => return Err(NotFound::Search(place, error)),
            };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                seen += 1;
                match entry.file_name().to_str().is_some_and(&wanted) {
                    true => found.push(entry.path()),
                    false => below.push(entry.path()),
                }
            }
        }
        level = below;
    }
    Ok(found)
}
