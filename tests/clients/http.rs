//! Every HTTP client in every situation.

use anyhow::{Context as _, Result, ensure};
use shield_agent::approval::view::HoldState;
use shield_tests::client::{Client, Clients, Errand};
use shield_tests::deployment::{Deployment, Settings};

const BODY: &str = r#"{"cascade":true,"note":"naïve ☃ & \"quoted\""}"#;

#[test]
fn curl_over_http_1() -> Result<()> {
    check(Client::CurlH1)
}

#[test]
fn curl_over_http_2() -> Result<()> {
    check(Client::CurlH2)
}

#[test]
fn python_requests() -> Result<()> {
    check(Client::Requests)
}

#[test]
fn python_httpx() -> Result<()> {
    check(Client::Httpx)
}

#[test]
fn python_urllib() -> Result<()> {
    check(Client::Urllib)
}

#[test]
fn node_fetch() -> Result<()> {
    check(Client::Node)
}

#[test]
fn java_http_client() -> Result<()> {
    check(Client::Java)
}

fn check(client: Client) -> Result<()> {
    if !client.present() {
        eprintln!("skipped: this host has no {client:?}");
        return Ok(());
    }
    let deployment = Deployment::start(Settings::default())?;
    let outcome = Clients::install(&deployment).and_then(|clients| {
        let bench = Bench { deployment: &deployment, clients, client };
        bench.an_allowed_request_passes().context("allowed")?;
        bench.a_held_request_passes_once_when_approved().context("held, approved")?;
        bench.a_held_request_never_passes_when_denied().context("held, denied")?;
        bench.a_repeated_request_joins_its_hold().context("pending, then joined")
    });
    outcome.with_context(|| format!("{client:?}; the daemon said:\n{}", deployment.daemon.log()))
}

struct Bench<'a> {
    deployment: &'a Deployment,
    clients: Clients,
    client: Client,
}

impl Bench<'_> {
    fn an_allowed_request_passes(&self) -> Result<()> {
        let told = self.start("reader", &errand("GET", "/v1/customers/8821", ""))?.told()?;
        ensure!(told.status == 200 && told.body.contains("GET /v1/customers/8821"), "told {told:?}");
        self.expect_receipts("GET", "/v1/customers/8821", 1, "")
    }

    fn a_held_request_passes_once_when_approved(&self) -> Result<()> {
        let path = "/v1/customers/1";
        let running = self.start("approved", &errand("DELETE", path, BODY))?;
        let hold = self.deployment.pending("approved")?;
        self.expect_receipts("DELETE", path, 0, "")?;
        ensure!(hold.request.body.text.as_deref() == Some(BODY), "shown {:?}", hold.request.body);
        ensure!(hold.caller_waiting && hold.asked == 1, "shown {hold:?}");
        ensure!(hold.caller.exe.starts_with('/'), "which program asked is not known: {:?}", hold.caller);
        self.deployment.decide("approve", &hold, "they asked for it")?;
        let told = running.told()?;
        ensure!(told.status == 200 && told.body.contains("DELETE /v1/customers/1"), "told {told:?}");
        self.expect_receipts("DELETE", path, 1, BODY)
    }

    fn a_held_request_never_passes_when_denied(&self) -> Result<()> {
        let path = "/v1/customers/2";
        let running = self.start("denied", &errand("DELETE", path, BODY))?;
        let hold = self.deployment.pending("denied")?;
        self.deployment.decide("deny", &hold, "use the staging account")?;
        let told = running.told()?;
        ensure!(told.status == 403 && told.body.contains("use the staging account"), "told {told:?}");
        self.expect_receipts("DELETE", path, 0, "")
    }

    fn a_repeated_request_joins_its_hold(&self) -> Result<()> {
        let path = "/hurried/3";
        let errand = errand("PUT", path, BODY);
        let told = self.start("hurried", &errand)?.told()?;
        let hold = self.deployment.pending("hurried")?;
        ensure!(told.status == 503 && told.body.contains(&hold.id.to_string()), "told {told:?}");
        self.expect_receipts("PUT", path, 0, "")?;
        self.deployment.decide("approve", &hold, "")?;
        let told = self.start("hurried", &errand)?.told()?;
        ensure!(told.status == 200 && told.body.contains("PUT /hurried/3"), "told {told:?}");
        self.expect_receipts("PUT", path, 1, BODY)?;
        let holds = self.deployment.holds()?;
        let ours: Vec<_> = holds.iter().filter(|hold| hold.agent.as_str() == "hurried").collect();
        ensure!(ours.len() == 1 && ours[0].state == HoldState::Done && ours[0].asked == 2, "{ours:?}");
        Ok(())
    }

    fn start(&self, agent: &str, errand: &Errand) -> Result<shield_tests::client::Running> {
        self.clients.start(self.deployment, agent, self.client, errand)
    }

    fn expect_receipts(&self, method: &str, path: &str, times: usize, body: &str) -> Result<()> {
        let receipts = self.deployment.origin.ledger.of(method, path);
        ensure!(receipts.len() == times, "{method} {path} arrived {} times, not {times}", receipts.len());
        for receipt in receipts {
            ensure!(receipt.body.as_deref() == Some(body.as_bytes()), "arrived as {:?}", receipt.body);
        }
        Ok(())
    }
}

fn errand(method: &'static str, path: &str, body: &str) -> Errand {
    Errand { method, url: format!("https://crm.acme.internal{path}"), body: body.into() }
}
