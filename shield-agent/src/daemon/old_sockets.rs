//! Ending the connections processes made before they were gated: the kernel's own `ss -K`, for their sockets alone.
//!
//! Listeners and sockets without a peer are left: a program could not tell that they are gone. They pass by the gate,
//! which whoever calls this has to say.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::open_sockets::socket_inodes;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// Of `nlmsghdr`; of `inet_diag_sockid`, which names a socket; and where that is in a question and in an answer.
const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
const ID_ASKED: usize = HEADER + 8;
const ID_TOLD: usize = HEADER + 4;
const QUESTION: usize = ID_ASKED + SOCKET_ID;

/// Where the inode is in an answer.
const INODE: usize = ID_TOLD + SOCKET_ID + 16;

/// States of a TCP socket that are no connection.
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

const BUFFER: usize = 64 << 10;

type SocketId = [u8; SOCKET_ID];

/// What became of them.
#[derive(Debug, Default)]
pub struct Ended {
    /// Connections that are over.
    pub ended: usize,
    /// Why there may be others.
    pub failed: Option<io::Error>,
}

/// Ends the TCP connections and connected UDP sockets that `processes` hold, in whichever namespace they live.
pub fn end(processes: &[u32]) -> Ended {
    let mut total = Ended::default();
    for (netns, inodes) in by_namespace(processes) {
        // A thread of its own: the supervisor's stays where it is.
        let there = thread::spawn(move || {
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            Ok::<_, io::Error>(end_here(&inodes))
        });
        match there.join() {
            Ok(Ok(here)) => {
                total.ended += here.ended;
                total.failed = here.failed.or(total.failed);
            }
            Ok(Err(error)) => total.failed = Some(error),
            Err(_) => total.failed = Some(io::Error::other("the thread that ends them panicked")),
        }
    }
    total
}

/// The inodes of the processes' sockets, by the network namespace the processes are in.
fn by_namespace(processes: &[u32]) -> Vec<(File, HashSet<u64>)> {
    let mut found: BTreeMap<u64, (File, HashSet<u64>)> = BTreeMap::new();
    for pid in processes {
        let process = Path::new("/proc").join(pid.to_string());
        let Ok(netns) = File::open(process.join("ns/net")) else { continue };
        let Ok(inode) = netns.metadata().map(|file| file.ino()) else { continue };
        found.entry(inode).or_insert((netns, HashSet::new())).1.extend(socket_inodes(&process));
    }
    found.into_values().collect()
}

fn end_here(inodes: &HashSet<u64>) -> Ended {
    let mut here = Ended::default();
    let tables = [
        (libc::AF_INET, libc::IPPROTO_TCP),
        (libc::AF_INET6, libc::IPPROTO_TCP),
        (libc::AF_INET, libc::IPPROTO_UDP),
        (libc::AF_INET6, libc::IPPROTO_UDP),
    ];
    for (family, protocol) in tables.map(|(family, protocol)| (narrow(family), narrow(protocol))) {
        let ids = Diag::open().and_then(|diag| diag.connections(family, protocol, inodes));
        let ended = ids.and_then(|ids| {
            let diag = Diag::open()?;
            ids.iter().try_fold(0, |ended, id| Ok(ended + usize::from(diag.destroy(family, protocol, id)?)))
        });
        match ended {
            Ok(ended) => here.ended += ended,
            Err(error) => here.failed = Some(error),
        }
    }
    here
}

fn narrow(number: libc::c_int) -> u8 {
    u8::try_from(number).expect("families and protocols of the internet are small")
}

/// The kernel's interface to other people's sockets, in the calling thread's network namespace.
struct Diag(OwnedFd);

impl Diag {
    fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkSockDiag)?))
    }

    /// Those of the connections whose inode is wanted.
    fn connections(&self, family: u8, protocol: u8, inodes: &HashSet<u64>) -> io::Result<Vec<SocketId>> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        self.ask(SOCK_DIAG_BY_FAMILY, flags, family, protocol, &[0; SOCKET_ID])?;
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for (kind, message) in messages(&buffer[..read]) {
                match libc::c_int::from(kind) {
                    libc::NLMSG_DONE => return Ok(found),
                    libc::NLMSG_ERROR => return result_of(message).map(|()| found),
                    _ => found.extend(wanted(message, inodes)),
                }
            }
        }
    }

    /// Ends one; whether it was still there.
    fn destroy(&self, family: u8, protocol: u8, id: &SocketId) -> io::Result<bool> {
        self.ask(SOCK_DESTROY, libc::NLM_F_REQUEST | libc::NLM_F_ACK, family, protocol, id)?;
        let mut buffer = vec![0; BUFFER];
        let read = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let answer =
            messages(&buffer[..read]).find(|(kind, _)| libc::c_int::from(*kind) == libc::NLMSG_ERROR);
        let (_, message) = answer.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        match result_of(message) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ask(&self, kind: u16, flags: libc::c_int, family: u8, protocol: u8, id: &SocketId) -> io::Result<()> {
        let flags = u16::try_from(flags).map_err(io::Error::other)?;
        let states = !(1_u32 << TCP_CLOSE | 1 << TCP_LISTEN);
        let mut question = Vec::with_capacity(QUESTION);
        question.extend((QUESTION as u32).to_ne_bytes());
        question.extend(kind.to_ne_bytes());
        question.extend(flags.to_ne_bytes());
        // Neither a sequence nor a port: one question is asked at a time, and the kernel knows who we are.
        question.extend([0; 8]);
        question.extend([family, protocol, 0, 0]);
        question.extend(states.to_ne_bytes());
        question.extend(id);
        send(self.0.as_raw_fd(), &question, MsgFlags::empty())?;
        Ok(())
    }
}

/// The messages in what was read, each with its type.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, message))
    })
}

fn wanted(message: &[u8], inodes: &HashSet<u64>) -> Option<SocketId> {
    let inode = u64::from(number(message, INODE)?);
    let id = message.get(ID_TOLD..ID_TOLD + SOCKET_ID)?.try_into().ok()?;
    inodes.contains(&inode).then_some(id)
}

fn result_of(message: &[u8]) -> io::Result<()> {
    match number(message, HEADER).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn inode(socket: &impl std::os::fd::AsFd) -> u64 {
        nix::sys::stat::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn connections_end_and_what_is_not_named_or_no_connection_stays() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut ended, mut other) = (connect(), connect());
            let (_first, mut far) = (listener.accept().unwrap().0, listener.accept().unwrap().0);
            let datagrams = UdpSocket::bind(address).unwrap();
            datagrams.connect(listener.local_addr().unwrap()).unwrap();
            let named = HashSet::from([inode(&ended), inode(&listener), inode(&datagrams)]);
            let outcome = end_here(&named);
            assert_eq!(
                (outcome.ended, outcome.failed.map(|error| error.to_string())),
                (2, None),
                "{address}"
            );
            assert_eq!(ended.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
            assert!(datagrams.peer_addr().is_err());
            other.write_all(b"still").unwrap();
            far.read_exact(&mut [0; 5]).unwrap();
            connect();
        }
    }
}
