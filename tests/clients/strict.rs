//! `shield run --strict`: real programs in a network namespace with nothing but loopback reach what policy lets them.

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::origin::git::make_repository;

use crate::anyone::ann;

const PYTHON: &str = r#"
import urllib.request
with urllib.request.urlopen("https://crm.acme.internal/read") as answer: print(answer.status)
"#;
const NODE: &str = "fetch('https://crm.acme.internal/read').then(answer => console.log(answer.status))";

/// A program, its arguments and how its output ends.
const PROGRAMS: [(&[&str], &str); 7] = [
    (&["curl", "--silent", "--write-out", " %{http_code}", "https://crm.acme.internal/read"], " 200"),
    // Asks for addresses of a family the host must have.
    (&["curl", "-4", "--silent", "--write-out", " %{http_code}", "https://crm.acme.internal/read"], " 200"),
    (&["git", "ls-remote", "https://git.acme.internal/git/project.git"], "refs/heads/main\n"),
    (&["/usr/bin/python3", "-c", PYTHON], "200\n"),
    (&["node", "-e", NODE], "200\n"),
    (&["unshare", "--user", "--map-root-user", "sh", "-c", "id -u; ls /sys/fs/bpf"], "0\n"),
    (
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "curl",
            "--silent",
            "--write-out",
            " %{http_code}",
            "https://crm.acme.internal/read",
        ],
        " 200",
    ),
];

#[test]
fn real_programs_work_and_deletes_are_held() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let outcome = work(&deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn work(deployment: &Deployment) -> Result<()> {
    make_repository(&deployment.origin.repositories, "project")?;
    for (program, end) in PROGRAMS {
        let run = [&["run", "--agent", "strict", "--strict", "--"], program].concat();
        let ended = output(&mut ann(deployment, &run))?;
        let said = String::from_utf8_lossy(&ended.stdout);
        ensure!(said.ends_with(end), "{program:?}: {said}{}", String::from_utf8_lossy(&ended.stderr));
    }
    let delete = ["curl", "--silent", "--request", "DELETE", "https://crm.acme.internal/held"];
    let run = [&["run", "--agent", "strict", "--strict", "--"][..], &delete].concat();
    let deleting = ann(deployment, &run).stdout(std::process::Stdio::piped()).spawn()?;
    let hold = deployment.pending("strict")?;
    deployment.decide("approve", &hold, "")?;
    ensure!(deleting.wait_with_output()?.status.success());
    ensure!(deployment.origin.ledger.of("DELETE", "/held").len() == 1);
    Ok(())
}

#[test]
fn root_of_the_host_is_not_run_strictly() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let refused = deployment.shield(&["run", "--strict", "--", "true"]).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(125) && said.contains("--user"), "{}: {said}", refused.status);
    Ok(())
}

#[test]
fn another_daemon_takes_a_strict_agent_over() -> Result<()> {
    let mut deployment = Deployment::start(Settings::default())?;
    let script = r#"echo here; read go; curl --silent --output /dev/null --write-out '%{http_code}\n' https://crm.acme.internal/read"#;
    let run = ["run", "--agent", "strict", "--strict", "--", "sh", "-c", script];
    let mut waiting = crate::anyone::Waiting::start(ann(&deployment, &run))?;
    deployment.daemon.kill(shield_tests::deployment::Role::Supervisor)?;
    deployment.restart()?;
    std::io::Write::write_all(waiting.process.stdin.as_mut().context("stdin is piped")?, b"go\n")?;
    let said = waiting.hear()?;
    ensure!(said == "200", "{said}");
    ensure!(waiting.process.wait()?.success(), "its exit code was lost with the first daemon");
    Ok(())
}
