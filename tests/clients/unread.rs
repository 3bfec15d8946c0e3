//! Databases, mail and pinned certificates: what nobody can read passes where a rule names its destination, unchanged and
//! on record, and is refused at once everywhere else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::client::python;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;

/// Only agents named `db-…` get through unread, only to the origin's network and only to these ports.
const POLICY: &str = r#"
version: 1
rules:
  - id: databases
    verdict: allow
    why: these agents use the databases
    connection: { agent: ["db-*"], address: 198.51.100.0/24, port: [25, 5432, 6379] }
  - id: pinned
    verdict: allow
    why: it pins its certificate
    connection: { agent: ["db-*"], address: 198.51.100.0/24, port: 443, tls_name: crm.acme.internal }
"#;

#[test]
fn redis() -> Result<()> {
    let site = Site::new()?;
    let redis = Server::redis(&site)?;
    let host = site.deployment.origin.address.to_string();
    let words = |rest: &[&str]| {
        ["redis-cli", "-h", &host].iter().chain(rest).map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = site.run("db-1", &words(&["SET", "greeting", "naïve ☃"]))?;
    ensure!(told.status.success() && said(&told).contains("OK"), "told {told:?}");
    let told = site.run("db-1", &words(&["--raw", "GET", "greeting"]))?;
    ensure!(said(&told).trim() == "naïve ☃", "told {told:?}");
    site.expect_record("db-1", "databases", "6379")?;

    let before = redis.connections(&site)?;
    let told = site.run("bot", &words(&["PING"]))?;
    ensure!(!told.status.success() && !said(&told).contains("PONG"), "told {told:?}");
    ensure!(redis.connections(&site)? == before + 1, "more than our own question arrived");
    site.expect_refusal("bot", "the connection does not speak HTTP; defaults.opaque")
}

#[test]
fn postgresql_whatever_its_client_thinks_of_tls() -> Result<()> {
    let site = Site::new()?;
    let Some(_server) = Server::postgresql(&site)? else { return Ok(()) };
    for mode in ["disable", "prefer"] {
        let (database_user, bot) = (format!("db-{mode}"), format!("bot-{mode}"));
        let place =
            format!("host={} user=postgres dbname=postgres sslmode={mode}", site.deployment.origin.address);
        let words = ["psql", &place, "--no-psqlrc", "-tAc", "SELECT 40 + 2"].map(str::to_owned);
        let told = site.run(&database_user, &words)?;
        ensure!(said(&told).trim() == "42", "{mode}: told {told:?}");
        site.expect_record(&database_user, "databases", "5432")?;
        let told = site.run(&bot, &words)?;
        ensure!(
            !told.status.success() && said(&told).contains("server closed the connection"),
            "told {told:?}"
        );
        site.expect_refusal(&bot, "the connection does not speak HTTP; defaults.opaque")?;
    }
    Ok(())
}

#[test]
fn a_mail_server_that_speaks_first() -> Result<()> {
    let site = Site::new()?;
    let address = site.deployment.origin.address;
    let listener = site.deployment.elsewhere.enter(move || TcpListener::bind((address, 25)))?;
    let listener = listener.join().expect("binding does not panic")?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // The test looks at what its client says.
            let _ = receive_mail(client);
        }
    });
    let script = format!(
        "import smtplib\nwith smtplib.SMTP('{address}') as server:\n  server.sendmail('a@a', ['b@b'], 'hello')\nprint('sent')"
    );
    let words = [python(), "-c".to_owned(), script];
    let told = site.run("db-1", &words)?;
    ensure!(said(&told).trim() == "sent", "told {told:?}");
    site.expect_record("db-1", "databases", "25")?;
    let told = site.run("bot", &words)?;
    ensure!(!told.status.success() && said(&told).contains("Connection reset by peer"), "told {told:?}");
    site.expect_refusal("bot", "the client waits for the server to speak first; defaults.opaque")
}

#[test]
fn a_client_that_trusts_its_servers_certificate_alone() -> Result<()> {
    let site = Site::new()?;
    let roots = site.deployment.dir().join("origin-ca.pem").display().to_string();
    let words = ["curl", "-sS", "--cacert", &roots, "https://crm.acme.internal/page"].map(str::to_owned);
    let told = site.run("db-1", &words)?;
    ensure!(said(&told).contains("GET /page"), "told {told:?}");
    site.expect_record("db-1", "pinned", "443 as crm.acme.internal")?;
    let arrived = || site.deployment.origin.ledger.of("GET", "/page").len();
    ensure!(arrived() == 1, "it did not arrive");
    let told = site.run("bot", &words)?;
    // CURLE_PEER_FAILED_VERIFICATION: it was shown our certificate.
    ensure!(told.status.code() == Some(60), "told {told:?}");
    site.expect_refusal("bot", "the program ended the TLS handshake for crm.acme.internal")?;
    let found = site.record("finding.raised", |record| {
        record["agent"] == "bot" && record["body"]["id"] == "not-trusted"
    })?;
    let (what, remedy) = (found["body"]["what"].to_string(), found["body"]["remedy"].to_string());
    ensure!(what.contains("curl does not trust") && what.contains("crm.acme.internal"), "found {what}");
    ensure!(remedy.contains("/trust/bundle.pem") && remedy.contains("tls_name"), "the remedy is {remedy}");
    let other = words.map(|word| word.replace("crm.", "api."));
    ensure!(site.run("db-1", &other)?.status.code() == Some(60), "another name of the same address passed");
    ensure!(arrived() == 1, "it arrived without a rule");
    Ok(())
}

/// One client of a mail server, as far as `smtplib` goes.
fn receive_mail(mut client: std::net::TcpStream) -> std::io::Result<()> {
    client.write_all(b"220 mail.acme.internal\r\n")?;
    let mut in_letter = false;
    for line in BufReader::new(client.try_clone()?).lines() {
        let line = line?;
        let answer: &[u8] = match (in_letter, line.as_str()) {
            (true, ".") => b"250 taken\r\n",
            (true, _) => continue,
            (false, "data" | "DATA") => b"354 go on\r\n",
            (false, "quit" | "QUIT") => return client.write_all(b"221 bye\r\n"),
            (false, _) => b"250 fine\r\n",
        };
        in_letter = answer.starts_with(b"354");
        client.write_all(answer)?;
    }
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// A deployment with a policy for unread connections.
struct Site {
    deployment: Deployment,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings { policy: POLICY.into(), ..Settings::default() })?;
        Ok(Self { deployment })
    }

    /// Runs a command as an agent to its end.
    fn run(&self, agent: &str, words: &[String]) -> Result<Output> {
        let mut agent = self.deployment.agent(agent, words);
        agent.stdin(Stdio::null()).output().context("cannot start shield")
    }

    /// Waits for the record of a connection that a rule let through, and that of its end with bytes both ways.
    fn expect_record(&self, agent: &str, rule: &str, to: &str) -> Result<()> {
        let judged = self.record("exchange.judged", |record| {
            record["agent"] == agent && record["verdict"] == "allow" && record["body"]["rule"] == rule
        })?;
        let summary = judged["body"]["action"]["summary"].as_str().unwrap_or_default();
        ensure!(summary.contains(to) && summary.contains("uninspectable"), "{judged}");
        let both_ways =
            |ended: &Value| ended["sent"].as_u64() > Some(0) && ended["received"].as_u64() > Some(0);
        // A connection that ended at once has one record.
        if !both_ways(&judged["body"]["ended"]) {
            self.record("exchange.finished", |record| {
                record["subject"] == judged["subject"] && both_ways(&record["body"])
            })?;
        }
        Ok(())
    }

    fn expect_refusal(&self, agent: &str, why: &str) -> Result<()> {
        self.record("exchange.judged", |record| {
            let told = record["body"]["why"].as_str().unwrap_or_default();
            record["agent"] == agent && record["verdict"] == "deny" && told.starts_with(why)
        })?;
        Ok(())
    }

    /// Waits for a record.
    fn record(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = String::new();
        let found = wait::until(&format!("a record {kind}"), || {
            let mut tail = self.deployment.shield(&["journal", "tail", "-n", "1000", "-o", "json"]);
            let told = output(&mut tail).ok()?.stdout;
            last = String::from_utf8_lossy(&told).into_owned();
            let records: Vec<Value> = serde_json::from_slice(&told).ok()?;
            records.into_iter().find(|record| record["kind"] == kind && wanted(record))
        });
        found.with_context(|| format!("the journal: {last}\nthe daemon: {}", self.deployment.daemon.log()))
    }
}

/// A server beside the origin; ends when dropped.
struct Server(Child);

impl Server {
    fn redis(site: &Site) -> Result<Self> {
        let host = site.deployment.origin.address.to_string();
        let mut redis = site.deployment.elsewhere.command("redis-server");
        redis.args(["--bind", &host, "--port", "6379", "--protected-mode", "no", "--save", ""]);
        redis.arg("--dir").arg(site.deployment.dir());
        let server = Self(redis.stdout(Stdio::null()).spawn().context("cannot start redis-server")?);
        wait::until("redis to answer", || server.connections(site).ok())?;
        Ok(server)
    }

    /// How many connections redis ever accepted, that of this question included.
    fn connections(&self, site: &Site) -> Result<u64> {
        let host = site.deployment.origin.address.to_string();
        let mut ask = site.deployment.elsewhere.command("redis-cli");
        let told = output(ask.args(["-h", &host, "INFO", "stats"]))?;
        let told = String::from_utf8(told.stdout)?;
        let counted = told.lines().find_map(|line| line.trim().strip_prefix("total_connections_received:"));
        counted.and_then(|count| count.parse().ok()).with_context(|| format!("redis said {told}"))
    }

    /// `None` when this host has no PostgreSQL.
    fn postgresql(site: &Site) -> Result<Option<Self>> {
        let programs = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let Some(programs) =
            programs.map(|version| version.path().join("bin")).find(|bin| bin.join("postgres").exists())
        else {
            eprintln!("skipped: this host has no PostgreSQL");
            return Ok(None);
        };
        let data = site.deployment.dir().join("postgresql");
        std::fs::create_dir(&data)?;
        output(Command::new("chown").arg("postgres").arg(&data))?;
        // It refuses to run as root.
        let as_postgres = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"];
        let mut prepare = Command::new("setpriv");
        prepare.args(as_postgres).arg(programs.join("initdb"));
        output(prepare.arg("-D").arg(&data).args(["--auth", "trust", "--no-sync", "-U", "postgres"]))?;
        std::fs::write(data.join("pg_hba.conf"), "host all all 198.51.100.0/24 trust\n")?;
        let host = site.deployment.origin.address.to_string();
        let mut server = site.deployment.elsewhere.command("setpriv");
        server.args(as_postgres).arg(programs.join("postgres")).arg("-D").arg(&data);
        server.args(["-h", &host, "-k", "", "-F"]).stderr(Stdio::null());
        let server = Self(server.spawn().context("cannot start postgres")?);
        wait::until("PostgreSQL to answer", || {
            let mut ready = site.deployment.elsewhere.command(programs.join("pg_isready"));
            ready.args(["-q", "-h", &host]).status().ok()?.success().then_some(())
        })?;
        Ok(Some(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
