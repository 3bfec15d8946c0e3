//! What the hooks tell, on its way to the approver: read from each gate's ring as it comes, a bounded number at a time.
//!
//! Reading is never needed for a verdict: when nobody reads, the hooks go on refusing and count what they could not tell.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use shield_common::event::{Reason, Sort};
use shield_common::limits::PROBE_ADDRESS;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Supervisor;
use super::crew::Crew;
use super::roles::RoleError;
use crate::capture::events::KernelEvent;
use crate::capture::{CaptureError, Events, Gate};
use crate::flow::http::canonical::lossy;
use crate::ipc::attempt::Attempt;
use crate::ipc::gate::AgentKind;
use crate::ipc::supervisor::ToApproverRole;
use crate::launch::probe;
use crate::names::AgentName;

/// Events of one gate that are read at a time.
const BATCH: usize = 256;

/// How long a gate is left alone after a reading: a flood costs us this share of a processor and no more.
const PAUSE: Duration = Duration::from_millis(50);

/// Readings that may wait for the supervisor.
const QUEUE: usize = 64;

/// What a gate told.
#[derive(Debug)]
pub(super) struct Told {
    agent: AgentName,
    events: Vec<KernelEvent>,
    /// A last reading of its counters, when it is about to be removed.
    counts: Option<Vec<u64>>,
}

/// The supervisor's end: what was told, and what the approver knows of the counters.
#[derive(Debug)]
pub(super) struct KernelEvents {
    told: mpsc::Receiver<Told>,
    known: BTreeMap<AgentName, Vec<u64>>,
}

/// Listens to gates.
#[derive(Clone, Debug)]
pub struct Listening {
    say: mpsc::Sender<Told>,
}

/// One gate being listened to, until this is dropped.
#[derive(Debug)]
pub(super) struct Ears(JoinSet<()>);

/// Nothing to listen to yet.
pub(super) fn channel() -> (Listening, KernelEvents) {
    let (say, told) = mpsc::channel(QUEUE);
    (Listening { say }, KernelEvents { told, known: BTreeMap::new() })
}

impl Listening {
    /// Reads what a gate tells from now on, and what nobody has read of before.
    pub(super) fn to(&self, gate: &Gate, kind: AgentKind) -> Result<Ears, CaptureError> {
        let events = gate.events()?;
        // SAFETY: `Events` owns its descriptor, gives no other out, and closes it when it is dropped.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
        let events = events.map_err(|error| CaptureError::Map {
            act: "listen to",
            map: "EVENTS",
            source: aya::maps::MapError::IoError(io::Error::other(error)),
        })?;
        let proof = Proof::of(kind);
        let mut ears = JoinSet::new();
        ears.spawn(listen(gate.agent().clone(), events, proof, self.say.clone()));
        #[cfg(feature = "ebpf-log")]
        match gate.kernel_log(super::kernel_log::AsTracing) {
            Ok(log) => _ = ears.spawn(super::kernel_log::pass_on(log)),
            Err(error) => tracing::warn!(agent = %gate.agent(), "the hooks' log cannot be read: {error}"),
        }
        Ok(Ears(ears))
    }

    /// Reads what is left before a gate is removed, in place of who listened before.
    pub(super) fn last_words(&self, gate: &Gate, kind: AgentKind, Ears(before): Ears) {
        drop(before);
        let (mut events, mut proof) = (Vec::new(), Proof::of(kind));
        if let Ok(ring) = gate.events() {
            events.extend(ring.filter(|event| !proof.is_part(event)));
        }
        let told = Told { agent: gate.agent().clone(), events, counts: counts(gate, kind) };
        if self.say.try_send(told).is_err() {
            tracing::debug!(agent = %gate.agent(), "the last words of a gate are lost in a flood");
        }
    }
}

impl KernelEvents {
    /// The next thing that was told; never the end, while there is a [`Listening`].
    pub(super) async fn next(&mut self) -> Option<Told> {
        self.told.recv().await
    }

    /// A new approver knows nothing.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

impl Supervisor {
    /// Passes on what a gate told.
    pub(super) async fn hear_kernel(&mut self, crew: &mut Crew, told: Told) -> Result<(), RoleError> {
        let Told { agent, events, counts } = told;
        for event in events.iter().filter(|event| event.reason == Reason::UnservedNetns) {
            let pid = event.process.as_ref().map(|process| process.pid);
            tracing::info!(%agent, pid, netns = event.netns_cookie, "refused: nothing serves this network namespace");
            // The program that was refused tries again: by then it is served.
            let change = pid.and_then(|pid| self.gates.discover(&agent, pid, Some(event.netns_cookie)));
            if let Some(change) = change {
                self.apply(crew, &agent, &change).await?;
            }
        }
        if !events.is_empty() {
            let attempts = attempts(&events);
            crew.tell_approver(ToApproverRole::Attempts { agent: agent.clone(), attempts }).await?;
        }
        match counts {
            Some(counts) => {
                self.kernel.known.remove(&agent);
                crew.tell_approver(ToApproverRole::Counters { agent, counts }).await
            }
            None => Ok(()),
        }
    }

    /// Tells the approver of counters that changed.
    pub(super) async fn tell_counters(&mut self, crew: &mut Crew) -> Result<(), RoleError> {
        for (gate, kind) in self.gates.all() {
            let Some(counts) = counts(gate, kind) else { continue };
            let agent = gate.agent().clone();
            if self.kernel.known.get(&agent) != Some(&counts) {
                self.kernel.known.insert(agent.clone(), counts.clone());
                crew.tell_approver(ToApproverRole::Counters { agent, counts }).await?;
            }
        }
        Ok(())
    }
}

/// How often what was refused, by the names of the reasons; without those that never happened.
pub(super) fn refusals(gate: &Gate, kind: AgentKind) -> BTreeMap<String, u64> {
    let counts = counts(gate, kind).unwrap_or_default();
    let happened = |(reason, count): &(&Reason, u64)| reason.sort() == Sort::Refused && *count > 0;
    let refused = Reason::ALL.iter().zip(counts).filter(happened);
    refused.map(|(reason, count)| (reason.name().to_owned(), count)).collect()
}

/// Every counter of a gate, in their order, without what the launcher did to prove it; `None` when the gate is gone.
fn counts(gate: &Gate, kind: AgentKind) -> Option<Vec<u64>> {
    let mut counts: Vec<u64> = gate.counters().ok()?.into_iter().map(|(_, count)| count).collect();
    if kind == AgentKind::Run {
        for (reason, times) in probe::COUNTED {
            counts[reason as usize] = counts[reason as usize].saturating_sub(times);
        }
    }
    Some(counts)
}

/// The launcher's proof, which is no attempt of the agent's: it speaks to an address of its own, and opens a socket of
/// another kind in between.
#[derive(Debug)]
struct Proof {
    expected: bool,
    by: Option<u32>,
}

impl Proof {
    fn of(kind: AgentKind) -> Self {
        Self { expected: kind == AgentKind::Run, by: None }
    }

    fn is_part(&mut self, event: &KernelEvent) -> bool {
        let pid = event.process.as_ref().map(|process| process.pid);
        if self.expected && event.address == Some(PROBE_ADDRESS.into()) {
            // The connection comes last: then its process becomes the agent.
            self.by = pid.filter(|_| event.reason == Reason::Datagram);
            return true;
        }
        let other_kind = event.reason == Reason::SocketKind && pid.is_some() && pid == self.by;
        if other_kind {
            self.by = None;
        }
        other_kind
    }
}

async fn listen(agent: AgentName, mut ring: AsyncFd<Events>, mut proof: Proof, say: mpsc::Sender<Told>) {
    loop {
        let Ok(mut ready) = ring.readable_mut().await else { return };
        let mut events: Vec<_> = ready.get_inner_mut().by_ref().take(BATCH).collect();
        if events.len() < BATCH {
            ready.clear_ready();
        }
        events.retain(|event| !proof.is_part(event));
        let told = Told { agent: agent.clone(), events, counts: None };
        if say.send(told).await.is_err() {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// As the approver hears it: with the time of day.
fn attempts(events: &[KernelEvent]) -> Vec<Attempt> {
    let (now, since_boot) = (Timestamp::now(), monotonic());
    let attempt = |event: &KernelEvent| Attempt {
        at: now.checked_sub(since_boot.saturating_sub(event.at)).unwrap_or(now),
        reason: event.reason,
        address: event.address,
        port: event.port,
        protocol: event.protocol,
        what: event.what,
        pid: event.process.as_ref().map(|process| process.pid),
        uid: event.uid,
        comm: event.process.as_ref().map(|process| lossy(&process.comm)).unwrap_or_default(),
        times: event.suppressed.saturating_add(1),
    };
    events.iter().map(attempt).collect()
}

/// The clock of the hooks.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::events::Process;

    fn event(reason: Reason, address: Option<[u8; 4]>, pid: u32) -> KernelEvent {
        KernelEvent {
            reason,
            at: monotonic(),
            suppressed: 4,
            address: address.map(Into::into),
            port: 9,
            protocol: 17,
            what: 0,
            process: Some(Process { pid, comm: b"agent".to_vec() }),
            uid: Some(1001),
            netns_cookie: 1,
        }
    }

    #[test]
    fn the_launchers_proof_is_no_attempt_of_the_agents() {
        let proof = [
            event(Reason::Datagram, Some(PROBE_ADDRESS.octets()), 7),
            event(Reason::SocketKind, None, 7),
            event(Reason::Taken, Some(PROBE_ADDRESS.octets()), 7),
        ];
        let mut run = Proof::of(AgentKind::Run);
        assert!(proof.iter().all(|event| run.is_part(event)));
        assert!(!run.is_part(&event(Reason::SocketKind, None, 7)), "the same process is the agent now");
        let mut attached = Proof::of(AgentKind::Attached);
        assert!(
            proof.iter().all(|event| !attached.is_part(event)),
            "nobody proves the gate of what was there before"
        );
    }

    #[test]
    fn a_proof_hides_nothing_else() {
        let mut run = Proof::of(AgentKind::Run);
        assert!(!run.is_part(&event(Reason::SocketKind, None, 7)));
        assert!(run.is_part(&event(Reason::Datagram, Some(PROBE_ADDRESS.octets()), 7)));
        assert!(!run.is_part(&event(Reason::SocketKind, None, 8)), "another process");
        assert!(run.is_part(&event(Reason::SocketKind, None, 7)));
        assert!(!run.is_part(&event(Reason::SocketKind, None, 7)), "once");
        assert!(!run.is_part(&event(Reason::Datagram, Some([203, 0, 113, 7]), 7)));
    }

    #[test]
    fn an_attempt_has_the_time_of_day_and_counts_itself() {
        let told = attempts(&[event(Reason::Datagram, Some([203, 0, 113, 7]), 7)]);
        assert_eq!((told[0].times, told[0].pid, told[0].comm.as_str()), (5, Some(7), "agent"));
        assert!(Timestamp::now().duration_since(told[0].at).as_secs() < 60);
    }
}
