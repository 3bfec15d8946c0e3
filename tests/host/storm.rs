//! No connection is ever given another's record.

use std::collections::HashSet;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::originals;
use shield_common::event::Reason;

use crate::{actor, world};

const THREADS: usize = 4;
const CONNECTIONS: usize = 30_000;

// Case 9.
#[test]
fn of_120_000_connections_reset_at_once_none_is_given_anothers_record() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let mut opened = world.listeners()?;
    opened.served.v6 = 0;
    world.gate.serve_netns(opened.netns_cookie, opened.served)?;
    let listener = TcpListener::from(opened.tcp.remove(0));
    listener.set_nonblocking(false)?;
    let originals = world.originals()?;
    let accepted = AtomicUsize::new(0);
    let mut storm = world.agent(actor())?;
    let mut storm = storm.args(["storm", &THREADS.to_string(), &CONNECTIONS.to_string()]).spawn()?;
    let seen = thread::scope(|scope| {
        let accept = || accept_all(&listener, &originals, &accepted);
        let two = [scope.spawn(accept), scope.spawn(accept)];
        let mut seen = HashSet::new();
        for thread in two {
            for destination in thread.join().expect("accepting does not panic")? {
                ensure!(seen.insert(destination), "{destination:?} arrived twice");
            }
        }
        Ok(seen)
    })?;
    ensure!(storm.wait()?.success());
    assert_eq!(seen.len(), THREADS * CONNECTIONS);
    assert_eq!(world.counted(Reason::Taken)?, (THREADS * CONNECTIONS) as u64);
    assert_eq!(world.counted(Reason::Unclaimed)?, 0);
    assert_eq!(world.counted(Reason::NoRecord)?, 0);
    assert_eq!(world.gate.handoffs()?, 0);
    world.assert_silent()
}

/// Accepts until all have been: each connection says where it was going, and its record must say the same.
fn accept_all(listener: &TcpListener, originals: &OwnedFd, accepted: &AtomicUsize) -> Result<Vec<[u8; 6]>> {
    let mut seen = Vec::new();
    while accepted.fetch_add(1, Ordering::Relaxed) < THREADS * CONNECTIONS {
        let (stream, _) = listener.accept()?;
        seen.push(check(stream, originals)?);
    }
    Ok(seen)
}

fn check(mut stream: TcpStream, originals: &OwnedFd) -> Result<[u8; 6]> {
    let original =
        originals::lookup(originals.as_fd(), stream.as_fd())?.context("a connection has no record")?;
    let mut named = [0; 6];
    stream.read_exact(&mut named).context("the reset overtook the data")?;
    ensure!(original.address[12..] == named[..4], "{original:?} is not {named:?}");
    ensure!(original.port.to_be_bytes() == named[4..], "{original:?} is not {named:?}");
    Ok(named)
}
