//! What the hooks of one gate told: read from their ring, as often as somebody asks.
//!
//! The ring is the kernel's and only hooks write to it; an agent chooses addresses and its name, nothing else.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, RingBuf};
use shield_common::event::{Event, NO_UID, Reason};

use super::sys;

/// The reading end of a gate's ring. Readable (`poll`) when something was told.
pub struct Events {
    ring: RingBuf<MapData>,
}

/// Something a hook redirected or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelEvent {
    /// What was done and why.
    pub reason: Reason,
    /// Moment of `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// How often the same happened before, untold, since it was last told.
    pub suppressed: u64,
    /// The other end's address; `None` where there is none, as when a socket is created.
    pub address: Option<IpAddr>,
    /// The port that was meant; 0 when none was.
    pub port: u16,
    /// Number of the protocol, as IP knows it; 0 when the hook does not know it.
    pub protocol: u16,
    /// Kind of socket or number of the option, where the reason is about one.
    pub what: u32,
    /// Who called; `None` when all there was is a packet.
    pub process: Option<Process>,
    /// User id of the caller or of the socket's owner, when it is known.
    pub uid: Option<u32>,
    /// Cookie of the socket's network namespace; 0 when the hook does not know it.
    pub netns_cookie: u64,
}

/// A process that called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id in the initial pid namespace.
    pub pid: u32,
    /// Its name, as it chose it.
    pub comm: Vec<u8>,
}

impl Events {
    pub(super) fn open(map: Map) -> Result<Self, MapError> {
        RingBuf::try_from(map).map(|ring| Self { ring })
    }
}

/// The next thing that was told; `None` when everything was read, until there is more.
impl Iterator for Events {
    type Item = KernelEvent;

    fn next(&mut self) -> Option<KernelEvent> {
        loop {
            // What another version wrote is passed over.
            if let Some(event) = read(&self.ring.next()?) {
                return Some(event);
            }
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

fn read(bytes: &[u8]) -> Option<KernelEvent> {
    let event: Event = sys::record(bytes)?;
    let address = Ipv6Addr::from(event.aim.address.bytes()).to_canonical();
    let comm = event.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    // A packet always has one; `::` is how a hook spells that there is none.
    let is_none = address == Ipv6Addr::UNSPECIFIED && event.aim.port == 0;
    Some(KernelEvent {
        reason: Reason::of(event.reason)?,
        at: Duration::from_nanos(event.at_ns),
        suppressed: event.suppressed,
        address: (!is_none).then_some(address),
        port: event.aim.port,
        protocol: event.aim.protocol,
        what: event.aim.what,
        process: (event.called == 1).then(|| Process { pid: event.pid, comm: comm.to_owned() }),
        uid: (event.uid != NO_UID).then_some(event.uid),
        netns_cookie: event.netns_cookie,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_of_our_records_is_passed_over() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; size_of::<Event>() - 1]), None);
        let unknown_reason = [0xff; size_of::<Event>()];
        assert_eq!(read(&unknown_reason), None);
    }

    #[test]
    fn what_a_hook_did_not_know_is_not_made_up() {
        let event = read(&[0; size_of::<Event>()]).unwrap();
        assert_eq!((event.address, event.process, event.uid), (None, None, Some(0)));
    }
}
