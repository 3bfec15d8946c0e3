//! TCP, by every call that opens a connection.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::socket::{self, bind, bytes, connect, open, send_to_bytes, set};
use super::{At as _, Attempt};
use crate::prove::actor;
use crate::prove::facts::{Facts, Say};
use crate::prove::wire::NEAR_V4;

/// `TCP_FASTOPEN_CONNECT`.
const FAST_OPEN_CONNECT: i32 = 30;

pub(in crate::prove) fn v4(_: &Facts) -> Attempt {
    connect(&stream(libc::AF_INET, 0)?, socket::v4())
}

pub(in crate::prove) fn v6(_: &Facts) -> Attempt {
    connect(&stream(libc::AF_INET6, 0)?, socket::v6())
}

pub(in crate::prove) fn mapped(_: &Facts) -> Attempt {
    connect(&stream(libc::AF_INET6, 0)?, socket::mapped())
}

/// From a real address of the host: no route is looked for.
pub(in crate::prove) fn bound(_: &Facts) -> Attempt {
    let stream = stream(libc::AF_INET, 0)?;
    bind(&stream, SocketAddr::from((NEAR_V4, 0)))?;
    connect(&stream, socket::v4())
}

pub(in crate::prove) fn fast_open_send(facts: &Facts) -> Attempt {
    let stream = stream(libc::AF_INET, 0)?;
    send_to_bytes(&stream, facts.secret.as_bytes(), &bytes(socket::v4()), libc::MSG_FASTOPEN)
}

/// Nothing is sent before the first write.
pub(in crate::prove) fn fast_open_connect(facts: &Facts) -> Attempt {
    let stream = stream(libc::AF_INET, 0)?;
    set(&stream, libc::IPPROTO_TCP, FAST_OPEN_CONNECT, &1_i32.to_ne_bytes())?;
    connect(&stream, socket::v4())?;
    match socket::send(&stream, facts.secret.as_bytes()) {
        // The handshake is under way.
        Err(refused) if refused.errno == libc::EAGAIN || refused.errno == libc::EINPROGRESS => Ok(()),
        sent => sent,
    }
}

pub(in crate::prove) fn multipath(_: &Facts) -> Attempt {
    connect(&stream(libc::AF_INET, libc::IPPROTO_MPTCP)?, socket::v4())
}

/// The port callers from outside know.
pub(in crate::prove) const CALLED: u16 = 8080;

/// Waits for somebody outside to call, and tells them.
pub(in crate::prove) fn listen(facts: &Facts) -> Attempt {
    let listener = TcpListener::bind(("0.0.0.0", CALLED)).at("bind")?;
    actor::say(&Say::Ready).at("write")?;
    let stdin = std::io::stdin();
    let mut either = [&listener.as_fd(), &stdin.as_fd()].map(|fd| PollFd::new(*fd, PollFlags::POLLIN));
    // The prover says so when it has given up calling.
    poll(&mut either, PollTimeout::NONE).at("poll")?;
    if !either[0].any().unwrap_or(false) {
        return Err(Errno::ETIMEDOUT).at("accept");
    }
    let (mut caller, _) = listener.accept().at("accept")?;
    caller.write_all(facts.secret.as_bytes()).at("write")
}

fn stream(family: i32, protocol: i32) -> Result<std::os::fd::OwnedFd, super::Refused> {
    open(family, libc::SOCK_STREAM, protocol)
}
