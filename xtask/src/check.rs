//! `cargo xtask check`: what can be said about the code without running the product.

use anyhow::Result;

use crate::run::cargo;
use crate::stages::Stages;
use crate::{build_ebpf, tidy};

/// Runs the quick half of CI.
pub(crate) fn quick() -> Result<()> {
    let mut stages = Stages::new()?;
    add_to(&mut stages);
    stages.finish()
}

/// The stages `cargo xtask test` begins with.
pub(crate) fn add_to(stages: &mut Stages) {
    stages.commands("format", [cargo(&["fmt", "--all", "--check"])]);
    stages.stage("tidy", tidy::repository);
    stages.stage("kernel-object", build_ebpf::check_object);
    let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    stages.commands("lints", [cargo(&lints)]);
}
