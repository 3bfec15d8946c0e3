//! Clients that speak QUIC: it is refused at once, so that they speak HTTP/2 instead, through the gate.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::{Clients, python};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::world::NOBODY;

const URL: &str = "https://crm.acme.internal/page";

/// What a browser wrote down when it was told of HTTP/3 before it was gated.
const LEARNED: &str = r#"{"net":{"http_server_properties":{"version":5,"servers":[{"anonymization":[],
    "server":"https://crm.acme.internal","alternative_service":[{"advertised_alpns":["h3"],"port":443,
    "protocol_str":"quic","expiration":"15000000000000000"}]}]}}}"#;

// E2. Each kind of socket is tried in tests/host/datagram.rs.
#[test]
fn curl_falls_back_from_http_3_and_fails_at_once_when_it_may_not() -> Result<()> {
    let site = Site::new()?;
    let told = site.python("h3-first", URL)?;
    ensure!(told == "200 V2_0", "told {told}");
    ensure!(site.deployment.origin.ledger.of("GET", "/page").len() == 1, "the request did not pass the gate");
    let told = site.python("h3-only", URL)?;
    // CURLE_COULDNT_CONNECT, not a timeout.
    ensure!(told == "error 7", "told {told}");
    Ok(())
}

#[test]
fn aioquic_is_told_with_its_first_packet() -> Result<()> {
    let told = Site::new()?.python("aioquic", "crm.acme.internal")?;
    ensure!(told == "ConnectionRefusedError", "told {told}");
    Ok(())
}

#[test]
fn a_browser_that_learned_of_http_3_before_loads_the_page_through_the_gate() -> Result<()> {
    let site = Site::new()?;
    let home = site.deployment.dir().join("home");
    let (profile, memory) = (home.join("profile"), home.join("profile/Default/Network Persistent State"));
    fs::create_dir_all(profile.join("Default"))?;
    fs::write(&memory, LEARNED)?;
    for owned in [&home, &profile, &profile.join("Default"), &memory] {
        std::os::unix::fs::chown(owned, Some(NOBODY), None)?;
    }
    let profile = format!("--user-data-dir={}", profile.display());
    let words = [
        "chromium",
        "--headless",
        "--no-sandbox", // It would mount, which agents may not.
        "--disable-gpu",
        // Its store of certificates is its own; whose certificate it gets is no matter here.
        "--ignore-certificate-errors",
        "--enable-quic",
        // Else what it learned counts only for requests from the same page.
        "--disable-features=PartitionConnectionsByNetworkIsolationKey",
        &profile,
        "--dump-dom",
        URL,
    ];
    let mut browser = site.clients.agent(&site.deployment, "browser", &words);
    browser.env("HOME", &home).stdin(Stdio::null());
    let page = String::from_utf8(output(&mut browser)?.stdout)?;
    ensure!(page.contains("GET /page"), "the page did not load: {page}");
    ensure!(!site.deployment.origin.ledger.of("GET", "/page").is_empty(), "it did not pass the gate");
    let learned = fs::read_to_string(memory)?;
    ensure!(learned.contains("broken_alternative_services"), "it did not try QUIC: {learned}");
    Ok(())
}

struct Site {
    deployment: Deployment,
    clients: Clients,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings::default())?;
        let clients = Clients::install(&deployment)?;
        fs::write(clients.place("quic.py"), include_str!("quic.py"))?;
        Ok(Self { deployment, clients })
    }

    fn python(&self, client: &str, target: &str) -> Result<String> {
        let script = self.clients.place("quic.py").display().to_string();
        let mut agent =
            self.clients.agent(&self.deployment, "speaker", &[&python(), &script, client, target]);
        let told = output(agent.stdin(Stdio::null()));
        let told = told.with_context(|| format!("the daemon said:\n{}", self.deployment.daemon.log()))?;
        Ok(String::from_utf8(told.stdout)?.trim().to_owned())
    }
}
