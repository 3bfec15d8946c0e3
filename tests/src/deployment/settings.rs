//! How a deployment is set up: its instance, addresses, configuration and policy.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use shield_agent::capture::Cgroups;

use crate::origin::Origin;

/// What a test may choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon's instance, unique on this host.
    pub instance: String,
    /// `hold.wait`.
    pub hold_wait: String,
    /// Further keys of `upstream`, each followed by a comma.
    pub upstream: String,
    /// The policy file's text.
    pub policy: String,
    /// Room for everything the daemon stores, as `mount` takes it; without limit when absent.
    pub state_size: Option<&'static str>,
    /// Whether a service manager starts the daemon, and keeps what it asks it to keep.
    pub managed: bool,
    /// PEM of further authorities the daemon takes an upstream's certificate from.
    pub authorities: String,
    /// What `limits` says.
    pub limits: String,
    /// Whether agents are guarded, from the cgroup above all of the instance's.
    pub guarded: bool,
    /// Tells the deployments of one process apart: addresses and ports come from it.
    pub number: u32,
}

/// The pair of interfaces a deployment's daemon reaches its origin through.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) ours: String,
    pub(super) our_address: String,
    pub(super) origin: Ipv4Addr,
    pub(super) origin_address: String,
}

/// Holds deletes, and pushes to the repository `project`. What lies under `/hurried/`, and pushes to the repository
/// `hurried`, wait for one second only.
const POLICY: &str = include_str!("policy.yaml");

static DEPLOYMENTS: AtomicU32 = AtomicU32::new(0);

impl Default for Settings {
    fn default() -> Self {
        let number = DEPLOYMENTS.fetch_add(1, Ordering::Relaxed);
        Self {
            instance: format!("test-{}-{number}", std::process::id()),
            hold_wait: "30s".into(),
            upstream: String::new(),
            policy: POLICY.into(),
            state_size: None,
            managed: false,
            authorities: String::new(),
            limits: String::new(),
            guarded: false,
            number,
        }
    }
}

impl Settings {
    /// Addresses from a range set aside for examples (RFC 5737), so that no real host is ever meant.
    pub(super) fn network(&self) -> Network {
        let unique = std::process::id().wrapping_mul(8).wrapping_add(self.number) % 63;
        let base = 4 * u8::try_from(unique).expect("below 63");
        let address = |host: u8| Ipv4Addr::new(198, 51, 100, base + host);
        Network {
            ours: format!("sht{}-{}", std::process::id() % 100_000, self.number % 1000),
            our_address: format!("{}/30", address(1)),
            origin: address(2),
            origin_address: format!("{}/30", address(2)),
        }
    }

    /// Writes configuration and policy; gives the configuration's path.
    pub(super) fn write(&self, dir: &Path, origin: &Origin) -> Result<PathBuf> {
        let place = |name: &str| dir.join(name);
        let guard = match self.guarded {
            true => format!("gate: {{ guard: \"{}\" }}", Cgroups::find(&self.instance)?.instance().display()),
            false => String::new(),
        };
        let text = format!(
            r#"instance: {instance}
state_dir: {state}
run_dir: {run}
group: "{group}"
policies: ["{policy}"]
store: {{ url: "sqlite://{state}/shield.db" }}
console: {{ listen: "127.0.0.1:{console}", public_url: "http://localhost:{console}" }}
upstream: {{ {upstream} extra_roots: ["{roots}"], connect_timeout: 5s }}
hold: {{ wait: {wait}, expires: 10m }}
limits: {{ {limits} }}
dns: {{ upstream: ["{resolver}:53"] }}
{guard}
"#,
            instance = self.instance,
            limits = self.limits,
            upstream = self.upstream,
            state = place("state").display(),
            run = place("run").display(),
            group = super::GROUP,
            policy = place("policy.yaml").display(),
            console = self.console_port(),
            roots = place("origin-ca.pem").display(),
            wait = self.hold_wait,
            resolver = self.network().origin,
        );
        let write = |name: &str, text: &str| {
            std::fs::write(place(name), text)
                .with_context(|| format!("cannot write {name} of the deployment"))
        };
        write("policy.yaml", &self.policy)?;
        write("origin-ca.pem", &[&*origin.ca_pem, &self.authorities].concat())?;
        write("shield.yaml", &text)?;
        Ok(place("shield.yaml"))
    }

    /// Port the console listens on; the deployment's own, so that a deployment can live beside an installed daemon.
    pub fn console_port(&self) -> u32 {
        7500 + (std::process::id().wrapping_mul(8).wrapping_add(self.number)) % 2000
    }
}
