//! `cargo xtask test`: everything CI runs, in debug builds, from one build of the workspace.

use anyhow::Result;

use crate::run::{cargo, command};
use crate::stages::Stages;
use crate::{build_ebpf, check, needs, project};

/// Installs what is missing, then runs every stage.
pub(crate) fn everything() -> Result<()> {
    needs::for_test()?;
    let mut stages = Stages::new()?;
    check::add_to(&mut stages);
    // The kernel tests run what the sources say, not what was committed.
    let _committed = build_ebpf::Committed::keep()?;
    stages.stage("kernel-programs", build_ebpf::build);
    let built = stages.commands(
        "build",
        [
            cargo(&["build", "--quiet", "--workspace", "--bins", "--locked"]),
            cargo(&["test", "--quiet", "--workspace", "--no-run", "--locked"]),
        ],
    );
    if built {
        stages.commands("policies", [policy_tests()]);
        stages.tests("unit", cargo(&["test", "--quiet", "--workspace", "--lib", "--bins", "--locked"]));
        stages.tests(
            "roles",
            cargo(&["test", "--quiet", "--package", "shield-agent", "--locked", "--test", "roles"]),
        );
        stages.tests(
            "fuzz",
            cargo(&["test", "--quiet", "--package", "shield-fuzz", "--locked", "--test", "replay"]),
        );
        // Built and loaded, so that it is there on the day somebody needs it.
        stages.stage("kernel-log", build_ebpf::build_logging);
        let mut in_words = end_to_end("host");
        in_words.args(["--features", "ebpf-log", "told_in_words"]);
        stages.tests("kernel-log-read", in_words);
        for target in ["host", "clients", "smuggling", "console", "faults", "attacks"] {
            stages.tests(target, end_to_end(target));
        }
    }
    stages.finish()
}

/// Every policy we ship passes the tests inside it.
fn policy_tests() -> std::process::Command {
    let mut test = command("sh", &["-c", r#"exec "$0" policy test policies/*.yaml"#]);
    test.arg(project::binary("debug", "shield"));
    test
}

fn end_to_end(target: &'static str) -> std::process::Command {
    cargo(&["test", "--quiet", "--package", "shield-tests", "--locked", "--test", target])
}
