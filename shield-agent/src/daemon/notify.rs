//! Telling whoever started the daemon that agents may attach: a line on standard error, and systemd's protocol.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

/// Agents may attach from now on.
pub fn ready() {
    eprintln!("ready");
    tell("READY=1\n");
}

/// The daemon is about to end.
pub fn stopping() {
    tell("STOPPING=1\n");
}

/// Has the service manager keep sockets under a name, for the daemon after this one.
pub fn keep(name: &str, sockets: &[BorrowedFd<'_>]) {
    // Not to be dropped for an error that waits in one of them.
    tell_with(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}\n"), sockets);
}

/// Has the service manager close what it keeps under a name.
pub fn let_go(name: &str) {
    tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"));
}

fn tell(message: &str) {
    tell_with(message, &[]);
}

/// Tells systemd, when it listens. A failure is only worth a line: systemd's own time-out acts on it.
fn tell_with(message: &str, sockets: &[BorrowedFd<'_>]) {
    if let Some(address) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&address, message, sockets)
    {
        tracing::warn!("systemd could not be told {:?}: {error}", message.trim_end());
    }
}

fn send(address: &OsStr, message: &str, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &[] } else { &rights[..] };
    let parts = [IoSlice::new(message.as_bytes())];
    sendmsg(socket.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, Some(&address))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    use super::*;

    #[test]
    fn systemd_hears_it_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@{}", path.display());
        let abstract_name = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        for (listener, address) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), OsStr::new(&name)),
        ] {
            send(address, "READY=1\n", &[]).unwrap();
            let mut heard = [0; 16];
            let length = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
    }
}
