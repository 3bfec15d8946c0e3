//! The leak oracle: every frame that comes out of the agent's end of the wire, seen from the far side.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::netns::Netns;
use crate::wait;

/// The hardware address of the agent's end.
pub const AGENT_MAC: &str = "02:00:00:00:99:01";
const AGENT_MAC_BYTES: [u8; 6] = [2, 0, 0, 0, 0x99, 1];

/// Longest wait of the listening thread before it looks whether to stop, in microseconds.
const GLANCE_US: i64 = 50_000;

type Frames = Arc<Mutex<Vec<Vec<u8>>>>;

/// A running sniffer.
pub struct Sniffer {
    frames: Frames,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sniffer {
    /// Starts to listen to everything that reaches `netns`.
    pub fn start(netns: &Netns) -> Result<Self> {
        let open =
            || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let wire = netns.enter(open)?.join().expect("opening does not panic").context("cannot sniff")?;
        setsockopt(&wire, sockopt::ReceiveTimeout, &TimeVal::new(0, GLANCE_US))?;
        let (frames, stop) = (Frames::default(), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (frames, stop) = (frames.clone(), stop.clone());
            move || listen(&wire, &frames, &stop)
        });
        Ok(Self { frames, stop, thread: Some(thread) })
    }

    /// A text that was never sent before: frames that arrive after it were sent after it.
    pub fn marker() -> String {
        static MARKERS: AtomicU32 = AtomicU32::new(0);
        format!("marker {} of {}.", MARKERS.fetch_add(1, Ordering::Relaxed), std::process::id())
    }

    /// What the agent's end sent before `marker`, other markers and the talk of the link itself left out.
    pub fn seen_before(&self, marker: &str) -> Result<Vec<String>> {
        let contains = |frame: &Vec<u8>| frame.windows(marker.len()).any(|part| part == marker.as_bytes());
        let end = wait::until("the marker arrives", || lock(&self.frames).iter().position(contains))?;
        Ok(lock(&self.frames)[..end].iter().filter_map(|frame| describe(frame)).collect())
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(wire: &OwnedFd, frames: &Frames, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match recv(wire.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(size) => lock(frames).push(buffer[..size].to_vec()),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Deaf: the next marker will not be heard, and the test fails.
            Err(_) => break,
        }
    }
}

fn lock(frames: &Frames) -> MutexGuard<'_, Vec<Vec<u8>>> {
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` for frames of others, markers, and neighbour discovery.
fn describe(frame: &[u8]) -> Option<String> {
    if frame.get(6..12)? != AGENT_MAC_BYTES || frame.windows(7).any(|part| part == b"marker ") {
        return None;
    }
    let packet = &frame[14..];
    match frame[12..14] {
        [0x08, 0x00] => {
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
            Some(format!("{} {} > {}", packet.get(9)?, address(12)?, address(16)?))
        }
        [0x86, 0xdd] => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
            let protocol = *packet.get(6)?;
            // ICMPv6, alone or behind the hop-by-hop header of multicast reports: the link talks.
            let link = protocol == 58 || protocol == 0;
            (!link).then_some(format!("{protocol} {} > {}", address(8)?, address(24)?))
        }
        [0x08, 0x06] => None,
        [a, b] => Some(format!("ethertype {a:02x}{b:02x}")),
        _ => None,
    }
}
