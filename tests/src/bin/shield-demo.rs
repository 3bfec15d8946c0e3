//! The demonstration: unmodified clients behind the gate, a harmless request that passes, a delete that waits for a
//! person, and what the service at the other end really received. Leaves nothing behind, also when interrupted.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use shield_agent::approval::view::{HoldState, HoldView};
use shield_tests::client::{Client, Clients, Errand, Running};
use shield_tests::deployment::{Deployment, Settings, output, remove_empty_parents};
use shield_tests::netns::Netns;
use shield_tests::wait;

/// How long the clients wait for the person: below the shortest patience of the three.
const DECISION_TIME: Duration = Duration::from_mins(4);
/// How long the browser may take.
const BROWSER_TIME: Duration = Duration::from_mins(2);
const BODY: &str = r#"{"cascade":true,"reason":"account closed"}"#;

struct Agent {
    name: &'static str,
    client: Client,
    shown: &'static str,
    customer: u32,
}

const AGENTS: [Agent; 3] = [
    Agent { name: "shell", client: Client::CurlH2, shown: "curl", customer: 8821 },
    Agent { name: "cleanup-bot", client: Client::Requests, shown: "Python requests", customer: 8822 },
    Agent { name: "deploy-bot", client: Client::Node, shown: "Node fetch", customer: 8823 },
];

fn main() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> Result<()> {
    let auto = match &std::env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => false,
        [flag] if flag == "--auto" => true,
        _ => bail!("usage: shield-demo [--auto]"),
    };
    ensure!(
        nix::unistd::Uid::effective().is_root(),
        "the demonstration attaches programs to the kernel: run it as root"
    );
    let interrupts = Interrupts::catch()?;
    println!("Starting a daemon in a temporary directory, and an HTTPS service in a network namespace");
    let settings = Settings { hold_wait: format!("{}s", DECISION_TIME.as_secs()), ..Settings::default() };
    let deployment = Deployment::start_in(Netns::current()?, settings)?;
    let outcome = show(&deployment, auto, &interrupts);
    if outcome.is_err() && !interrupts.seen() {
        eprintln!("The daemon said:\n{}", deployment.daemon.log());
    }
    println!("\nCleaning up: daemon, hooks, cgroups, namespaces and files");
    drop(deployment);
    remove_empty_parents();
    outcome
}

fn show(deployment: &Deployment, auto: bool, interrupts: &Interrupts) -> Result<()> {
    let clients = Clients::install(deployment)?;
    harmless(deployment, &clients)?;
    let waiting = destructive(deployment, &clients, interrupts)?;
    let link = login(deployment)?;
    let mut browser = None;
    if auto {
        println!("\nApproving in Chromium, at 360×740, through the page a person would use");
        browser = Some(Browser::start(&link)?);
    } else {
        println!(
            "\nOpen this link within {} minutes, look at the requests, approve or deny:",
            DECISION_TIME.as_secs() / 60
        );
        println!("\n    {link}\n");
    }
    let time = if auto { BROWSER_TIME } else { DECISION_TIME };
    decided(deployment, time, interrupts, browser.as_mut())?;
    browser.map_or(Ok(()), Browser::finish)?;
    println!("\nWhat the agents were told:");
    let mut told = Vec::new();
    for (agent, running) in waiting {
        let answer = running.told()?;
        println!("  {:<16} got {} {}", agent.shown, answer.status, in_short(&answer.body));
        told.push((agent, answer.status));
    }
    receipts(deployment, &told)?;
    journal(deployment)
}

/// Reads, which pass at once.
fn harmless(deployment: &Deployment, clients: &Clients) -> Result<()> {
    println!("\nThree agents read customers' records. Nothing about the programs was changed:");
    for agent in &AGENTS {
        let errand = errand(agent, "GET", "");
        let started = Instant::now();
        let told = clients.start(deployment, agent.name, agent.client, &errand)?.told()?;
        let took = started.elapsed().as_millis();
        println!("  {:<16} GET {}  →  {} (with its start {took} ms)", agent.shown, errand.url, told.status);
        ensure!(told.status == 200, "{} was told {told:?}", agent.shown);
    }
    Ok(())
}

/// Deletes, which are held; the clients keep waiting.
fn destructive<'a>(
    deployment: &Deployment,
    clients: &Clients,
    interrupts: &Interrupts,
) -> Result<Vec<(&'a Agent, Running)>> {
    println!("\nThe same agents delete them:");
    let mut waiting = Vec::new();
    for agent in &AGENTS {
        let errand = errand(agent, "DELETE", BODY);
        waiting.push((agent, clients.start(deployment, agent.name, agent.client, &errand)?));
        let hold = wait::until("the delete to be held", || {
            interrupts.seen().then_some(None).or_else(|| pending(deployment, agent.name).map(Some))
        })?;
        let hold = hold.context("interrupted")?;
        println!("  {:<16} DELETE {}  →  held: {} ({})", agent.shown, errand.url, hold.id, hold.why);
    }
    let arrived = deployment.origin.ledger.all().iter().filter(|receipt| receipt.method == "DELETE").count();
    ensure!(arrived == 0, "{arrived} deletes reached the service unapproved");
    println!("The service has received no delete.");
    Ok(waiting)
}

/// Waits until every hold is decided and sent, or the time is over.
fn decided(
    deployment: &Deployment,
    time: Duration,
    interrupts: &Interrupts,
    mut browser: Option<&mut Browser>,
) -> Result<()> {
    let unfinished =
        |hold: &HoldView| matches!(hold.state, HoldState::Pending | HoldState::Approved | HoldState::Sending);
    let outcome = wait::within(time, || {
        if interrupts.seen() {
            return Some(Err(anyhow::anyhow!("interrupted")));
        }
        if let Some(failure) = browser.as_mut().and_then(|browser| browser.failure()) {
            return Some(Err(failure));
        }
        let holds = deployment.holds().ok()?;
        (!holds.iter().any(unfinished)).then_some(Ok(()))
    });
    outcome.context("nobody decided in time; the requests were never sent")?
}

fn receipts(deployment: &Deployment, told: &[(&Agent, u16)]) -> Result<()> {
    println!("\nWhat the service at the other end wrote down:");
    for (agent, status) in told {
        let path = path(agent);
        let received = deployment.origin.ledger.of("DELETE", &path);
        let equal = received.iter().all(|receipt| receipt.body.as_deref() == Some(BODY.as_bytes()));
        let bytes = match (received.len(), equal) {
            (0, _) => "",
            (_, true) => ", byte for byte as shown",
            (_, false) => ", WITH OTHER BYTES",
        };
        println!("  DELETE {path}: {} × received{bytes}", received.len());
        let expected = usize::from(*status == 200);
        ensure!(received.len() == expected && equal, "{} was told {status}", agent.shown);
    }
    Ok(())
}

fn journal(deployment: &Deployment) -> Result<()> {
    let verified = output(&mut deployment.shield(&["journal", "verify"]))?;
    println!(
        "\nThe journal: {}",
        String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).trim()
    );
    Ok(())
}

fn login(deployment: &Deployment) -> Result<String> {
    let mut login = deployment.shield(&["login"]);
    if std::io::stdout().is_terminal() {
        login.arg("--qr");
    }
    let told = output(&mut login)?;
    let text = String::from_utf8(told.stdout)?;
    eprint!("{}", String::from_utf8_lossy(&told.stderr));
    text.split_whitespace()
        .find(|word| word.starts_with("http"))
        .map(str::to_owned)
        .context("shield login gave no link")
}

/// A problem's own sentence, or the last line of any other answer.
fn in_short(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.or_else(|| body.lines().last()).unwrap_or_default().to_owned()
}

fn pending(deployment: &Deployment, agent: &str) -> Option<HoldView> {
    let holds = deployment.holds().ok()?;
    holds.into_iter().find(|hold| hold.agent.as_str() == agent && hold.state == HoldState::Pending)
}

fn errand(agent: &Agent, method: &'static str, body: &str) -> Errand {
    Errand { method, url: format!("https://crm.acme.internal{}", path(agent)), body: body.into() }
}

fn path(agent: &Agent) -> String {
    format!("/v1/customers/{}", agent.customer)
}

/// A browser of our own that logs in with the link and approves what it sees.
struct Browser(Child);

impl Browser {
    fn start(link: &str) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/approve.mjs");
        let artefacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../artefacts");
        let mut node = Command::new("node");
        node.arg(script).args([link, &AGENTS.len().to_string()]).arg(artefacts).stdin(Stdio::null());
        Ok(Self(node.spawn().context("cannot start node")?))
    }

    /// Why the browser ended without having approved everything, if it did.
    fn failure(&mut self) -> Option<anyhow::Error> {
        let status = self.0.try_wait().ok().flatten()?;
        (!status.success()).then(|| anyhow::anyhow!("the browser failed: {status}"))
    }

    fn finish(mut self) -> Result<()> {
        let status = self.0.wait().context("cannot wait for the browser")?;
        ensure!(status.success(), "the browser failed: {status}");
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Gone already, when all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ctrl-C and friends, noticed instead of obeyed at once: there is something to clean up.
///
/// Handled and not blocked: what we start would inherit the block, and a daemon that cannot be told to stop.
struct Interrupts;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

impl Interrupts {
    fn catch() -> Result<Self> {
        extern "C" fn notice(_: libc::c_int) {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
        let action = SigAction::new(SigHandler::Handler(notice), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler only stores into an atomic, which is async-signal-safe.
            unsafe { sigaction(signal, &action) }.with_context(|| format!("cannot handle {signal}"))?;
        }
        Ok(Self)
    }

    fn seen(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}
