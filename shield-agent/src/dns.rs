//! The agents' resolver: a small forwarder behind every question an agent sends to port 53.
//!
//! A question leaves only when policy lets some request to its host pass, and within limits; then only the question itself,
//! written anew, and only what answers it comes back. `shield.internal` is answered here. It never caches.

pub mod answer;
mod asker;
pub mod limits;
mod meter;
pub mod question;
mod refusals;
mod remembered;
mod route;
mod service;
mod upstream;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::answer::Answer;
pub use self::asker::Asker;
use self::limits::Limits;
use self::question::Question;
use self::upstream::Transport;
use crate::flow::judge::Judge;
use crate::ipc::approver::NamesRefused;
use crate::names::AgentName;

/// The reserved name under which the worker answers agents about their own holds.
pub const INTERNAL_NAME: &str = "shield.internal.";

/// Questions that may be under way at once, over all agents of a worker.
const MAX_UNDER_WAY: usize = 512;
/// Longest question read, in bytes: one name and an EDNS record fit many times over.
const MAX_QUESTION: usize = 4096;
/// How often a question is put, to the resolvers in turn.
const TRIES: usize = 2;
/// How long each try may take: both end before the five seconds most clients wait.
const TRY_TIMEOUT: Duration = Duration::from_millis(2400);
/// How long a TCP client may be silent between questions.
const IDLE: Duration = Duration::from_secs(10);

/// The running policy; `None` while there is none.
pub type Policy = Arc<ArcSwapOption<Box<dyn Judge>>>;

/// The resolver of all agents of a worker.
pub struct Resolver {
    forwarder: Arc<Forwarder>,
    askers: Mutex<HashMap<AgentName, Arc<Asker>>>,
}

/// Where questions go, and which.
struct Forwarder {
    resolvers: Vec<SocketAddr>,
    limits: Limits,
    policy: Policy,
    try_timeout: Duration,
    /// Whether this host has a way to an address; answers leave out others.
    has_route: fn(Ipv6Addr) -> bool,
    slots: Semaphore,
}

impl Resolver {
    /// Forwards to `resolvers` in turn. With none, every name but ours fails to resolve.
    pub fn new(resolvers: Vec<SocketAddr>, limits: Limits, policy: Policy) -> Self {
        let slots = Semaphore::new(MAX_UNDER_WAY);
        let (try_timeout, has_route) = (TRY_TIMEOUT, route::leads_to);
        let forwarder = Forwarder { resolvers, limits, policy, try_timeout, has_route, slots };
        Self { forwarder: Arc::new(forwarder), askers: Mutex::default() }
    }

    /// What is known of an agent's questions, over all of its sockets.
    pub fn asker(&self, agent: &AgentName) -> Arc<Asker> {
        let new = || Arc::new(Asker::new(agent.clone(), Arc::clone(&self.forwarder)));
        Arc::clone(self.lock().entry(agent.clone()).or_insert_with(new))
    }

    /// Names an agent asked for that led to `address`, the latest first.
    pub fn names_of(&self, agent: &AgentName, address: IpAddr) -> Vec<Arc<str>> {
        self.asker(agent).names_of(address)
    }

    /// What is to be recorded by now of the questions that were refused.
    pub fn due(&self, now: Instant) -> Vec<NamesRefused> {
        let askers: Vec<_> = self.lock().values().cloned().collect();
        askers.iter().flat_map(|asker| asker.due(now)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentName, Arc<Asker>>> {
        // Nothing panics while holding the lock.
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers an agent's questions over UDP until the socket fails; stops when dropped.
pub async fn serve_udp(socket: UdpSocket, asker: Arc<Asker>) -> io::Error {
    let socket = Arc::new(socket);
    let mut under_way = JoinSet::new();
    let mut datagram = vec![0; MAX_QUESTION];
    loop {
        let (length, client) = tokio::select! {
            received = socket.recv_from(&mut datagram) => match received {
                Ok(received) => received,
                Err(error) => return error,
            },
            Some(_) = under_way.join_next() => continue,
        };
        let question = datagram[..length].to_vec();
        let (socket, asker) = (Arc::clone(&socket), Arc::clone(&asker));
        under_way.spawn(async move {
            if let Some(answer) = asker.answer(&question, Transport::Udp).await {
                // A client that no longer listens loses its answer, as on any network.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

/// Answers the questions of one TCP connection, one after the other, until the client leaves or falls silent.
///
/// # Errors
/// When the connection fails.
pub async fn serve_tcp(mut client: impl AsyncRead + AsyncWrite + Unpin, asker: &Asker) -> io::Result<()> {
    loop {
        let question = match timeout(IDLE, read_framed(&mut client)).await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_silent) => return Ok(()),
        };
        let Some(answer) = asker.answer(&question, Transport::Tcp).await else { return Ok(()) };
        write_framed(&mut client, &answer).await?;
    }
}

impl Forwarder {
    /// Puts the question to the resolvers in turn; `None` when none of them answered it.
    async fn ask(&self, question: &Question, transport: Transport) -> Option<Answer> {
        let _slot = self.slots.try_acquire().ok()?;
        for resolver in self.resolvers.iter().cycle().take(TRIES.max(self.resolvers.len())) {
            let asked =
                timeout(self.try_timeout, upstream::ask((*resolver, transport), question, self.has_route));
            match asked.await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "resolver did not answer"),
                Err(_elapsed) => tracing::debug!(%resolver, "resolver did not answer in time"),
            }
        }
        None
    }
}

/// Reads one message of DNS over TCP.
async fn read_framed(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; from.read_u16().await?.into()];
    from.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message of DNS over TCP.
async fn write_framed(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    to.write_all(&framed).await
}

#[cfg(test)]
mod tests;
