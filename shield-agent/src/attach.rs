//! What `shield attach` is told to gate, and which cgroup that is: a systemd unit, a container, a process.
//!
//! It looks around and changes nothing; the daemon gates, and judges again whether the cgroup can be gated.

pub mod advice;
pub mod container;
pub mod process;
pub mod unit;

mod tree;

use std::io;
use std::path::PathBuf;

use crate::capture::CaptureError;

/// Why there is nothing to gate.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// The host has no unified hierarchy.
    #[error(transparent)]
    Host(#[from] CaptureError),
    /// The hierarchy could not be searched.
    #[error("the cgroups below {} could not be searched: run this as root", .0.display())]
    Search(PathBuf, #[source] io::Error),
    /// The name is none.
    #[error("{given:?} is not {wanted}")]
    Name {
        /// As given.
        given: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// No such unit runs.
    #[error("unit {0} has no cgroup: start it first, and see `systemctl status {0}`")]
    UnitGone(String),
    /// No such container runs.
    #[error(
        "no cgroup of a container {0} is in the unified hierarchy: see whether it runs (`docker ps`, `crictl ps`, \
         `podman ps`); on a hybrid host Docker's cgroupfs driver keeps containers out of it, so use the systemd driver"
    )]
    ContainerGone(String),
    /// It is there and empty.
    #[error("container {id} has ended: nothing runs in {}, so start it and attach it again", cgroup.display())]
    ContainerStopped {
        /// Which.
        id: String,
        /// Its cgroup.
        cgroup: PathBuf,
    },
    /// Several are meant.
    #[error("{given} means several: {}; name one of them with --cgroup", list(found))]
    Ambiguous {
        /// As given.
        given: String,
        /// Their cgroups.
        found: Vec<PathBuf>,
    },
    /// No such process.
    #[error("there is no process {0}: see `ps`")]
    ProcessGone(u32),
    /// We would gate ourselves.
    #[error(
        "process {0} started this command: it would cut itself off, so ask from a shell that is not its child"
    )]
    Ancestor(u32),
}

fn list(found: &[PathBuf]) -> String {
    found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
