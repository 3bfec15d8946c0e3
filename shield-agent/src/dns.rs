//! The agents' resolver: a small forwarder behind every question an agent sends to port 53.
//!
//! Only the question itself leaves the host, written anew: nothing an agent adds to it does. `shield.internal` is
//! answered here. It never caches, and does not judge names.

mod question;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::question::{Question, Refusal};
use self::upstream::Transport;

/// The reserved name under which the worker answers agents about their own holds.
pub const INTERNAL_NAME: &str = "shield.internal.";

/// Questions that may be under way at once, over all agents of a worker.
const MAX_UNDER_WAY: usize = 256;
/// Longest question read, in bytes: one name and an EDNS record fit many times over.
const MAX_QUESTION: usize = 4096;
/// How often a question is put, to the resolvers in turn.
const TRIES: usize = 2;
/// How long each try may take: both end before the five seconds most clients wait.
const TRY_TIMEOUT: Duration = Duration::from_millis(2400);
/// How long a TCP client may be silent between questions.
const IDLE: Duration = Duration::from_secs(10);

/// Where questions go, and how many may be under way.
#[derive(Debug)]
pub struct Forwarder {
    resolvers: Vec<SocketAddr>,
    try_timeout: Duration,
    slots: Semaphore,
}

impl Forwarder {
    /// Forwards to `resolvers` in turn. With none, every name but ours fails to resolve.
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self { resolvers, try_timeout: TRY_TIMEOUT, slots: Semaphore::new(MAX_UNDER_WAY) }
    }
}

/// Answers an agent's questions over UDP until the socket fails; stops when dropped.
pub async fn serve_udp(socket: UdpSocket, forwarder: Arc<Forwarder>) -> io::Error {
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
        let (socket, forwarder) = (Arc::clone(&socket), Arc::clone(&forwarder));
        under_way.spawn(async move {
            if let Some(answer) = forwarder.answer(&question, Transport::Udp).await {
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
pub async fn serve_tcp(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    forwarder: &Forwarder,
) -> io::Result<()> {
    loop {
        let question = match timeout(IDLE, read_framed(&mut client)).await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_silent) => return Ok(()),
        };
        let Some(answer) = forwarder.answer(&question, Transport::Tcp).await else { return Ok(()) };
        write_framed(&mut client, &answer).await?;
    }
}

impl Forwarder {
    /// The answer to a message of an agent; `None` for what deserves none.
    async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = match Question::read(message) {
            Ok(question) => question,
            Err(Refusal::Silent) => return None,
            Err(Refusal::Answer(answer)) => return Some(answer),
        };
        if let Some(answer) = question.answer_ours() {
            return Some(answer);
        }
        let answered = match self.slots.try_acquire() {
            Ok(_slot) => self.ask(&question, transport).await,
            Err(_all_taken) => None,
        };
        let answer = answered.unwrap_or_else(|| question.failed());
        Some(if transport == Transport::Udp { question.fit(answer) } else { answer })
    }

    /// Puts the question to the resolvers in turn; `None` when none of them answered it.
    async fn ask(&self, question: &Question, transport: Transport) -> Option<Vec<u8>> {
        for resolver in self.resolvers.iter().cycle().take(TRIES.max(self.resolvers.len())) {
            let asked = timeout(self.try_timeout, upstream::ask(*resolver, question, transport));
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
