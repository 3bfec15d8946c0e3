//! The sockets an agent is served on: opened in its network namespace by a helper process that lives for a moment.
//!
//! A helper, because only a process can be in a cgroup and a network namespace: the sockets have to be born in both.
//! Sockets keep the cgroup they were created in, accepted ones that of their listener, and the hook that claims
//! records is attached there. The supervisor itself never leaves its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt,
    listen, recvmsg, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shield_common::limits::NAMESERVERS;
use shield_common::served::Served;

use super::cgroup;
use super::error::CaptureError;
use super::sys;

/// An agent's sockets in one network namespace. All are non-blocking and closed on exec.
#[derive(Debug)]
pub struct Listeners {
    /// Listening on 127.0.0.1, then on ::1 where that works.
    pub tcp: Vec<OwnedFd>,
    /// UDP sockets for names on 127.0.0.1, then on ::1 where that works.
    pub dns: Vec<OwnedFd>,
    /// The network namespace.
    pub netns_cookie: u64,
    /// Their ports, for [`super::Gate::serve_netns`].
    pub served: Served,
}

impl Listeners {
    /// Puts an agent's sockets of one network namespace together again, in whatever order they come.
    pub fn assemble(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let strange = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let (mut tcp, mut dns, mut cookies) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        for socket in sockets {
            cookies.insert(sys::netns_cookie(socket.as_fd())?);
            let stream = getsockopt(&socket, sockopt::SockType)? == SockType::Stream;
            // Asks for the address only: any socket of these families can be asked.
            let socket = UdpSocket::from(socket);
            let address = socket.local_addr()?;
            let place = if stream { &mut tcp } else { &mut dns };
            place.insert((address.port(), address.is_ipv6()), OwnedFd::from(socket));
        }
        let ports = |sockets: &BTreeMap<(u16, bool), OwnedFd>| -> Vec<u16> {
            sockets.keys().filter(|(_, v6)| !v6).map(|(port, _)| *port).collect()
        };
        let v6 = tcp.keys().any(|(_, v6)| *v6);
        let (Ok([port]), Ok(names)) = (<[u16; 1]>::try_from(ports(&tcp)), ports(&dns).try_into()) else {
            return Err(strange("some are missing"));
        };
        if cookies.len() != 1 || tcp.len() + dns.len() != (1 + NAMESERVERS) * (1 + usize::from(v6)) {
            return Err(strange("they do not belong together"));
        }
        Ok(Self {
            tcp: tcp.into_values().collect(),
            dns: dns.into_values().collect(),
            netns_cookie: cookies.into_iter().next().unwrap_or_default(),
            served: Served { port, v6: v6.into(), dns: names },
        })
    }

    /// The network namespace they are in.
    pub fn netns(&self) -> io::Result<File> {
        let socket = self.tcp.first().ok_or(io::ErrorKind::NotFound)?;
        sys::netns_of(socket.as_fd()).map(File::from)
    }
}

/// Most connections a listener keeps until the worker accepts them.
const BACKLOG: i32 = 4096;
/// Far longer than the helper needs.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries to find a port that is free on both loopback addresses.
const PORT_TRIES: usize = 32;
const MAX_MESSAGE: usize = 4096;
const MAX_SOCKETS: usize = 2 + 2 * NAMESERVERS;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    proxy_cgroup: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Opened { tcp: usize, netns_cookie: u64, port: u16, v6: bool, dns: [u16; NAMESERVERS] },
    Failed(String),
}

/// Opens an agent's sockets in `netns` through a helper: `helper` is a command that calls [`helper_main`].
///
/// The gate has to be attached first: sockets from before it lack the mark its hooks look for, and nothing is sent
/// to them. Blocks until the helper is gone, for ten seconds at most.
pub fn open(
    mut helper: Command,
    proxy_cgroup: &Path,
    netns: BorrowedFd<'_>,
) -> Result<Listeners, CaptureError> {
    let (ours, theirs) = channel().map_err(failed("cannot make a channel to the helper"))?;
    let mut child = helper
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed("cannot start the helper"))?;
    // The command keeps the helper's end open, which would hide its death.
    drop(helper);
    let request = Request { proxy_cgroup: proxy_cgroup.to_owned() };
    let answer = send(ours.as_fd(), &request, &[netns.as_raw_fd()]).and_then(|()| receive(ours.as_fd()));
    reap(&mut child);
    match answer.map_err(failed("the helper did not answer"))? {
        (Answer::Opened { tcp, netns_cookie, port, v6, dns }, mut sockets) => {
            let names = sockets.split_off(tcp.min(sockets.len()));
            let served = Served { port, v6: v6.into(), dns };
            Ok(Listeners { tcp: sockets, dns: names, netns_cookie, served })
        }
        (Answer::Failed(reason), _) => Err(CaptureError::Listeners { reason }),
    }
}

/// The helper's whole life: reads one request from standard input, which is a socket, answers it, and returns.
///
/// Moves the calling process into a cgroup and a network namespace: only for a process that does nothing else.
pub fn helper_main() -> Result<(), CaptureError> {
    let stdin = io::stdin();
    let channel = stdin.as_fd();
    let (request, netns): (Request, _) = receive(channel).map_err(failed("the helper got no request"))?;
    let (answer, sockets) = match netns.first().map(|netns| open_here(&request.proxy_cgroup, netns.as_fd())) {
        Some(Ok(opened)) => opened,
        Some(Err(error)) => (Answer::Failed(super::error::chain(&error)), Vec::new()),
        None => (Answer::Failed("the request names no network namespace".to_owned()), Vec::new()),
    };
    let descriptors: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    send(channel, &answer, &descriptors).map_err(failed("the helper cannot answer"))
}

/// Goes where the sockets have to be born, and makes them.
fn open_here(proxy_cgroup: &Path, netns: BorrowedFd<'_>) -> Result<(Answer, Vec<OwnedFd>), CaptureError> {
    cgroup::enter(proxy_cgroup)?;
    setns(netns, CloneFlags::CLONE_NEWNET)
        .map_err(|error| failed("cannot enter the network namespace")(error.into()))?;
    if !loopback_is_up().map_err(failed("cannot look at the loopback device"))? {
        // Its addresses come with it: whether ::1 works would be guessed, and for good.
        let reason = "the loopback device is down there: ip link set lo up".to_owned();
        return Err(CaptureError::Listeners { reason });
    }
    let v6 = has_v6_loopback().map_err(failed("cannot tell whether ::1 works"))?;
    let (port, tcp) = on_loopback(v6, tcp_at).map_err(failed("cannot listen on loopback"))?;
    let netns_cookie =
        sys::netns_cookie(tcp[0].as_fd()).map_err(failed("cannot identify the network namespace"))?;
    let mut dns = [0; NAMESERVERS];
    let mut sockets = tcp;
    let listeners = sockets.len();
    let names: io::Result<Vec<_>> = (0..NAMESERVERS).map(|_| on_loopback(v6, udp_at)).collect();
    let mut names = names.map_err(failed("cannot receive on loopback"))?;
    // The order they are put together in again.
    names.sort_by_key(|(port, _)| *port);
    for (place, (port, udp)) in dns.iter_mut().zip(names) {
        *place = port;
        sockets.extend(udp);
    }
    Ok((Answer::Opened { tcp: listeners, netns_cookie, port, v6, dns }, sockets))
}

fn loopback_is_up() -> io::Result<bool> {
    let wanted = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_UP;
    Ok(getifaddrs()?.any(|interface| interface.flags.contains(wanted)))
}

/// Whether ::1 is an address of this network namespace. Only then may anything be sent to it.
fn has_v6_loopback() -> io::Result<bool> {
    match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Binds the same free port on 127.0.0.1 and, with `v6`, on ::1.
fn on_loopback(
    v6: bool,
    bind: fn(SocketAddr) -> io::Result<(u16, OwnedFd)>,
) -> io::Result<(u16, Vec<OwnedFd>)> {
    let mut taken = None;
    for _ in 0..PORT_TRIES {
        let (port, four) = bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        if !v6 {
            return Ok((port, vec![four]));
        }
        match bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port)) {
            Ok((_, six)) => return Ok((port, vec![four, six])),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(taken.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn tcp_at(address: SocketAddr) -> io::Result<(u16, OwnedFd)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok((listener.local_addr()?.port(), listener.into()))
}

fn udp_at(address: SocketAddr) -> io::Result<(u16, OwnedFd)> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?.port(), socket.into()))
}

/// A pair of sockets that keep messages apart and do not wait for ever.
fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let patience = TimeVal::new(HELPER_TIMEOUT.as_secs().cast_signed(), 0);
    setsockopt(&ours, sockopt::ReceiveTimeout, &patience)?;
    Ok((ours, theirs))
}

fn send<M: Serialize>(to: BorrowedFd<'_>, message: &M, descriptors: &[i32]) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() { &[] } else { &rights[..] };
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&body)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn receive<M: DeserializeOwned>(from: BorrowedFd<'_>) -> io::Result<(M, Vec<OwnedFd>)> {
    let mut body = [0; MAX_MESSAGE];
    let mut space = nix::cmsg_space!([i32; MAX_SOCKETS]);
    let mut parts = [IoSliceMut::new(&mut body)];
    let got = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = message {
            descriptors.extend(sys::received(received));
        }
    }
    let size = got.bytes;
    let message = postcard::from_bytes(&body[..size]).map_err(io::Error::other)?;
    Ok((message, descriptors))
}

/// The helper has answered or never will.
fn reap(child: &mut Child) {
    // It may be gone already, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> CaptureError {
    move |error| CaptureError::Listeners { reason: format!("{what}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loopback_addresses_get_the_same_port() {
        let v6 = has_v6_loopback().unwrap();
        let (port, sockets) = on_loopback(v6, tcp_at).unwrap();
        assert_eq!(sockets.len(), 1 + usize::from(v6));
        for socket in sockets {
            assert_eq!(TcpListener::from(socket).local_addr().unwrap().port(), port);
        }
    }

    #[test]
    fn sockets_are_put_together_again_in_whatever_order_and_not_when_one_is_missing() {
        let v6 = has_v6_loopback().unwrap();
        let (port, mut all) = on_loopback(v6, tcp_at).unwrap();
        let mut names: Vec<_> = (0..NAMESERVERS).map(|_| on_loopback(v6, udp_at).unwrap()).collect();
        names.sort_by_key(|(port, _)| *port);
        let dns: Vec<u16> = names.iter().map(|(port, _)| *port).collect();
        all.extend(names.into_iter().flat_map(|(_, sockets)| sockets));
        all.reverse();
        let copy = |all: &[OwnedFd]| all.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let whole = Listeners::assemble(copy(&all)).unwrap();
        assert_eq!((whole.served.port, whole.served.dns.to_vec()), (port, dns));
        assert!(Listeners::assemble(copy(&all[1..])).is_err());
        assert!(Listeners::assemble(Vec::new()).is_err());
    }

    #[test]
    fn a_message_takes_its_descriptors_along() {
        let (ours, theirs) = channel().unwrap();
        let (_, listener) = tcp_at("127.0.0.1:0".parse().unwrap()).unwrap();
        send(ours.as_fd(), &Answer::Failed("no".into()), &[listener.as_raw_fd()]).unwrap();
        let (answer, descriptors): (Answer, _) = receive(theirs.as_fd()).unwrap();
        assert!(matches!(answer, Answer::Failed(reason) if reason == "no"));
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn a_helper_that_dies_without_a_word_is_an_error() {
        let netns = std::fs::File::open("/proc/self/ns/net").unwrap();
        let error = open(Command::new("true"), Path::new("/nowhere"), netns.as_fd()).unwrap_err();
        assert!(matches!(error, CaptureError::Listeners { .. }), "{error}");
    }
}
