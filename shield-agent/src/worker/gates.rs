//! The gates being served: accept loops and DNS sockets per agent, and everything still under way.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket as StdUdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lanes::{Lanes, Share};
use crate::dns;
use crate::flow::accept::{Gate, Originals};
use crate::flow::serve;
use crate::flow::services::Services;
use crate::names::AgentName;

/// How long accepting pauses when the process has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What came with `AddGate`, in its order.
pub(super) struct Descriptors {
    listeners: Vec<TcpListener>,
    dns: Vec<UdpSocket>,
    originals: OwnedFd,
}

impl Descriptors {
    /// Takes the descriptors apart; their number must be what was announced.
    pub(super) fn new(all: Vec<OwnedFd>, listeners: u8, dns: u8) -> io::Result<Self> {
        let (listeners, dns) = (usize::from(listeners), usize::from(dns));
        if all.len() != listeners + dns + 1 {
            let text = format!("{} descriptors came where {} were announced", all.len(), listeners + dns + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut all = all.into_iter();
        let listeners = all.by_ref().take(listeners).map(into_listener).collect::<io::Result<_>>()?;
        let dns = all.by_ref().take(dns).map(into_udp).collect::<io::Result<_>>()?;
        let originals = all.next().expect("counted above");
        Ok(Self { listeners, dns, originals })
    }
}

fn into_listener(fd: OwnedFd) -> io::Result<TcpListener> {
    let listener = StdListener::from(fd);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn into_udp(fd: OwnedFd) -> io::Result<UdpSocket> {
    let socket = StdUdpSocket::from(fd);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// See the module. Dropping it stops accepting.
pub(super) struct Gates {
    services: Arc<Services>,
    lanes: Arc<Lanes>,
    served: HashMap<AgentName, Agent>,
    under_way: TaskTracker,
}

/// One agent: its share of connections and requests, and where it is served.
struct Agent {
    slots: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    lanes: Arc<Share>,
    /// By the cookie of the network namespace.
    places: HashMap<u64, Served>,
}

struct Served {
    stop: CancellationToken,
    addresses: Vec<SocketAddr>,
}

impl Gates {
    /// No gates yet; their connections will be spread over `lanes`.
    pub(super) fn new(services: Arc<Services>, lanes: Arc<Lanes>) -> Self {
        Self { services, lanes, served: HashMap::new(), under_way: TaskTracker::new() }
    }

    /// Where tasks are counted that a drain waits for.
    pub(super) fn under_way(&self) -> &TaskTracker {
        &self.under_way
    }

    /// Serves an agent in a network namespace; sockets it had there before are closed.
    pub(super) fn add(
        &mut self,
        (agent, netns): (AgentName, u64),
        sockets: Descriptors,
        open: fn(OwnedFd) -> Arc<dyn Originals>,
    ) -> io::Result<()> {
        self.remove_namespace(&agent, netns);
        let addresses =
            sockets.listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        self.services.forbidden.add(&addresses);
        let stop = CancellationToken::new();
        let limits = self.services.limits;
        let served = self.served.entry(agent.clone()).or_insert_with(|| Agent {
            slots: Arc::new(Semaphore::new(limits.connections)),
            turns: Arc::new(Semaphore::new(limits.requests)),
            lanes: Arc::new(self.lanes.share()),
            places: HashMap::new(),
        });
        let turns = Arc::clone(&served.turns);
        let gate = Arc::new(Gate { agent: agent.clone(), originals: open(sockets.originals), turns });
        for listener in sockets.listeners {
            let accepting = Accepting {
                listener,
                gate: Arc::clone(&gate),
                slots: Arc::clone(&served.slots),
                services: Arc::clone(&self.services),
                lanes: Arc::clone(&served.lanes),
                under_way: self.under_way.clone(),
                stop: stop.clone(),
            };
            self.under_way.spawn(accepting.run());
        }
        for socket in sockets.dns {
            let answered = dns::serve_udp(socket, self.services.resolver.asker(&agent));
            self.under_way.spawn(until_stopped(stop.clone(), agent.clone(), answered));
        }
        served.places.insert(netns, Served { stop, addresses });
        Ok(())
    }

    /// Stops serving an agent; requests under way end by themselves.
    pub(super) fn remove(&mut self, agent: &AgentName) {
        for served in self.served.remove(agent).into_iter().flat_map(|agent| agent.places.into_values()) {
            self.end(&served);
        }
    }

    /// Stops serving an agent in one network namespace.
    pub(super) fn remove_namespace(&mut self, agent: &AgentName, netns: u64) {
        if let Some(served) = self.served.get_mut(agent).and_then(|agent| agent.places.remove(&netns)) {
            self.end(&served);
        }
    }

    fn end(&self, served: &Served) {
        served.stop.cancel();
        self.services.forbidden.remove(&served.addresses);
    }

    fn stop_all(&self) {
        self.served.values().flat_map(|agent| agent.places.values()).for_each(|served| served.stop.cancel());
    }

    /// Stops serving everybody and waits for what is under way, at most so long.
    pub(super) async fn drain(self, within: Duration) {
        self.stop_all();
        self.under_way.close();
        if timeout(within, self.under_way.wait()).await.is_err() {
            tracing::warn!(left = self.under_way.len(), "not everything under way ended in time");
        }
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.stop_all();
    }
}

async fn until_stopped(stop: CancellationToken, agent: AgentName, served: impl Future<Output = io::Error>) {
    if let Some(error) = stop.run_until_cancelled(served).await {
        tracing::error!(%agent, %error, "a DNS socket failed: names no longer resolve there");
    }
}

/// One accept loop.
struct Accepting {
    listener: TcpListener,
    gate: Arc<Gate>,
    slots: Arc<Semaphore>,
    services: Arc<Services>,
    lanes: Arc<Share>,
    under_way: TaskTracker,
    stop: CancellationToken,
}

impl Accepting {
    async fn run(self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.accept_all()).await;
    }

    async fn accept_all(self) {
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
            let socket = match self.listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::error!(agent = %self.gate.agent, %error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connections = self.services.limits.connections - self.slots.available_permits();
            // Answers are small and awaited; a failure costs time, not correctness.
            let _ = socket.set_nodelay(true);
            let (services, gate) = (Arc::clone(&self.services), Arc::clone(&self.gate));
            let stop = self.stop.clone();
            let served = |socket| async move {
                serve(services, gate, socket, stop).await;
                drop(slot);
            };
            if let Err(error) = self.lanes.serve(&self.under_way, (socket, connections), served) {
                tracing::error!(agent = %self.gate.agent, %error, "a connection could not be given to a lane");
            }
        }
    }
}
