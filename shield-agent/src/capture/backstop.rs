//! The second backstop: a rule of the packet filter that drops whatever an agent's sockets send to the outside.
//!
//! It knows nothing of our programs, so it holds when they are gone: pins removed by hand, a bpffs unmounted. One table an
//! agent in each network namespace it is served in. A layer more, not a condition: where `nft` is missing or refuses, the
//! hooks hold alone, and that is said.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use super::cgroup::cgroup2_mount;
use super::sys;
use crate::names::AgentName;
use crate::networks::{Network, Networks};

/// Where distributions have it. The daemon's search path is not asked.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// Where the packet filter's tool looks for cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Why the layer is not there.
#[derive(Debug, thiserror::Error)]
pub enum BackstopError {
    /// No program to set rules with.
    #[error("there is no nft program: install nftables")]
    NoProgram,
    /// The cgroup has no name the tool understands.
    #[error("nft cannot name the cgroup {0}: mount cgroup2 at or below {CGROUPS}")]
    Unnameable(String),
    /// The network namespace could not be entered or the program not started.
    #[error("nft could not be run: see that the daemon may enter network namespaces")]
    Run(#[source] io::Error),
    /// The rule was not taken.
    #[error("nft refused ({0}): load the kernel modules nf_tables and nft_socket")]
    Refused(String),
}

/// Drops what `agent`'s sockets send to the outside of the network namespace `socket` lives in, but to networks that are
/// reached without the gate. Replaces the rule that is there.
pub fn raise(
    socket: BorrowedFd<'_>,
    instance: &str,
    agent: &AgentName,
    cgroup: &Path,
    networks: &Networks,
) -> Result<(), BackstopError> {
    let table = table(instance, agent);
    let rules = format!("{}{}", removed(&table), added(&table, cgroup, networks)?);
    let netns = sys::netns_of(socket).map_err(BackstopError::Run)?;
    run(&rules, Some(netns.as_fd()), &[])
}

/// Removes an agent's rule from the network namespace `socket` lives in. One that is not there is removed.
pub fn lower(socket: BorrowedFd<'_>, instance: &str, agent: &AgentName) -> Result<(), BackstopError> {
    let netns = sys::netns_of(socket).map_err(BackstopError::Run)?;
    run(&removed(&table(instance, agent)), Some(netns.as_fd()), &[])
}

/// Removes an agent's rule from our own network namespace.
pub fn lower_here(instance: &str, agent: &AgentName) -> Result<(), BackstopError> {
    run(&removed(&table(instance, agent)), None, &[])
}

/// Whether rules like ours would be taken here; sets none.
pub fn check() -> Result<(), BackstopError> {
    let mount = cgroup2_mount().map_err(|error| BackstopError::Unnameable(error.to_string()))?;
    run(&added("agent-shield/check", &mount, &Networks::default())?, None, &["--check"])
}

/// Names of instances and agents are made of what names of tables may have.
fn table(instance: &str, agent: &AgentName) -> String {
    format!("agent-shield/{instance}/{agent}")
}

/// Only a table that is there can be removed.
fn removed(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn added(table: &str, cgroup: &Path, networks: &Networks) -> Result<String, BackstopError> {
    let unnameable = || BackstopError::Unnameable(cgroup.display().to_string());
    let mount = cgroup2_mount().map_err(|_| unnameable())?;
    // Levels count from the root of the hierarchy, names from where the tool looks, which on hybrid hosts is above it.
    let level = cgroup.strip_prefix(&mount).map_err(|_| unnameable())?.components().count().max(1);
    let name = cgroup.strip_prefix(CGROUPS).ok().and_then(Path::to_str).ok_or_else(unnameable)?;
    if name.contains(['"', '\n']) {
        return Err(unnameable());
    }
    let mut rules = format!(
        "add table inet {table}\n\
         add chain inet {table} output {{ type filter hook output priority 0; policy accept; }}\n"
    );
    let about = format!("add rule inet {table} output oif != lo socket cgroupv2 level {level} \"{name}/.\"");
    // Only where a network is direct can a denied one lie inside it.
    let denied = networks.deny.iter().filter(|_| !networks.direct.is_empty());
    let denied = denied.map(|network| (network, "drop"));
    for (network, verdict) in denied.chain(networks.direct.iter().map(|network| (network, "accept"))) {
        rules += &format!("{about} {} {verdict}\n", to(network));
    }
    Ok(rules + &about + " counter drop\n")
}

/// What the filter calls packets to a network.
fn to(network: &Network) -> String {
    let (address, length, port) = network.parts();
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    // TCP alone is reached without the gate; the last rule drops the rest.
    let port = port.map_or_else(|| "meta l4proto tcp".to_owned(), |port| format!("tcp dport {port}"));
    format!("{family} daddr {address}/{length} {port}")
}

/// Has `nft` do all of it or nothing.
fn run(rules: &str, netns: Option<BorrowedFd<'_>>, arguments: &[&str]) -> Result<(), BackstopError> {
    let program =
        PROGRAMS.iter().find(|program| Path::new(program).exists()).ok_or(BackstopError::NoProgram)?;
    let mut command = Command::new(program);
    command.args(arguments).args(["-f", "-"]).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(netns) = netns {
        let netns = netns.try_clone_to_owned().map(File::from).map_err(BackstopError::Run)?;
        sys::start_in_netns(&mut command, netns);
    }
    let mut child = command.spawn().map_err(BackstopError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended without reading says why on its standard error.
        let _ = stdin.write_all(rules.as_bytes());
    }
    let output = child.wait_with_output().map_err(BackstopError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().next().unwrap_or("without a word");
    Err(BackstopError::Refused(line.trim_start_matches("/dev/stdin:").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_the_cgroup_as_the_tool_finds_it_and_its_level_as_the_kernel_counts() {
        let mount = cgroup2_mount().unwrap();
        let below = mount.strip_prefix(CGROUPS).unwrap().join("agent-shield/default/agents/bot/.");
        let rule = added("t", &mount.join("agent-shield/default/agents/bot"), &Networks::default()).unwrap();
        assert!(rule.contains(&format!("level 4 \"{}\"", below.display())), "{rule}");
    }

    #[test]
    fn direct_networks_are_let_out_and_denied_ones_inside_them_are_not() {
        let list = |text: &str| vec![Network::parse(text).unwrap()];
        let networks = Networks { deny: list("10.1.0.0/16:443"), direct: list("2001:db8::/32") };
        let rules = added("t", &cgroup2_mount().unwrap().join("a"), &networks).unwrap();
        let last: Vec<&str> = rules.lines().skip(2).map(|line| line.split_once("/.\" ").unwrap().1).collect();
        let deny = "ip daddr 10.1.0.0/16 tcp dport 443 drop";
        assert_eq!(last, [deny, "ip6 daddr 2001:db8::/32 meta l4proto tcp accept", "counter drop"]);
    }

    #[test]
    fn a_cgroup_whose_name_would_end_the_rule_is_refused() {
        let evil = cgroup2_mount().unwrap().join("a\" accept\n");
        assert!(matches!(added("t", &evil, &Networks::default()), Err(BackstopError::Unnameable(_))));
        assert!(matches!(
            added("t", Path::new("/elsewhere/a"), &Networks::default()),
            Err(BackstopError::Unnameable(_))
        ));
    }
}
