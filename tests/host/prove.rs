//! `shield doctor --prove` on the real kernel: it holds, it can fail, and it leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use shield_agent::capture::Cgroups;
use shield_tests::deployment::programs;
use shield_tests::wait;

/// Hooks to leave out; builds for tests know it.
const WITHOUT: &str = "SHIELD_PROVE_WITHOUT";

fn doctor(omitted: &str) -> Result<Command> {
    let mut command = Command::new(programs()?.join("shield"));
    command.args(["doctor", "--prove", "--json"]).env(WITHOUT, omitted).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Everything a proof makes has its process's number in its name.
fn remains(pid: u32) -> Result<Vec<PathBuf>> {
    let name = format!("prove-{pid}");
    let places = [
        Cgroups::find(&name)?.instance().to_owned(),
        format!("/tmp/shield-{name}").into(),
        format!("/run/shield-{name}").into(),
    ];
    let mut left: Vec<PathBuf> = places.into_iter().filter(|place| place.exists()).collect();
    left.extend(shield_agent::capture::Gate::pinned(&name)?.iter().map(|agent| agent.to_string().into()));
    Ok(left)
}

/// A finished proof, which left nothing behind.
fn proved(omitted: &str) -> Result<(Output, Value)> {
    let child = doctor(omitted)?.spawn().context("cannot start shield: build it")?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    assert_eq!(remains(pid)?, Vec::<PathBuf>::new());
    let proof = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output, proof))
}

fn cells(proof: &Value) -> Result<&Vec<Value>> {
    proof["cells"].as_array().context("a proof has cells")
}

/// Paths that got out, by mode.
fn leaks(proof: &Value) -> Result<BTreeMap<&str, BTreeSet<&str>>> {
    let mut leaks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for cell in cells(proof)?.iter().filter(|cell| cell["verdict"] == "leak") {
        let word = |name: &str| cell[name].as_str().context("a cell has names");
        leaks.entry(word("mode")?).or_default().insert(word("path")?);
    }
    Ok(leaks)
}

// E1 to E8, E10, E14 to E16, E18.
#[test]
fn on_this_kernel_nothing_gets_out_of_a_gate_in_any_mode() -> Result<()> {
    if crate::world()?.is_none() {
        return Ok(());
    }
    let (output, proof) = proved("")?;
    assert_eq!(leaks(&proof)?, BTreeMap::new());
    assert_eq!((output.status.code(), &proof["holds"]), (Some(0), &Value::Bool(true)));
    let mut tried: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for cell in cells(&proof)? {
        let (verdict, evidence) = (&cell["verdict"], &cell["evidence"]);
        ensure!(*verdict != "unexplained", "{cell}");
        if *verdict == "not-tried" {
            continue;
        }
        // Whatever counts was seen to get out where the gate does not stand.
        ensure!(!evidence["control"].is_null(), "{cell}");
        if *verdict == "redirected" {
            ensure!(evidence["arrivals"].as_array().is_some_and(|arrived| !arrived.is_empty()), "{cell}");
        }
        let word = |name: &str| cell[name].as_str().context("a cell has names");
        *tried.entry((word("mode")?, word("identity")?)).or_default() += 1;
    }
    // Strict mode does not start root of the host at all.
    for (mode, identities) in [("run", 3), ("strict", 2), ("attach", 3)] {
        let of_mode: Vec<usize> =
            tried.iter().filter(|((of, _), _)| *of == mode).map(|(_, count)| *count).collect();
        assert!(of_mode.len() == identities && of_mode.iter().all(|&count| count >= 40), "{mode}: {tried:?}");
    }
    Ok(())
}

// Every layer was left out once: a matrix that cannot fail proves nothing.
#[test]
fn a_hook_that_is_left_out_is_found_out() -> Result<()> {
    if crate::world()?.is_none() {
        return Ok(());
    }
    for (omitted, out, is_launched) in [
        ("gate_egress", &["pktinfo"][..], true),
        ("gate_setsockopt,gate_egress", &["srh", "bind-device"], true),
        ("gate_ingress,gate_egress", &["inbound"], true),
        // The launcher proves these by itself, and starts nothing.
        ("gate_connect4,gate_egress", &["tcp4", "udp4", "tfo-send", "uring-tcp"], false),
        ("gate_create,gate_egress", &["udplite"], false),
    ] {
        let (output, proof) = proved(omitted)?;
        assert_eq!((output.status.code(), &proof["holds"]), (Some(5), &Value::Bool(false)), "{omitted}");
        let refused = proof["broken"].as_array().is_some_and(|broken| !broken.is_empty());
        assert_eq!(refused, !is_launched, "{omitted}: {}", proof["broken"]);
        let leaks = leaks(&proof)?;
        for mode in if is_launched { &["run", "attach"][..] } else { &["attach"] } {
            let found = leaks.get(mode).cloned().unwrap_or_default();
            let missed: Vec<_> = out.iter().filter(|path| !found.contains(**path)).collect();
            assert!(missed.is_empty(), "without {omitted}, {mode}: {missed:?} not found out, but {found:?}");
        }
    }
    Ok(())
}

#[test]
fn a_proof_that_is_ended_early_leaves_nothing_behind() -> Result<()> {
    if crate::world()?.is_none() {
        return Ok(());
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut child = doctor("")?.spawn().context("cannot start shield: build it")?;
        let pid = child.id();
        wait::until("worlds to be made", || (remains(pid).ok()?.len() > 4).then_some(()))?;
        // Killed is the process that does it; its parent clears up.
        let whom = if signal == Signal::SIGKILL { worker(pid)? } else { pid };
        kill(Pid::from_raw(whom.cast_signed()), signal)?;
        let status = child.wait()?;
        assert!(!status.success(), "{signal}: {status}");
        assert_eq!(remains(pid)?, Vec::<PathBuf>::new(), "{signal}");
    }
    Ok(())
}

fn worker(pid: u32) -> Result<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(children.split_whitespace().next().context("it has no child")?.parse()?)
}
