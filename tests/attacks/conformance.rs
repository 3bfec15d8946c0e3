//! HTTP/2 as its specifications ask: what is well formed is served, what is not is refused in the right way, and no whole
//! request of it arrives.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::client::{Clients, python};
use shield_tests::deployment::{Deployment, Settings};

/// Cases in `conformance.py`; fewer would mean that the script gave up.
const CASES: usize = 121;

#[test]
fn http2_that_is_well_formed_is_served_and_what_is_not_is_refused_as_the_protocol_asks() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let clients = Clients::install(&deployment)?;
    fs::write(clients.place("speaker.py"), include_str!("speaker.py"))?;
    fs::write(clients.place("conformance.py"), include_str!("conformance.py"))?;
    // Some cases are about streams that are still to be answered.
    deployment.origin.pause();
    let words = [python(), clients.place("conformance.py").display().to_string()];
    let told = clients.agent(&deployment, "bot", &words).stdin(Stdio::null()).output()?;
    deployment.origin.resume();
    let said = String::from_utf8_lossy(&told.stderr);
    let cases: Vec<Value> = serde_json::Deserializer::from_slice(&told.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("the cases are not JSON")?;
    let wrong: Vec<String> =
        cases.iter().filter(|case| case["right"] != true).map(ToString::to_string).collect();
    ensure!(wrong.is_empty(), "{} of {} are wrong:\n{}\n{said}", wrong.len(), cases.len(), wrong.join("\n"));
    ensure!(told.status.success() && cases.len() == CASES, "{} cases, {}: {said}", cases.len(), told.status);
    let arrived = deployment.origin.ledger.all();
    let whole = |wanted: &str| {
        let wanted =
            arrived.iter().filter(|receipt| receipt.target.starts_with(wanted) && receipt.body.is_some());
        wanted.map(|receipt| receipt.target.clone()).collect::<Vec<_>>()
    };
    ensure!(whole("/refused").is_empty(), "arrived: {:?}", whole("/refused"));
    let served = cases.iter().filter(|case| case["came"] == "200").count();
    ensure!(
        whole("/fine").len() == served,
        "{served} were answered, and these arrived: {:?}",
        whole("/fine")
    );
    Ok(())
}
