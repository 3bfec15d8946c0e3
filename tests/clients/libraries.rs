//! The gate's certificates before every library that checks them: for names, for names that are not ASCII, for addresses.
//!
//! Each library trusts the gate in the way the documentation of `shield run` says, and checks as its programs do.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::{Client, Clients};
use shield_tests::deployment::{Deployment, Settings, output, tool};

/// `bücher` as it is asked for.
const NOT_ASCII: &str = "xn--bcher-kva.acme.internal";

#[test]
fn openssl_accepts_our_chain() -> Result<()> {
    // A name is sent along and checked, an address only checked.
    accepts(
        r#"case $1 in *[a-z]*) check="-verify_hostname $1 -servername $1" ;; *) check="-verify_ip $1" ;; esac
        exec openssl s_client -quiet -ign_eof -verify_return_error $check -connect "$1:443""#,
    )
}

#[test]
fn gnutls_accepts_our_chain() -> Result<()> {
    accepts(r#"exec gnutls-cli --x509cafile="$SSL_CERT_FILE" "$1""#)
}

#[test]
fn nss_accepts_our_chain() -> Result<()> {
    // Its programs have a database of their own, here one for each host.
    accepts(
        r#"db="sql:$(mktemp -d)"
        certutil -N --empty-password -d "$db" && certutil -A -n gate -t C,, -i "$NODE_EXTRA_CA_CERTS" -d "$db"
        request=$(mktemp); sed '/^\r$/q' > "$request"
        exec tstclnt -d "$db" -h "$1" -p 443 -A "$request""#,
    )
}

#[test]
fn boringssl_in_a_browser_accepts_our_chain() -> Result<()> {
    accepts(
        r#"export HOME=$(mktemp -d); db=$HOME/.pki/nssdb; mkdir -p "$db"
        certutil -N --empty-password -d "sql:$db" && certutil -A -n gate -t C,, -i "$NODE_EXTRA_CA_CERTS" -d "sql:$db"
        exec chromium --headless --no-sandbox --disable-gpu --user-data-dir="$HOME/profile" --dump-dom "https://$1/page""#,
    )
}

#[test]
fn boringssl_in_bun_accepts_our_chain() -> Result<()> {
    let bun = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/node_modules/bun/bin/bun.exe");
    ensure!(bun.exists(), "no Bun in {}: cargo xtask installs it", bun.display());
    let site = Site::new()?;
    fs::copy(bun, site.clients.place("bun"))?;
    site.accepts(r#"exec ./clients/bun clients/client.mjs GET "https://$1/page" """#)
}

#[test]
fn go_accepts_our_chain() -> Result<()> {
    let site = Site::new()?;
    let source = site.clients.place("client.go");
    fs::write(&source, include_str!("client.go"))?;
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(site.clients.place("client-go")).arg(&source);
    output(build.env("GOCACHE", site.deployment.dir().join("go")))?;
    site.accepts(r#"exec ./clients/client-go "https://$1/page""#)
}

#[test]
fn java_accepts_our_chain() -> Result<()> {
    if !Client::Java.present() {
        eprintln!("skipped: this host has no Java");
        return Ok(());
    }
    accepts(r#"exec java clients/Client.java GET "https://$1/page" """#)
}

#[test]
fn rustls_accepts_our_chain() -> Result<()> {
    let site = Site::new()?;
    fs::copy(tool("shield-load"), site.clients.place("shield-load"))?;
    site.accepts(r#"exec ./clients/shield-load "$1" "$2:443" /page 1 1"#)
}

fn accepts(script: &str) -> Result<()> {
    Site::new()?.accepts(script)
}

/// Trust in the origin's own authority alone, wherever the library looks for it.
const DISTRUST: &str = r#"
export SSL_CERT_FILE="$PWD/origin-ca.pem" NODE_EXTRA_CA_CERTS="$PWD/origin-ca.pem" SSL_CERT_DIR=/nonexistent
export JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=NONE
"#;

struct Site {
    deployment: Deployment,
    clients: Clients,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings::default())?;
        let clients = Clients::install(&deployment)?;
        Ok(Self { deployment, clients })
    }

    /// Runs `script`, whose arguments are a host and its address, as gated agents.
    fn accepts(&self, script: &str) -> Result<()> {
        let address = self.deployment.origin.address.to_string();
        for (number, host) in ["crm.acme.internal", NOT_ASCII, &address].into_iter().enumerate() {
            let told = self.ask(&format!("bot-{number}"), script, host)?;
            let arrived = self.deployment.origin.ledger.of("GET", "/page");
            let log = || self.deployment.daemon.log();
            ensure!(
                arrived.len() == number + 1,
                "{host}: {} arrived; told {told:?}\n{}",
                arrived.len(),
                log()
            );
            ensure!(arrived[number].host == host, "{host}: arrived {:?}", arrived[number]);
        }
        let before = self.deployment.origin.ledger.all().len();
        let told = self.ask("distrusting", &format!("{DISTRUST}\n{script}"), "crm.acme.internal")?;
        let after = self.deployment.origin.ledger.all().len();
        ensure!(after == before, "without trust in the gate the request arrived; told {told:?}");
        Ok(())
    }

    /// What the agent said. Its input, a request, stays open until it ends: some programs leave when it ends.
    fn ask(&self, agent: &str, script: &str, host: &str) -> Result<Output> {
        let address = self.deployment.origin.address.to_string();
        let mut agent =
            self.deployment.agent(agent, &["timeout", "60", "sh", "-c", script, "sh", host, &address]);
        agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut agent = agent.spawn().context("cannot start an agent")?;
        let mut input = agent.stdin.take().context("its input is a pipe")?;
        write!(input, "GET /page HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let said = agent.wait_with_output()?;
        drop(input);
        Ok(said)
    }
}
