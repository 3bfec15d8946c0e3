//! Everything at once for a while: several agents at a steady pace, holds that are approved, and at the end the question
//! whether anything failed, and whether memory and descriptors of the daemon's roles stayed what they were.
//!
//! Usage: shield-soak [MINUTES]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use shield_tests::deployment::{Deployment, Role, Settings, output, tool};
use shield_tests::origin::SINK_PATH;

const MINUTES: u64 = 10;
/// How often is looked.
const LOOK: Duration = Duration::from_secs(10);
/// What a role may hold more at the end than at its beginning: a tenth, and this for what comes and goes, KiB.
const SLACK: u64 = 8 << 10;
/// Descriptors that come and go with connections.
const FEW: u64 = 32;

const API: &str = "api.acme.internal";

/// An agent: path, connections, requests a second, and further words for `shield-load`.
struct Load {
    agent: &'static str,
    path: &'static str,
    connections: u64,
    rate: u64,
    words: &'static [&'static str],
}

const LOADS: [Load; 5] = [
    Load { agent: "keeps", path: "/bytes/1024", connections: 8, rate: 200, words: &[] },
    Load { agent: "streams", path: "/bytes/1024", connections: 2, rate: 200, words: &["h2=10"] },
    Load { agent: "fresh", path: "/bytes/1024", connections: 4, rate: 20, words: &["fresh"] },
    Load { agent: "downloads", path: "/bytes/1048576", connections: 2, rate: 10, words: &[] },
    Load { agent: "uploads", path: SINK_PATH, connections: 2, rate: 5, words: &["send=1048576"] },
];

/// Memory and descriptors of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    kib: u64,
    descriptors: u64,
}

fn main() -> Result<()> {
    let minutes = std::env::args().nth(1).map_or(Ok(MINUTES), |minutes| minutes.parse());
    let time = Duration::from_secs(60 * minutes.context("MINUTES is a number")?);
    let deployment = Deployment::start(Settings::default())?;
    let load = deployment.dir().join("shield-load");
    fs::copy(tool("shield-load"), &load).context("cannot copy the load client")?;
    let (say, ended) = mpsc::channel();
    for it in &LOADS {
        let (say, child) = (say.clone(), it.start(&deployment, time)?);
        // Nobody listens any more when another one failed.
        thread::spawn(move || say.send(it.ended(child)).unwrap_or_default());
    }
    println!("{:>6}  {}", "s", Role::ALL.map(|role| format!("{:>22}", format!("{role:?}"))).join(""));
    let (began, mut running, mut approved) = (Instant::now(), LOADS.len(), 0);
    let mut looks: BTreeMap<String, Vec<Look>> = BTreeMap::new();
    while running > 0 {
        match ended.recv_timeout(LOOK) {
            Ok(outcome) => {
                println!("{}", outcome?);
                running -= 1;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("a load was lost"),
        }
        approve_one(&deployment, approved)?;
        approved += 1;
        let now = look(&deployment)?;
        let spelled: String = now.iter().map(|(_, it)| it.spelled()).collect();
        println!("{:>6}  {spelled}", began.elapsed().as_secs());
        for (role, it) in now {
            looks.entry(role).or_default().push(it);
        }
    }
    println!("{approved} holds were approved, and each arrived once");
    let arrived = deployment.origin.ledger.all().iter().filter(|it| it.method == "DELETE").count();
    ensure!(arrived == approved, "{arrived} deletes arrived");
    looks.iter().try_for_each(|(role, looks)| stayed(role, looks))?;
    output(&mut deployment.shield(&["journal", "verify"])).map(drop)
}

impl Load {
    fn start(&self, deployment: &Deployment, time: Duration) -> Result<Child> {
        let load = deployment.dir().join("shield-load").display().to_string();
        let requests = (self.rate * time.as_secs()).to_string();
        let (address, connections) = (deployment.address(443), self.connections.to_string());
        let rate = format!("rate={}", self.rate);
        let mut words = vec![&*load, API, &address, self.path, &connections, &requests, &rate];
        words.extend(self.words);
        let mut agent: Command = deployment.agent(self.agent, &words);
        let mut child = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.as_mut().context("standard input is piped")?.write_all(b"\n")?;
        Ok(child)
    }

    /// Waits for its end, which is a failure when one of its requests was; what it measured.
    fn ended(&self, child: Child) -> Result<String> {
        let told = child.wait_with_output()?;
        ensure!(told.status.success(), "{} failed: {}", self.agent, String::from_utf8_lossy(&told.stderr));
        let told = String::from_utf8(told.stdout)?;
        Ok(format!("{:<10} {}", self.agent, told.lines().last().unwrap_or_default()))
    }
}

/// A delete waits for a person, who approves.
fn approve_one(deployment: &Deployment, number: usize) -> Result<()> {
    let agent = format!("deletes-{number}");
    let url = format!("https://{API}/v1/customers/{number}");
    let mut curl = deployment.agent(&agent, &["curl", "-sS", "--fail", "-X", "DELETE", &url]);
    let asking = curl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    deployment.decide("approve", &deployment.pending(&agent)?, "they asked for it")?;
    let told = asking.wait_with_output()?;
    ensure!(told.status.success(), "an approved delete failed: {}", String::from_utf8_lossy(&told.stderr));
    Ok(())
}

fn look(deployment: &Deployment) -> Result<Vec<(String, Look)>> {
    let of = |role: Role| Ok((format!("{role:?}"), Look::at(deployment, role)?));
    Role::ALL.into_iter().map(of).collect()
}

impl Look {
    fn at(deployment: &Deployment, role: Role) -> Result<Self> {
        let pid = deployment.daemon.pid(role).with_context(|| format!("{role:?} does not run"))?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self { kib: deployment.daemon.resident(role)?, descriptors })
    }

    fn spelled(self) -> String {
        format!("{:>12} KiB {:>3} fd", self.kib, self.descriptors)
    }
}

/// Compares the last fifth with the second: the first is for warming up.
fn stayed(role: &str, looks: &[Look]) -> Result<()> {
    let fifth = looks.len() / 5;
    ensure!(fifth > 0, "too short a time to say anything");
    let most = |looks: &[Look]| {
        let of = |which: fn(&Look) -> u64| looks.iter().map(which).max().unwrap_or_default();
        Look { kib: of(|it| it.kib), descriptors: of(|it| it.descriptors) }
    };
    let (before, after) = (most(&looks[fifth..2 * fifth]), most(&looks[looks.len() - fifth..]));
    ensure!(after.kib <= before.kib + before.kib / 10 + SLACK, "{role} grew from {before:?} to {after:?}");
    ensure!(after.descriptors <= before.descriptors + FEW, "{role} keeps descriptors: {before:?}, {after:?}");
    println!(
        "{role:<11} {:>7} -> {:>7} KiB, {:>3} -> {:>3} descriptors",
        before.kib, after.kib, before.descriptors, after.descriptors
    );
    Ok(())
}
