//! `cargo xtask demo`: installs, builds, and hands over to the demonstration itself (`tests/src/bin/shield-demo.rs`).

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// Who approves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reviewer {
    /// The person at the terminal, with the printed link.
    Person,
    /// A browser of our own, through the same pages.
    Browser,
}

/// Shows the product end to end, and leaves nothing behind.
pub(crate) fn show(reviewer: Reviewer) -> Result<()> {
    needs::for_demo(reviewer == Reviewer::Browser)?;
    println!("Building (a few minutes the first time)");
    loud(cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "shield-agent",
        "--package",
        "shield-tests",
        "--bins",
    ]))?;
    let mut demo = command(project::binary("debug", "shield-demo"), &[]);
    demo.env("SHIELD_DEMO_PYTHON", project::python_environment().join("bin/python"));
    if reviewer == Reviewer::Browser {
        demo.arg("--auto");
    }
    // Replaces us: Ctrl-C reaches the one process that has something to clean up.
    Err(demo.exec()).context("cannot start the demonstration")
}
