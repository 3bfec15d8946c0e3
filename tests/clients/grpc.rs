//! gRPC of every kind over real grpcio: messages, status and trailers pass as they are, and what is denied or waits for a
//! person is told in gRPC's own words.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use shield_tests::client::{Clients, python};
use shield_tests::deployment::{Deployment, Settings};
use shield_tests::wait;

const POLICY: &str = r#"
version: 1
rules:
  - { id: drops, verdict: deny, why: orders are never dropped, match: { path: "/acme.Orders/{name}" }, when: 'request.path.startsWith("/acme.Orders/Drop")' }
  # Of equally strict rules the first by id decides.
  - id: briefly
    verdict: hold
    why: deletes are looked at, though nobody waits long
    match: { agent: ["hurried"], path: /acme.Orders/Delete }
    hold: { wait: 1s }
  - { id: deletes, verdict: hold, why: deletes are looked at, match: { path: /acme.Orders/Delete } }
"#;

#[test]
fn calls_of_every_kind_pass_with_their_messages_status_and_trailers() -> Result<()> {
    let site = Site::new()?;
    let told = site.call("bot", &["Get", "8821"])?;
    let expected = json!({ "answers": ["done 8821"], "code": "OK", "details": "", "said": "8821", "proof": true,
        "decision": null, "first": "yes" });
    ensure!(told == expected, "told {told}");
    for (words, answers, said) in [
        (&["Upload", "a", "b", "c"][..], json!(["heard a,b,c"]), "a,b,c"),
        (&["List", "orders"], json!(["0 orders", "1 orders", "2 orders"]), "orders"),
        // Each word is said only when the one before was answered.
        (&["Chat", "a", "b", "c"], json!(["echo a", "echo b", "echo c"]), "all"),
    ] {
        let told = site.call("bot", words)?;
        ensure!(told["answers"] == answers && told["code"] == "OK", "{words:?}: told {told}");
        ensure!(told["said"] == said && told["proof"] == true, "{words:?}: told {told}");
    }
    for words in [&["Get", "bad"][..], &["Upload", "bad", "b"], &["List", "bad"]] {
        let told = site.call("bot", words)?;
        ensure!(told["code"] == "FAILED_PRECONDITION", "{words:?}: told {told}");
        ensure!(told["details"] == "not so: naïve ☃" && told["said"].is_string(), "{words:?}: told {told}");
    }
    Ok(())
}

#[test]
fn a_denied_call_of_any_kind_is_told_why_as_its_status() -> Result<()> {
    let site = Site::new()?;
    for words in [&["Drop", "8821"][..], &["DropMany", "a", "b"]] {
        let told = site.call("bot", words)?;
        ensure!(told["code"] == "PERMISSION_DENIED", "{words:?}: told {told}");
        ensure!(text(&told["details"]).contains("orders are never dropped"), "{words:?}: told {told}");
        ensure!(told["decision"] == "denied", "{words:?}: told {told}");
    }
    ensure!(site.arrived()?.is_empty(), "it arrived");
    Ok(())
}

#[test]
fn a_held_call_waits_for_a_person_and_ends_with_the_servers_own_status() -> Result<()> {
    let site = Site::new()?;
    for (agent, said, code) in [("deletes", "8821", "OK"), ("fails", "bad", "FAILED_PRECONDITION")] {
        let calling = site.start(agent, &["Delete", said])?;
        let hold = site.deployment.pending(agent)?;
        site.deployment.decide("approve", &hold, "")?;
        let told = told(calling)?;
        ensure!(told["code"] == code && told["said"] == said, "{agent}: told {told}");
        ensure!(told["proof"] == true, "{agent}: told {told}");
    }
    let calling = site.start("denied", &["Delete", "1"])?;
    let hold = site.deployment.pending("denied")?;
    site.deployment.decide("deny", &hold, "use the staging account")?;
    let denied = told(calling)?;
    ensure!(denied["code"] == "PERMISSION_DENIED", "denied: told {denied}");
    ensure!(text(&denied["details"]).contains("use the staging account"), "told {denied}");

    let waiting = site.call("hurried", &["Delete", "2"])?;
    let hold = site.deployment.pending("hurried")?;
    ensure!(waiting["code"] == "UNAVAILABLE" && waiting["decision"] == "pending", "hurried: told {waiting}");
    ensure!(text(&waiting["details"]).contains(&hold.id.to_string()), "told {waiting}");
    site.deployment.decide("approve", &hold, "")?;
    // Its time may run out again while the call is on its way.
    let joined = wait::until("the answer to the approved call", || {
        let told = site.call("hurried", &["Delete", "2"]).ok()?;
        (told["decision"] != "pending").then_some(told)
    })?;
    ensure!(joined["answers"] == json!(["done 2"]) && joined["code"] == "OK", "joined: told {joined}");
    ensure!(joined["said"] == "2", "told {joined}");
    let arrived = site.arrived()?;
    ensure!(arrived == ["unary 8821", "unary bad", "unary 2"], "arrived {arrived:?}");
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a call that was started came to.
fn told(calling: Child) -> Result<Value> {
    let output = calling.wait_with_output().context("cannot wait for a client")?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// A deployment with a gRPC server beside its origin.
struct Site {
    // Dropped first: its log is in the deployment's directory.
    _server: Server,
    deployment: Deployment,
    clients: Clients,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings { policy: POLICY.into(), ..Settings::default() })?;
        let clients = Clients::install(&deployment)?;
        fs::write(clients.place("calls.py"), include_str!("calls.py"))?;
        let server = Server::start(&deployment, &clients)?;
        Ok(Self { _server: server, deployment, clients })
    }

    fn start(&self, agent: &str, words: &[&str]) -> Result<Child> {
        let script = self.clients.place("calls.py").display().to_string();
        let python = python();
        let words = [&[&*python, &*script, "call"], words].concat();
        let mut agent = self.clients.agent(&self.deployment, agent, &words);
        agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        agent.spawn().context("cannot start shield")
    }

    fn call(&self, agent: &str, words: &[&str]) -> Result<Value> {
        let outcome = told(self.start(agent, words)?);
        outcome.with_context(|| format!("the daemon said:\n{}", self.deployment.daemon.log()))
    }

    /// The unary calls that arrived.
    fn arrived(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(self.deployment.dir().join("calls"))?.lines().map(str::to_owned).collect())
    }
}

/// Ends when dropped.
struct Server(Child);

impl Server {
    fn start(deployment: &Deployment, clients: &Clients) -> Result<Self> {
        let identity = deployment.dir().join("identity.pem");
        fs::write(&identity, &deployment.origin.identity_pem)?;
        let mut server = deployment.elsewhere.command(python());
        server.arg(clients.place("calls.py")).args(["serve", &deployment.address(8443)]).arg(&identity);
        server.env("PYTHONPATH", clients.place("python")).stdout(Stdio::piped());
        let mut server = Self(server.spawn().context("cannot start the gRPC server")?);
        let mut said = BufReader::new(server.0.stdout.take().context("its output is a pipe")?);
        let mut ready = String::new();
        said.read_line(&mut ready)?;
        ensure!(ready == "ready\n", "the gRPC server said {ready:?}");
        let mut calls = fs::File::create(deployment.dir().join("calls"))?;
        // Ends with the server.
        std::thread::spawn(move || std::io::copy(&mut said, &mut calls));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
