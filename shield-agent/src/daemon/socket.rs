//! `gate.sock`: questions about gates, one JSON line each, and the way in for agents.
//!
//! Root may ask everything, members of the configured group for agents of their own; nobody from inside an agent's
//! cgroup, root or not. It decides nothing more: each question goes to the supervisor's loop, and a connection that
//! asked for an agent goes to that agent's launcher.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Gid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::peer::{self, Peer};
use super::{launchers, netns};
use crate::ipc::gate::{GateReply, GateRequest, MAX_LINE};
use crate::ipc::launch::Order;
use crate::names::AgentName;

/// Connections at a time: each `shield run` keeps one.
const MAX_CONNECTIONS: usize = 1024;

/// How many of them one user may have, root excepted; and how many agents.
pub const MAX_PER_USER: usize = 64;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The socket's mode: its owner's and its group's.
const MODE: u32 = 0o660;

/// What comes out of the socket.
#[derive(Debug)]
pub enum FromSocket {
    /// A question.
    Ask {
        /// The question.
        request: GateRequest,
        /// User who asks, and may ask this.
        asker: u32,
        /// Network namespace the agent is to live in.
        netns: File,
        /// Cgroup of who asks, from the root of the unified hierarchy.
        cgroup: String,
        /// Where the answer goes.
        reply: oneshot::Sender<GateReply>,
    },
    /// The launcher that had this agent prepared is gone.
    Gone {
        /// Which agent's.
        agent: AgentName,
        /// Dropped as soon as what ended with it is removed.
        cleared: oneshot::Sender<()>,
    },
}

/// Binds a socket for root and, if there is one, a group; one left by an earlier daemon is replaced.
pub fn bind(path: &Path, group: Option<Gid>) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    // Nobody else comes in between: first the group, then its right.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    if let Some(group) = group {
        nix::unistd::chown(path, None, Some(group))?;
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves connections until dropped.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<FromSocket>) {
    let mut connections = JoinSet::new();
    let mut by_user = BTreeMap::<u32, usize>::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(ended) = connections.join_next() => {
                if let Some(count) = ended.ok().and_then(|uid| by_user.get_mut(&uid)) {
                    *count = count.saturating_sub(1);
                }
                continue;
            }
        };
        let accepted = accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream)));
        match accepted {
            Ok((uid, stream)) => {
                let count = by_user.entry(uid).or_default();
                if uid != 0 && *count >= MAX_PER_USER {
                    send_away(&stream);
                } else {
                    *count += 1;
                    let asks = asks.clone();
                    connections.spawn(async move {
                        converse(stream, asks).await;
                        uid
                    });
                }
            }
            Err(error) => {
                tracing::warn!("the gate socket could not accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        by_user.retain(|_, count| *count > 0);
    }
}

fn send_away(stream: &UnixStream) {
    let reason =
        format!("you have {MAX_PER_USER} agents or questions at a time, which is all: end some first");
    // Whoever does not take it learns from the hang-up alone.
    let _ = stream.try_write(&line(&GateReply::Refused { reason }));
}

fn line(reply: &GateReply) -> Vec<u8> {
    let mut text = serde_json::to_vec(reply).expect("an answer is plain data");
    text.push(b'\n');
    text
}

/// One connection, to its end.
async fn converse(stream: UnixStream, asks: mpsc::Sender<FromSocket>) {
    let peer = peer::identify(&stream);
    let mut stream = BufReader::new(stream);
    loop {
        let mut question = Vec::new();
        let read = (&mut stream).take(MAX_LINE).read_until(b'\n', &mut question).await;
        if read.is_err() || question.last() != Some(&b'\n') {
            return;
        }
        let (reply, launch) = match &peer {
            Ok(peer) => answer(peer, &question, &asks).await,
            Err(reason) => (GateReply::Forbidden { reason: reason.to_string() }, None),
        };
        let told = stream.get_mut().write_all(&line(&reply)).await;
        if let (Some((order, netns)), Ok(peer)) = (launch, &peer) {
            // Nothing may have been said before the launcher listens.
            if told.is_ok() && stream.buffer().is_empty() {
                let connection = stream.into_inner();
                // The caller takes our hang-up for the word that the agent's name is free again.
                let until_cleared = connection.as_fd().try_clone_to_owned();
                launchers::attend(&order, peer, &netns, connection).await;
                say_gone(order.agent, &asks).await;
                drop(until_cleared);
            } else {
                say_gone(order.agent, &asks).await;
            }
            return;
        }
        if told.is_err() {
            return;
        }
    }
}

/// Has the supervisor remove what ended with a launcher. One that is gone itself needs no news.
async fn say_gone(agent: AgentName, asks: &mpsc::Sender<FromSocket>) {
    let (cleared, done) = oneshot::channel();
    if asks.send(FromSocket::Gone { agent, cleared }).await.is_ok() {
        let _ = timeout(ANSWER_TIMEOUT, done).await;
    }
}

/// The answer, and what a launcher is to be told and given.
async fn answer(
    peer: &Peer,
    line: &[u8],
    asks: &mpsc::Sender<FromSocket>,
) -> (GateReply, Option<(Order, File)>) {
    let refused = |reason: String| (GateReply::Refused { reason }, None);
    let request: GateRequest = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return refused(format!("the question is not understood: {error}")),
    };
    if let Err(reason) = peer.may(&request) {
        return (GateReply::Forbidden { reason: reason.to_string() }, None);
    }
    let wanted = match &request {
        GateRequest::Run { agent, uid, strict } => Some((agent.clone(), *uid, *strict)),
        _ => None,
    };
    let strict = matches!(wanted, Some((.., true)));
    if strict && matches!(wanted, Some((_, 0, _))) {
        return refused(crate::launch::LaunchError::StrictRoot.to_string());
    }
    let netns = if strict { netns::isolated() } else { peer.netns() };
    let (netns, ours) = match netns.and_then(|netns| Ok((netns.try_clone()?, netns))) {
        Ok(both) => both,
        Err(error) => return refused(format!("the agent's network namespace cannot be opened: {error}")),
    };
    let (reply, answered) = oneshot::channel();
    let ask = FromSocket::Ask { request, asker: peer.uid, netns, cgroup: peer.cgroup.clone(), reply };
    if asks.send(ask).await.is_err() {
        return refused("the daemon is ending".to_owned());
    }
    match (timeout(ANSWER_TIMEOUT, answered).await, wanted) {
        (Ok(Ok(GateReply::Prepared(prepared))), Some((agent, uid, strict))) => {
            let (whom, caller) = (peer.whom(uid), peer.pid);
            let order = Order { agent, prepared: prepared.clone(), whom, caller, strict };
            (GateReply::Prepared(prepared), Some((order, ours)))
        }
        (Ok(Ok(answer)), _) => (answer, None),
        (Ok(Err(_)), _) => refused("the daemon is ending".to_owned()),
        (Err(_), _) => refused(format!("the worker did not serve the agent within {ANSWER_TIMEOUT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_socket_is_its_owners_alone_or_also_its_groups_and_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let ours = nix::unistd::getegid();
        for (group, mode) in [(None, 0o600), (Some(ours), 0o660), (None, 0o600)] {
            let _listening = bind(&path, group).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (mode, ours.as_raw()));
        }
    }
}
