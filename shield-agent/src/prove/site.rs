//! One throwaway world: a wire with a sniffer at its end, cgroups, perhaps a gate with a stand-in behind it, strangers,
//! a neighbour, and an actor who tries to get out. Nothing of it is in the host's network.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use shield_common::event::Reason;

use super::actor;
use super::deputies::Deputies;
use super::facts::{Ask, Facts, Outcome, SECRET, Say};
use super::identity::{Identity, Mode};
use super::judge::Observation;
use super::neighbour::Next;
use super::netns::Netns;
use super::path::{self, Aid};
use super::player::Actor;
use super::probes::{hook, tcp};
use super::sniffer::Sniffer;
use super::standin::{Daemon, Worker};
use super::wire::{self, NEAR_V4};
use crate::capture::{AgentCgroups, CaptureError, Cgroups, Gate, listeners};
use crate::daemon::netns::isolated;
use crate::names::AgentName;
use crate::role::RoleKind;

/// How long the stand-in may take to accept what the kernel has handed it.
const ARRIVAL: Duration = Duration::from_millis(300);
/// How long a caller from the far end waits: the wire is microseconds long.
const CALL: Duration = Duration::from_millis(150);

/// What a world is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Names the cgroups and pins of the whole proof.
    pub(super) instance: String,
    /// How the actor is held; `None` is without a gate.
    pub(super) mode: Option<Mode>,
    /// Who it is.
    pub(super) identity: Identity,
    /// A directory for this proof in `/tmp`.
    pub(super) tmp: PathBuf,
    /// A directory for this proof in `/run`.
    pub(super) run: PathBuf,
    /// Hooks left out, to see the proof fail.
    pub(super) omitted: Vec<String>,
}

impl Plan {
    fn name(&self) -> String {
        format!("{}-{}", self.mode.map_or("free", Mode::name), self.identity.name())
    }
}

/// A running world.
pub(super) struct Site {
    plan: Plan,
    sniffer: Sniffer,
    cgroups: AgentCgroups,
    gate: Option<(Gate, Worker)>,
    // Acts until it is dropped.
    _deputies: Deputies,
    neighbour: Next,
    actor: Actor,
    facts: Facts,
    attempts: u32,
    /// The agent's network namespace.
    home: Netns,
    far: Netns,
}

/// Why a world did not come to be, or stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum SiteError {
    /// The actor cannot be who it should: nothing of this world can be tried.
    #[error("{0}")]
    Unable(String),
    /// The kernel half.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Site {
    /// Makes everything and waits until the actor is who it should be.
    pub(super) fn open(plan: Plan) -> Result<Self, SiteError> {
        let name = plan.name();
        let (near, far) = wire::lay()?;
        let sniffer = Sniffer::start(&near, &far)?;
        let agent: AgentName = name.parse().map_err(io::Error::other)?;
        let of_instance = Cgroups::find(&plan.instance)?;
        let cgroups = of_instance.create(&agent)?;
        let outside = of_instance.instance().join("outside").join(&name);
        fs::create_dir_all(&outside)?;
        let scratch = plan.tmp.join(&name);
        fs::create_dir(&scratch)?;
        let home = match plan.mode {
            Some(Mode::Strict) => Netns::of(isolated()?),
            _ => Netns::of(near.as_fd().try_clone_to_owned()?),
        };
        home.let_everybody_ping()?;
        let gate = plan.mode.map(|_| raise(&plan, &agent, &cgroups, &home)).transpose()?;
        let deputies = Deputies::start(&near, &name, &plan.run, &scratch, sniffer.relay()?)?;
        let neighbour = Next::start(&near, &outside, plan.identity)?;
        let actor = act(&plan, &near, &cgroups, &scratch, &home)?;
        deputies.name_later()?;
        let facts = Facts {
            outside,
            elsewhere: format!("/proc/{}/fd/{}", std::process::id(), far.as_fd().as_raw_fd()).into(),
            prover: std::process::id(),
            foreign_port: deputies.foreign_port,
            gate_port: deputies.gate_port,
            deputies: deputies.places.clone(),
            neighbour: neighbour.facts.clone(),
            ..Facts::default()
        };
        let attempts = 0;
        Ok(Self {
            plan,
            sniffer,
            cgroups,
            gate,
            _deputies: deputies,
            neighbour,
            actor,
            facts,
            attempts,
            home,
            far,
        })
    }

    /// How calls that cannot succeed are answered to the actor.
    pub(super) fn hollow(&self) -> &BTreeMap<String, i32> {
        &self.actor.hollow
    }

    /// Tries one way out and says what was seen.
    pub(super) fn attempt(&mut self, path: &path::Path) -> Result<Observation, SiteError> {
        self.attempts += 1;
        let facts = self.facts_now()?;
        let before = self.counters()?;
        let secret = facts.secret.clone();
        let outcome = self.act(path, facts)?;
        if path.aid == Aid::Prompt {
            self.neighbour.prompt()?;
        }
        let counters = self.counted_since(&before)?;
        let arrivals = self.arrivals(&counters);
        let packets = self.sniffer.left(&secret)?;
        if path.spoils {
            self.renew_gate()?;
        }
        Ok(Observation { outcome, counters, arrivals, packets })
    }

    fn facts_now(&self) -> Result<Facts, SiteError> {
        let mut facts = self.facts.clone();
        facts.secret = format!("proof {:>width$}", self.attempts, width = SECRET - 6);
        if let Some((gate, worker)) = &self.gate {
            facts.pins = gate.links_dir();
            facts.links = hook::link_ids(&facts.pins)?;
            facts.gate_port = worker.port;
        }
        Ok(facts)
    }

    fn act(&mut self, path: &path::Path, facts: Facts) -> Result<Outcome, SiteError> {
        self.actor.ask(&Ask { path: path.id.to_owned(), facts })?;
        loop {
            match self.actor.hear()? {
                Say::Over(outcome) => return Ok(outcome),
                Say::Ready => {
                    self.call();
                    self.actor.nudge()?;
                }
                Say::Hello { .. } | Say::Unable(_) => {
                    return Err(io::Error::other("the actor is confused").into());
                }
            }
        }
    }

    /// Calls the agent from the far end, and listens to what it says.
    fn call(&self) {
        let at = SocketAddr::from((NEAR_V4, tcp::CALLED));
        // What the caller gets does not matter: the wire says what was said.
        let _ = self.far.enter(move || {
            let mut stream = TcpStream::connect_timeout(&at, CALL)?;
            stream.set_read_timeout(Some(CALL))?;
            stream.read(&mut [0; SECRET])
        });
    }

    fn counters(&self) -> Result<Vec<(Reason, u64)>, SiteError> {
        Ok(self.gate.as_ref().map(|(gate, _)| gate.counters()).transpose()?.unwrap_or_default())
    }

    fn counted_since(&self, before: &[(Reason, u64)]) -> Result<BTreeMap<&'static str, u64>, SiteError> {
        let after = self.counters()?;
        let counted = before.iter().zip(after).map(|((reason, was), (_, is))| (reason.name(), is - was));
        Ok(counted.filter(|(_, count)| *count > 0).collect())
    }

    /// What the stand-in got, waiting for it when the hooks say that something is on its way.
    fn arrivals(&self, counters: &BTreeMap<&'static str, u64>) -> Vec<String> {
        let Some((_, worker)) = &self.gate else { return Vec::new() };
        let sent =
            [Reason::Taken, Reason::NameAsked].iter().any(|reason| counters.contains_key(reason.name()));
        let deadline = Instant::now() + ARRIVAL;
        loop {
            let arrived = worker.arrived();
            if !arrived.is_empty() || !sent || Instant::now() > deadline {
                return arrived;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Puts a fresh gate in place of one that may have been damaged.
    fn renew_gate(&mut self) -> Result<(), SiteError> {
        let Some((gate, worker)) = self.gate.take() else { return Ok(()) };
        drop(worker);
        let agent = gate.agent().clone();
        gate.detach()?;
        self.gate = Some(raise(&self.plan, &agent, &self.cgroups, &self.home)?);
        Ok(())
    }
}

/// Starts the actor as its mode does.
fn act(
    plan: &Plan,
    near: &Netns,
    cgroups: &AgentCgroups,
    scratch: &Path,
    home: &Netns,
) -> Result<Actor, SiteError> {
    let strict = plan.mode == Some(Mode::Strict);
    if !strict && plan.mode != Some(Mode::Run) {
        return Actor::start(near, |command| actor::entering(command, &cgroups.agent, plan.identity));
    }
    let whom = (strict, plan.identity.uid());
    Daemon::start(scratch, &cgroups.agent, home.as_fd().try_clone_to_owned()?, whom)?;
    let run_dir = scratch.join("run");
    let started = Actor::start(near, |command| actor::launched(command, &run_dir, plan.identity, strict));
    match started {
        // It holds no root, and says so.
        Err(SiteError::Io(error)) if strict && plan.identity == Identity::Root => {
            let said = error.to_string();
            Err(SiteError::Unable(said.rsplit("shield: ").next().unwrap_or(&said).to_owned()))
        }
        started => started,
    }
}

/// Attaches a gate and serves the agent's namespace through it.
fn raise(
    plan: &Plan,
    agent: &AgentName,
    cgroups: &AgentCgroups,
    home: &Netns,
) -> Result<(Gate, Worker), SiteError> {
    let omitted: Vec<&str> = plan.omitted.iter().map(String::as_str).collect();
    let mut gate = Gate::attach_without(&plan.instance, agent, cgroups, &omitted)?;
    let mut helper = Command::new(actor::OURSELVES);
    helper.args(["role", RoleKind::Listeners.name()]).env_clear().current_dir("/");
    let opened = listeners::open(helper, &cgroups.proxy, home.as_fd())?;
    gate.serve_netns(opened.netns_cookie, opened.served)?;
    let originals = gate.originals_fd().try_clone_to_owned()?;
    Ok((gate, Worker::start(opened, originals)?))
}
