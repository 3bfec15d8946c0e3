//! A name with two addresses, at one of which nobody is.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::origin::NOBODY;

/// Asks as programs do, and goes to the address that was told first. It connects, as every address does behind the gate.
const SCRIPT: &str = r#"
set -e
for url in https://twice.acme.internal/read http://twice.acme.internal/read; do
    set -- $(dig +short twice.acme.internal A)
    curl -sS --resolve "twice.acme.internal:443:$1" --resolve "twice.acme.internal:80:$1" -w ' %{http_code} %{remote_ip}\n' "$url"
done
"#;

#[test]
fn a_program_reaches_its_host_where_nobody_is_at_the_first_address() -> Result<()> {
    let deployment = Deployment::start(Settings { policy: "version: 1".into(), ..Settings::default() })?;
    let nobody = format!("{NOBODY}/32");
    deployment.elsewhere.ip(&["address", "add", &nobody, "dev", "eth0"])?;
    deployment.place.ip(&["route", "add", &nobody, "via", &deployment.origin.address.to_string()])?;
    let mut agent = deployment.agent("bot", &["sh", "-c", SCRIPT]);
    let told = output(agent.stdin(Stdio::null()));
    let told = told.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
    let told = String::from_utf8(told.stdout)?;
    let passed = told.lines().filter(|line| line.ends_with(&format!(" 200 {NOBODY}"))).count();
    ensure!(passed == 2, "{told}");
    let arrived = deployment.origin.ledger.of("GET", "/read").len();
    ensure!(arrived == 2, "{arrived} arrived");
    Ok(())
}
