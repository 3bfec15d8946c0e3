//! What the kernel refuses a real program, as root reads it at a terminal and a reviewer on a page.

use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::deployment::output;
use shield_tests::wait;
use shield_tests::world::python;

use crate::browser::PHONE;
use crate::reviewer::{Scene, play};

/// Tries ways out that ordinary programs try and ways they do not, then lives until it is let go.
pub(crate) const PROBE: &str = r#"
import socket, ssl, sys
def outcome(act):
    try: act()
    except OSError as error: return error.strerror
outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(("127.0.0.1", 5432)))
outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))
for attempt in range(3):
    said = outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.9", 443)))
    assert said == "Connection refused", said
trusting_nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
try: trusting_nobody.wrap_socket(socket.create_connection((sys.argv[1], 443)), server_hostname="crm.acme.internal")
except ssl.SSLCertVerificationError: pass
sys.stdin.read()
"#;

/// A gated program that tries, and is there until this is dropped.
pub(crate) struct Probe {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Probe {
    pub(crate) fn start(scene: &Scene, agent: &str) -> Result<Self> {
        let origin = scene.deployment.origin.address.to_string();
        let mut command = scene.deployment.agent(agent, &[python(), "-c", PROBE, &origin]);
        let mut child = command.stdin(Stdio::piped()).spawn().context("cannot start shield")?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// What `shield agents -o json` says of an agent's refusals, once there are as many datagrams.
fn refusals(scene: &Scene, agent: &str) -> Result<Value> {
    wait::until(&format!("the refusals of {agent}"), || {
        let told = output(&mut scene.deployment.shield(&["agents", "-o", "json"])).ok()?;
        let agents: Value = serde_json::from_slice(&told.stdout).ok()?;
        let found = agents.as_array()?.iter().find(|entry| entry["agent"] == agent)?;
        (found["refusals"]["datagram"] == 3).then(|| found["refusals"].clone())
    })
}

#[test]
fn a_refused_attempt_of_a_real_program_is_listed_and_on_its_agents_page() -> Result<()> {
    play(|scene| {
        let tab = scene.logged_in(PHONE)?;
        let probe = Probe::start(scene, "prober")?;
        let listed = refusals(scene, "prober")?;
        ensure!(listed["no_listener"] == 1 && listed["socket_kind"] == 1, "{listed}");
        let table = String::from_utf8(output(&mut scene.deployment.shield(&["agents"]))?.stdout)?;
        ensure!(table.contains("REFUSED"), "{table}");

        tab.open(&format!("{}/agents", scene.console()?))?;
        tab.click("role=link[name='prober']")?;
        tab.see("#agent h1", "prober")?;
        tab.see("#agent .reasons", "UDP other than names")?;
        tab.see("#agent .note", "does not trust the gate's certificates")?;
        tab.see(".tries li:has-text('203.0.113.9:443')", "python3")?;
        tab.see(".tries li:has-text('stream socket, MPTCP')", "neither TCP nor UDP")?;
        tab.expect_no_complaint()?;

        drop(probe);
        tab.see("#agent", "not running")?;
        let journal = output(&mut scene.deployment.shield(&["journal", "tail", "-n", "50", "-o", "json"]))?;
        let records: Vec<Value> = serde_json::from_slice(&journal.stdout)?;
        let refused = |record: &&Value| record["kind"] == "agent.refused" && record["agent"] == "prober";
        let told = records.iter().filter(refused).map(|record| record["body"]["reason"].clone());
        let mut told: Vec<Value> = told.collect();
        told.dedup();
        ensure!(told == ["no_listener", "socket_kind", "datagram"], "{told:?}");
        Ok(())
    })
}
