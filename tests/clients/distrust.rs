//! A program that looks at our certificate after the handshake, and leaves without a word.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::client::Client;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;

/// Asks three times, and says what Node.js said.
const SCRIPT: &str = r#"
const ask = () => fetch('https://crm.acme.internal/page').then(answer => answer.status, error => error.cause.code)
ask().then(async first => console.log(first, await ask(), await ask()))
"#;

#[test]
fn node_without_our_authority_is_named_with_what_makes_it_trust_us() -> Result<()> {
    if !Client::Node.present() {
        eprintln!("skipped: this host has no Node.js");
        return Ok(());
    }
    let deployment = Deployment::start(Settings { policy: "version: 1".into(), ..Settings::default() })?;
    let run = |agent: &str, unset: &str| -> Result<String> {
        let mut command = deployment.agent(agent, &["env", "-u", unset, "node", "-e", SCRIPT]);
        let told = output(command.stdin(Stdio::null()));
        let told = told.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
        Ok(String::from_utf8(told.stdout)?.trim().to_owned())
    };
    ensure!(run("trusting", "NOTHING")? == "200 200 200");
    let refused = "SELF_SIGNED_CERT_IN_CHAIN";
    let told = run("bot", "NODE_EXTRA_CA_CERTS")?;
    ensure!(told == [refused; 3].join(" "), "told {told}");
    let found = wait::until("a finding", || {
        let mut shield = deployment.shield(&["journal", "tail", "-n", "100", "-o", "jsonl"]);
        let records = String::from_utf8(output(&mut shield).ok()?.stdout).ok()?;
        let records = records.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<Value> = records.filter(|record| record["kind"] == "finding.raised").collect();
        (!found.is_empty()).then_some(found)
    });
    let found = found.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
    let [found] = &found[..] else { anyhow::bail!("{} findings: {found:?}", found.len()) };
    let (what, remedy) = (found["body"]["what"].to_string(), found["body"]["remedy"].to_string());
    ensure!(found["agent"] == "bot" && what.contains("node seems not to trust"), "found {found}");
    ensure!(what.contains("crm.acme.internal") && remedy.contains("NODE_EXTRA_CA_CERTS="), "found {found}");
    Ok(())
}
