//! Where things are in this repository, and where what we build and install goes.

use std::env;
use std::path::{Path, PathBuf};

/// Root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Private Python environment of the clients we test with.
pub(crate) fn python_environment() -> PathBuf {
    target().join("needs/python")
}

/// A binary of this workspace, as built in `profile` (`debug` or `release`).
pub(crate) fn binary(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}
