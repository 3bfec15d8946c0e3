//! Real resolvers through the gate: a name policy knows is found, any other is not and never leaves the host, and what can
//! be carried below an open domain is bounded. The origin's own DNS counts what it is asked.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::client::{Clients, python};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;

/// Knows `acme.internal` only.
const POLICY: &str = r#"
version: 1
defaults: { unmatched: allow, unknown_host: deny }
hosts: { known: ["*.acme.internal"] }
rules:
  # What the starter policy is made of does not make strange hosts known.
  - { id: deletes, verdict: hold, why: deletes cannot be undone, match: { method: [DELETE] } }
"#;

/// Found, found by an alias, and none: what every resolver is asked.
const NAMES: [&str; 3] = ["crm.acme.internal", "alias.acme.internal", "secret-data.evil.example"];

#[test]
fn the_c_library() -> Result<()> {
    check(|site| Ok(Some(site.script("resolve.py", &python(), "libc"))))
}

#[test]
fn pythons_asyncio() -> Result<()> {
    check(|site| Ok(Some(site.script("resolve.py", &python(), "asyncio"))))
}

#[test]
fn c_ares_in_python() -> Result<()> {
    check(|site| Ok(Some(site.script("resolve.py", &python(), "c-ares"))))
}

#[test]
fn c_ares_in_node() -> Result<()> {
    check(|site| Ok(Some(site.script("resolve.mjs", "node", "c-ares"))))
}

#[test]
fn nodes_lookup() -> Result<()> {
    check(|site| Ok(Some(site.script("resolve.mjs", "node", "lookup"))))
}

#[test]
fn musl_in_a_static_program() -> Result<()> {
    check(|site| {
        let (source, program) = (site.place("resolve.c"), site.place("resolve"));
        let mut compile = Command::new("musl-gcc");
        if compile.args(["-static", "-Wall", "-o", &program, &source]).status().is_err() {
            eprintln!("skipped: this host has no musl-gcc");
            return Ok(None);
        }
        Ok(Some(vec![program]))
    })
}

#[test]
fn dig_over_udp() -> Result<()> {
    check(|_| Ok(Some(dig("+notcp", &["192.0.2.53"]))))
}

#[test]
fn dig_over_tcp() -> Result<()> {
    check(|_| Ok(Some(dig("+tcp", &["192.0.2.53"]))))
}

#[test]
fn dig_of_systemds_stub_and_of_a_server_with_ipv6() -> Result<()> {
    check(|_| Ok(Some(dig("+notcp", &["127.0.0.53"]))))?;
    check(|_| Ok(Some(dig("+notcp", &["2001:db8::53"]))))
}

// D1.
#[test]
fn ten_thousand_names_outside_policy_are_ten_thousand_answers_and_no_question() -> Result<()> {
    let site = Site::new()?;
    let told = site.flood("{label}.evil.example", 10_000)?;
    ensure!(told == "{3: 10000}", "not all do not exist: {told}");
    ensure!(site.asked().is_empty(), "left the host: {:?}", site.asked());

    let records = wait::until("a record of the refusals", || {
        let records = site.journal("names.refused").ok()?;
        (!records.is_empty()).then_some(records)
    })?;
    // One for the first second and one for the next minute, at most.
    ensure!(records.len() <= 2, "{} records for one reason", records.len());
    let body = &records[0]["body"];
    ensure!(body["parent"] == "evil.example", "{body}");
    ensure!(body["why"].as_str().is_some_and(|why| why.ends_with("defaults.unknown_host")), "{body}");
    Ok(())
}

#[test]
fn what_random_names_below_an_open_domain_carry_is_bounded() -> Result<()> {
    let site = Site::new()?;
    let told = site.flood("{label}.acme.internal", 3_000)?;
    let left = site.asked().len();
    // Sixty letters of five bits; two kibibytes a minute, and this takes less than another.
    let carried = left * 60 * 5 / 8;
    ensure!((1500..=4096).contains(&carried), "{carried} bytes in {left} names left the host: {told}");
    ensure!(told.contains("5: "), "none was refused: {told}");
    Ok(())
}

#[test]
fn what_is_sent_to_port_53_and_is_no_question_goes_nowhere() -> Result<()> {
    let site = Site::new()?;
    site.python(
        r#"
import os, socket
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for payload in [b"GET / HTTP/1.1\r\n\r\n", b"\xc3" + os.urandom(1199), os.urandom(512), b"x", b"\0" * 12,
                b"\0\1\x84\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1", b"\0\1\x28\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"]:
    for server in ["192.0.2.53", "127.0.0.53", "198.51.100.1"]:
        asker.sendto(payload, (server, 53))
        with socket.create_connection((server, 53)) as connection:
            connection.sendall(len(payload).to_bytes(2, "big") + payload)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096): pass
"#,
    )?;
    ensure!(site.asked().is_empty(), "left the host: {:?}", site.asked());
    Ok(())
}

// D3.
#[test]
fn dns_over_tls_and_https_fall_under_policy_like_any_connection() -> Result<()> {
    let site = Site::new()?;
    let server = site.deployment.origin.address.to_string();
    let at = format!("@{server}");
    let dig =
        |how: &str| site.run(&["dig", how, "+time=10", "+tries=1", "+retry=0", &at, "crm.acme.internal"]);
    for how in ["+tls", "+https", "+https-get"] {
        // Whether it ends with an error depends on how far it got.
        let told = dig(how).unwrap_or_default();
        ensure!(!told.contains("ANSWER"), "{how} was answered: {told}");
    }
    let url = format!("https://{server}/dns-query?dns=AAABAAABAAAAAAAAAWEAAAEAAQ");
    let told = site.run(&["curl", "--silent", "--insecure", "--write-out", " %{http_code}", &url])?;
    ensure!(told.ends_with(" 403") && told.contains("unknown_host"), "told {told}");
    let origin = &site.deployment.origin;
    ensure!(origin.connections() == 0 && site.asked().is_empty(), "something arrived: {:?}", site.asked());
    let judged = site.journal("exchange.judged")?;
    let denied = judged.iter().filter(|record| record["verdict"] == "deny");
    ensure!(denied.count() == 3, "recorded: {judged:?}");
    // Its own protocol was refused in the handshake already; without one it is opaque (flow/tests/naming.rs).
    ensure!(site.deployment.daemon.log().contains("peer doesn't support any known protocol"), "no handshake");
    Ok(())
}

#[test]
fn records_of_services_come_without_hidden_names_and_http_3() -> Result<()> {
    let site = Site::new()?;
    let told = site.run(&["dig", "+short", "@192.0.2.53", "crm.acme.internal", "HTTPS"])?;
    let address = site.deployment.origin.address;
    ensure!(told.trim() == format!("1 . alpn=\"h2\" ipv4hint={address}"), "told {told}");
    Ok(())
}

// Behind the gate a connection there would succeed, and nobody would try the other address.
#[test]
fn an_address_the_host_has_no_way_to_is_not_told() -> Result<()> {
    let site = Site::new()?;
    let told = site.run(&["dig", "@192.0.2.53", "crm.acme.internal", "AAAA"])?;
    ensure!(told.contains("NOERROR") && told.contains("ANSWER: 0"), "told {told}");
    ensure!(site.deployment.origin.asked.about("crm.acme.internal") == 1, "asked {:?}", site.asked());
    Ok(())
}

fn dig(transport: &str, servers: &[&str]) -> Vec<String> {
    let script = r#"
transport=$1 server=$2; shift 2
for name in "$@"; do dig +short +time=5 +tries=1 "$transport" "@$server" "$name" A | tail -n 1 | grep . || echo none; done
"#;
    let words = ["sh", "-c", script, "dig", transport];
    words.iter().chain(servers).map(ToString::to_string).collect()
}

/// Runs a resolver on [`NAMES`].
fn check(resolver: impl FnOnce(&Site) -> Result<Option<Vec<String>>>) -> Result<()> {
    let site = Site::new()?;
    let Some(mut command) = resolver(&site)? else { return Ok(()) };
    command.extend(NAMES.map(str::to_owned));
    let told = site.run(&command)?;
    let address = site.deployment.origin.address;
    ensure!(told.trim() == format!("{address}\n{address}\nnone"), "told {told}");
    let origin = &site.deployment.origin;
    ensure!(origin.asked.about("crm.acme.internal") > 0, "nobody asked for a name that is known");
    ensure!(origin.asked.about("evil") == 0, "left the host: {:?}", site.asked());
    Ok(())
}

/// A deployment with resolvers in it.
struct Site {
    deployment: Deployment,
    clients: Clients,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings { policy: POLICY.into(), ..Settings::default() })?;
        let clients = Clients::install(&deployment)?;
        for (name, text) in [
            ("resolve.py", include_str!("resolve.py")),
            ("resolve.mjs", include_str!("resolve.mjs")),
            ("resolve.c", include_str!("resolve.c")),
        ] {
            fs::write(clients.place(name), text)?;
        }
        Ok(Self { deployment, clients })
    }

    fn place(&self, name: &str) -> String {
        self.clients.place(name).display().to_string()
    }

    fn script(&self, script: &str, program: &str, resolver: &str) -> Vec<String> {
        vec![program.into(), self.place(script), resolver.into()]
    }

    /// Runs a command as an agent, and gives what it said.
    fn run(&self, command: &[impl AsRef<std::ffi::OsStr>]) -> Result<String> {
        let mut agent = self.clients.agent(&self.deployment, "resolver", command);
        let outcome = output(agent.stdin(Stdio::null()));
        let told = outcome.with_context(|| format!("the daemon said:\n{}", self.deployment.daemon.log()))?;
        Ok(String::from_utf8(told.stdout)?)
    }

    fn python(&self, script: &str) -> Result<String> {
        self.run(&[&python(), "-c", script])
    }

    /// Asks for names with a random label of sixty letters, one after the other; says how many answers had which code.
    fn flood(&self, name: &str, questions: u32) -> Result<String> {
        let told = self.python(&format!(
            r#"
import collections, random, socket
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(20)
asker.connect(("192.0.2.53", 53))
codes = collections.Counter()
for number in range({questions}):
    label = "".join(random.choices("abcdefghijklmnopqrstuvwxyz234567", k=60))
    name = "{name}".replace("{{label}}", label)
    labels = b"".join(bytes([len(word)]) + word.encode() for word in name.split("."))
    asker.send(number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
    codes[asker.recv(4096)[3] & 15] += 1
print(dict(codes))
"#
        ))?;
        Ok(told.trim().to_owned())
    }

    /// What the origin's DNS was asked.
    fn asked(&self) -> Vec<String> {
        self.deployment.origin.asked.all()
    }

    /// Records of a kind.
    fn journal(&self, kind: &str) -> Result<Vec<Value>> {
        let told = output(&mut self.deployment.shield(&["journal", "tail", "-n", "1000", "-o", "json"]))?;
        let records: Vec<Value> = serde_json::from_slice(&told.stdout)?;
        Ok(records.into_iter().filter(|record| record["kind"] == kind).collect())
    }
}
