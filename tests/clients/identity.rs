//! Who asks: what a reviewer is told about the process behind a held request.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_agent::approval::view::HoldView;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::world::python;

/// A shell that starts a program with a secret among its arguments, waits for it and goes on.
const WRAPPED: &str = r#""$0" -c "$1" --password hunter2-is-secret "$2"; echo done"#;

const ASK: &str = r#"
import ssl, sys, urllib.request
request = urllib.request.Request(sys.argv[3], data=b"{}", method="DELETE")
try: urllib.request.urlopen(request)
except urllib.error.HTTPError as error: print(error.code)
"#;

const URL: &str = "https://crm.acme.internal/v1/customers/8821";

#[test]
fn a_reviewer_is_told_which_program_asks_where_it_runs_and_who_started_it() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let outcome = told(&deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn told(deployment: &Deployment) -> Result<()> {
    let mut agent = deployment.agent("asker", &["sh", "-c", WRAPPED, python(), ASK, URL]);
    let asking = agent.stdout(Stdio::piped()).spawn()?;
    let hold = deployment.pending("asker")?;
    expect_facts(deployment, &hold)?;
    let shown = output(&mut deployment.shield(&["show", &hold.id.to_string()]))?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(
        shown.contains("started by") && shown.contains(deployment.dir().to_str().unwrap_or("?")),
        "{shown}"
    );
    deployment.decide("deny", &hold, "no")?;
    ensure!(asking.wait_with_output()?.stdout == b"403\ndone\n");
    Ok(())
}

fn expect_facts(deployment: &Deployment, hold: &HoldView) -> Result<()> {
    let caller = &hold.caller;
    ensure!(caller.exe.contains("python3") && caller.comm == "python3" && caller.uid == 65534, "{caller:?}");
    ensure!(!caller.exited, "{caller:?}");
    ensure!(caller.cwd == deployment.dir().to_str().context("a path of ASCII")?, "{caller:?}");
    ensure!(caller.cmdline.first().map(String::as_str) == Some(python()), "{caller:?}");
    ensure!(caller.cmdline.last().map(String::as_str) == Some(URL), "{caller:?}");
    ensure!(caller.cmdline.contains(&"••••".to_owned()), "{caller:?}");
    ensure!(!format!("{caller:?}").contains("hunter2"), "{caller:?}");
    let shell = caller.ancestry.first().context("no parent")?;
    ensure!(shell.comm == "sh" && shell.exe.ends_with("sh"), "{caller:?}");
    ensure!(caller.ancestry.iter().any(|above| above.comm == "shield"), "{caller:?}");
    let age = hold.created_at.duration_since(caller.start_time.context("no start")?);
    ensure!((0..30).contains(&age.as_secs()), "{caller:?}");
    Ok(())
}
