//! Bytes copied exactly, both ways at once, for connections nobody looks into any further.
//!
//! Nothing is read before what was read last is written, so neither side can outrun the other; the end of one direction
//! is passed on and the other goes on. It never looks at what it copies.

mod splice;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::review::outcome::Outcome;

/// Read at once.
const PIECE: usize = 32 << 10;

/// Relays between an agent and its destination until both are done, one of them breaks, or `stop` is cancelled; `first` is
/// what was read of the agent already. Says in `outcome` how much went each way and how it ended.
pub async fn relay(
    agent: impl AsyncRead + AsyncWrite + Unpin,
    first: &[u8],
    destination: impl AsyncRead + AsyncWrite + Unpin,
    mut outcome: Outcome,
    stop: &CancellationToken,
) {
    let (from_agent, to_agent) = tokio::io::split(agent);
    let (from_destination, to_destination) = tokio::io::split(destination);
    let sent = outcome.sent();
    let upwards = async {
        pump(first.chain(from_agent), to_destination, |bytes| sent.add(bytes)).await.map_err(Broken::of_agent)
    };
    let downwards = async {
        let pumped = pump(from_destination, to_agent, |bytes| outcome.received(bytes)).await;
        pumped.map_err(Broken::of_destination)
    };
    let ended = stop.run_until_cancelled(async { tokio::try_join!(upwards, downwards) }).await;
    conclude(&mut outcome, ended.map(|both| both.map(drop)));
}

/// Relays between two TCP connections as [`relay`] does, without the bytes coming into this process.
pub async fn relay_unread(
    mut agent: TcpStream,
    first: &[u8],
    mut destination: TcpStream,
    mut outcome: Outcome,
    stop: &CancellationToken,
) {
    let (from_agent, to_agent) = agent.split();
    let (from_destination, to_destination) = destination.split();
    let sent = outcome.sent();
    let upwards = async {
        let pumped = splice::pump(first, from_agent, to_destination, |bytes| sent.add(bytes)).await;
        pumped.map_err(Broken::of_agent)
    };
    let downwards = async {
        let pumped = splice::pump(&[], from_destination, to_agent, |bytes| outcome.received(bytes)).await;
        pumped.map_err(Broken::of_destination)
    };
    let ended = stop.run_until_cancelled(async { tokio::try_join!(upwards, downwards) }).await;
    conclude(&mut outcome, ended.map(|both| both.map(drop)));
}

fn conclude(outcome: &mut Outcome, ended: Option<Result<(), Broken>>) {
    match ended {
        Some(Ok(())) => outcome.whole(),
        Some(Err(broken)) => outcome.failed(broken.to_string()),
        None => outcome.failed("the gate was closed".to_owned()),
    }
}

/// Which side broke, and how.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the program's side broke: {}", .0.kind())]
    Agent(io::Error),
    #[error("the destination's side broke: {}", .0.kind())]
    Destination(io::Error),
}

/// Where copying stopped.
enum Stopped {
    Reading(io::Error),
    Writing(io::Error),
}

impl Broken {
    fn of_agent(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Reading(error) => Self::Agent(error),
            Stopped::Writing(error) => Self::Destination(error),
        }
    }

    fn of_destination(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Reading(error) => Self::Destination(error),
            Stopped::Writing(error) => Self::Agent(error),
        }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut count: impl FnMut(usize),
) -> Result<(), Stopped> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece).await {
            // TLS without a last word: many programs just close. Protocols that care have an end of their own.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read.map_err(Stopped::Reading)?,
        };
        if read == 0 {
            return to.shutdown().await.map_err(Stopped::Writing);
        }
        to.write_all(&piece[..read]).await.map_err(Stopped::Writing)?;
        to.flush().await.map_err(Stopped::Writing)?;
        count(read);
    }
}
