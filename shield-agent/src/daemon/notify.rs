//! Telling whoever started the daemon that agents may attach: a line on standard error, and systemd's protocol.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Agents may attach from now on.
pub fn ready() {
    eprintln!("ready");
    tell("READY=1\n");
}

/// The daemon is about to end.
pub fn stopping() {
    tell("STOPPING=1\n");
}

/// Tells systemd, when it listens. A failure is only worth a line: systemd's own time-out acts on it.
fn tell(message: &str) {
    if let Some(address) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&address, message)
    {
        tracing::warn!("systemd could not be told {:?}: {error}", message.trim_end());
    }
}

fn send(address: &OsStr, message: &str) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
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
            send(address, "READY=1\n").unwrap();
            let mut heard = [0; 16];
            let length = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\n");
        }
    }
}
