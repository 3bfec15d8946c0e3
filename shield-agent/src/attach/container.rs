//! A container's cgroup, by the ways container engines name them: Docker, containerd and CRI, CRI-O and Podman, with the
//! systemd driver and with cgroupfs.

use std::path::{Path, PathBuf};

use super::{NotFound, tree};
use crate::capture::cgroup::cgroup2_mount;
use crate::daemon::cgroup::is_populated;

/// Digits of a container's id.
const DIGITS: usize = 64;

/// Fewest digits of a beginning.
const FEWEST: usize = 4;

/// What stands before the id in a cgroup's name. Podman's and CRI-O's monitors (`libpod-conmon-`) are not containers.
const BEFORE: [&str; 7] =
    ["docker-", "cri-containerd-", "cri-containerd:", "crio-", "libpod-", "nerdctl-", "podman-"];

/// A container and where its processes are.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    /// Its whole id.
    pub id: String,
    /// Its cgroup.
    pub cgroup: PathBuf,
}

/// Finds a running container by its id or a beginning of it that only one has.
pub fn find(given: &str) -> Result<Container, NotFound> {
    let container = search(&cgroup2_mount()?, given)?;
    if is_populated(&container.cgroup) {
        Ok(container)
    } else {
        Err(NotFound::ContainerStopped { id: container.id, cgroup: container.cgroup })
    }
}

fn search(root: &Path, given: &str) -> Result<Container, NotFound> {
    let fits = (FEWEST..=DIGITS).contains(&given.len()) && is_hex(given);
    if !fits {
        let wanted = "a container's id or 4 digits of its beginning or more: `docker inspect --format {{.Id}} NAME` says \
                      it";
        return Err(NotFound::Name { given: given.to_owned(), wanted });
    }
    let mut found = tree::find(root, |name| id_in(name).is_some_and(|id| id.starts_with(given)))?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(NotFound::ContainerGone(given.to_owned())),
        (Some(cgroup), true) => {
            let name = cgroup.file_name().and_then(|name| name.to_str()).and_then(id_in);
            let id = name.expect("it was found by the id in its name").to_owned();
            Ok(Container { id, cgroup })
        }
        (Some(last), false) => {
            found.push(last);
            Err(NotFound::Ambiguous { given: given.to_owned(), found })
        }
    }
}

/// The container's id in the name of a cgroup.
fn id_in(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (before, id) = name.split_at_checked(name.len().checked_sub(DIGITS)?)?;
    let known = before.is_empty() || BEFORE.iter().any(|engine| before.ends_with(engine));
    (known && is_hex(id)).then_some(id)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: char) -> String {
        first.to_string().repeat(DIGITS)
    }

    #[test]
    fn every_engines_layout_is_known() {
        let id = id('a');
        let layouts = [
            format!("system.slice/docker-{id}.scope"),
            format!("docker/{id}"),
            format!(
                "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-{id}.scope"
            ),
            format!("kubepods/burstable/pod12-34/{id}"),
            format!("system.slice/kubepods-burstable-pod1.slice:cri-containerd:{id}"),
            format!("kubepods.slice/kubepods-pod1.slice/crio-{id}.scope"),
            format!("machine.slice/libpod-{id}.scope"),
            format!("libpod_parent/libpod-{id}"),
            format!("user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
            format!("system.slice/nerdctl-{id}.scope"),
        ];
        for layout in layouts {
            let root = tempfile::tempdir().unwrap();
            let place = root.path().join(&layout);
            std::fs::create_dir_all(place.join("container")).unwrap();
            std::fs::create_dir_all(place.parent().unwrap().join(format!("libpod-conmon-{id}.scope")))
                .unwrap();
            for given in [&id, "aaaa", "aaaaaaaaaaaa"] {
                let found = search(root.path(), given).unwrap();
                assert_eq!(found, Container { id: id.clone(), cgroup: place.clone() }, "{layout}");
            }
            assert!(matches!(search(root.path(), "bbbb"), Err(NotFound::ContainerGone(_))), "{layout}");
        }
    }

    #[test]
    fn a_beginning_of_several_ids_and_what_is_no_id_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for last in ["0", "1"] {
            let id = format!("{}{last}", "a".repeat(DIGITS - 1));
            std::fs::create_dir_all(root.path().join(format!("system.slice/docker-{id}.scope"))).unwrap();
        }
        let refused = search(root.path(), "aaaa").unwrap_err();
        assert!(matches!(refused, NotFound::Ambiguous { ref found, .. } if found.len() == 2), "{refused}");
        for given in ["", "aaa", "my-container", "AAAA", "aaaa*", "../aaaa"] {
            assert!(matches!(search(root.path(), given), Err(NotFound::Name { .. })), "{given}");
        }
    }
}
