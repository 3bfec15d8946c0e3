//! `gate.sock`: root's questions about gates, one JSON line each.
//!
//! Only root may ask, and only from outside every agent's cgroup: an agent that runs as root must not open its own
//! gate. It never decides; each question goes to the supervisor's loop.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::peer::{self, Peer};
use crate::ipc::gate::{GateReply, GateRequest, MAX_LINE};
use crate::names::AgentName;

/// Connections at a time: each `shield run` keeps one.
const MAX_CONNECTIONS: usize = 1024;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);

/// What comes out of the socket.
#[derive(Debug)]
pub enum FromSocket {
    /// A question.
    Ask {
        /// The question.
        request: GateRequest,
        /// Network namespace of who asks.
        netns: File,
        /// Cgroup of who asks, from the root of the unified hierarchy.
        cgroup: String,
        /// Where the answer goes.
        reply: oneshot::Sender<GateReply>,
    },
    /// The `shield run` that had this agent prepared is gone.
    Gone(AgentName),
}

/// Binds a socket that is root's alone; one left by an earlier daemon is replaced.
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves connections until dropped.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<FromSocket>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(connections.spawn(converse(stream, asks.clone()))),
            Err(error) => {
                tracing::warn!("the gate socket could not accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(stream: UnixStream, asks: mpsc::Sender<FromSocket>) {
    let peer = peer::check(&stream);
    let mut stream = BufReader::new(stream);
    let mut prepared = Vec::new();
    loop {
        let mut line = Vec::new();
        let read = (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line).await;
        if read.is_err() || line.last() != Some(&b'\n') {
            break;
        }
        let reply = match &peer {
            Ok(peer) => answer(peer, &line, &asks, &mut prepared).await,
            Err(reason) => GateReply::Refused { reason: reason.to_string() },
        };
        let mut text = serde_json::to_vec(&reply).expect("an answer is plain data");
        text.push(b'\n');
        if stream.get_mut().write_all(&text).await.is_err() {
            break;
        }
    }
    for agent in prepared {
        // The supervisor that is gone needs no news.
        let _ = asks.send(FromSocket::Gone(agent)).await;
    }
}

async fn answer(
    peer: &Peer,
    line: &[u8],
    asks: &mpsc::Sender<FromSocket>,
    prepared: &mut Vec<AgentName>,
) -> GateReply {
    let refused = |reason: String| GateReply::Refused { reason };
    let request: GateRequest = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return refused(format!("the question is not understood: {error}")),
    };
    let netns = match peer.netns() {
        Ok(netns) => netns,
        Err(error) => return refused(format!("the asker's network namespace cannot be opened: {error}")),
    };
    let preparing = match &request {
        GateRequest::PrepareRun { agent } => Some(agent.clone()),
        _ => None,
    };
    let (reply, answered) = oneshot::channel();
    if asks.send(FromSocket::Ask { request, netns, cgroup: peer.cgroup.clone(), reply }).await.is_err() {
        return refused("the daemon is ending".to_owned());
    }
    let answer = match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => return refused("the daemon is ending".to_owned()),
        Err(_) => {
            // The gate may be there already: it ends with this connection.
            prepared.extend(preparing);
            return refused(format!("the worker did not serve the agent within {ANSWER_TIMEOUT:?}"));
        }
    };
    // A refused agent is not there, or somebody else's.
    let ours = !matches!(answer, GateReply::Refused { .. });
    prepared.extend(preparing.filter(|_| ours));
    answer
}
