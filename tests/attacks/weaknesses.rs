//! Our TLS as testssl.sh sees it, from where an agent is.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use shield_tests::deployment::{Deployment, Settings};
use shield_tests::world::NOBODY;

/// What it says of every authority of one's own whose certificates live for a day: nothing to revoke, little left to run,
/// no word in the DNS about who may issue.
const EXPECTED: [&str; 4] = ["DNS_CAArecord", "cert_expirationStatus", "cert_notAfter", "cert_revocation"];

#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

#[test]
fn testssl_finds_no_weakness_of_our_tls() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let home = deployment.dir().join("home");
    fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(NOBODY), None)?;
    let report = home.join("report.json");
    let script = r#"ADDITIONAL_CA_FILES=$NODE_EXTRA_CA_CERTS exec timeout 300 testssl --quiet --color 0 --warnings off \
        --openssl-timeout 10 --ip "$1" --protocols --server-defaults --server-preference --fs --vulnerable \
        --jsonfile "$2" crm.acme.internal:443"#;
    let address = deployment.origin.address.to_string();
    let words = ["sh", "-c", script, "sh", &address, report.to_str().context("a path of ASCII")?];
    let mut agent = deployment.agent("bot", &words);
    let told = agent.env("HOME", &home).stdin(Stdio::null()).output()?;
    let report =
        fs::read_to_string(report).with_context(|| format!("testssl.sh reported nothing: {told:?}"))?;
    let findings: Vec<Finding> = serde_json::from_str(&report)?;
    let by_id: BTreeMap<&str, &Finding> = findings.iter().map(|one| (one.id.as_str(), one)).collect();
    for (id, expected) in
        [("TLS1_3", "offered with final"), ("TLS1_1", "not offered"), ("heartbleed", "not vulnerable")]
    {
        let found = by_id.get(id).with_context(|| format!("nothing about {id}: {report}"))?;
        ensure!(found.finding.starts_with(expected), "{found:?}");
    }
    let mut bad: Vec<&Finding> =
        findings.iter().filter(|one| !["OK", "INFO"].contains(&one.severity.as_str())).collect();
    bad.sort_by(|one, other| one.id.cmp(&other.id));
    ensure!(bad.iter().map(|one| one.id.as_str()).eq(EXPECTED), "{bad:#?}");
    Ok(())
}
