//! Local sockets of programs outside that would act for the agent, and sockets that come from outside.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{At as _, Attempt, Refused, socket};
use crate::prove::facts::Facts;

const PATIENCE: Duration = Duration::from_millis(500);

/// Where the prover leaves a connected socket for the agent to inherit.
pub(in crate::prove) const INHERITED: i32 = 100;

pub(in crate::prove) fn run(facts: &Facts) -> Attempt {
    ask(connect(&facts.deputies.run)?, facts)
}

pub(in crate::prove) fn tmp(facts: &Facts) -> Attempt {
    ask(connect(&facts.deputies.tmp)?, facts)
}

/// A name somebody outside made after the agent was started.
pub(in crate::prove) fn later(facts: &Facts) -> Attempt {
    ask(connect(&facts.deputies.later)?, facts)
}

pub(in crate::prove) fn unnamed(facts: &Facts) -> Attempt {
    let address = SocketAddr::from_abstract_name(&facts.deputies.unnamed).at("connect")?;
    ask(UnixStream::connect_addr(&address).at("connect")?, facts)
}

/// Takes a socket that somebody outside made and connected.
pub(in crate::prove) fn given(facts: &Facts) -> Attempt {
    let giver = connect(&facts.deputies.giver)?;
    giver.set_read_timeout(Some(PATIENCE)).at("setsockopt")?;
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(i32);
    let got = recvmsg::<()>(giver.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .at("recvmsg")?;
    for message in got.cmsgs().at("recvmsg")? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                // SAFETY: `recvmsg` just installed it for us; nobody else owns it.
                socket::send(&unsafe { OwnedFd::from_raw_fd(descriptor) }, facts.secret.as_bytes())?;
            }
            return Ok(());
        }
    }
    Err(Errno::ENOMSG).at("recvmsg")
}

/// Uses a socket from before.
pub(in crate::prove) fn inherited(facts: &Facts) -> Attempt {
    // SAFETY: the call looks at a number.
    Errno::result(unsafe { libc::fcntl(INHERITED, libc::F_GETFD) }).at("fcntl")?;
    // SAFETY: it is open, as was just seen, and this process has one thread and uses it for nothing else.
    let socket = unsafe { File::from_raw_fd(INHERITED) };
    socket::send(&socket.into(), facts.secret.as_bytes())
}

fn connect(place: &Path) -> Result<UnixStream, Refused> {
    // What lies over it is no socket: the refusal would say less.
    if !fs::metadata(place).at("stat")?.file_type().is_socket() {
        return Err(Errno::ENOTSOCK).at("stat");
    }
    UnixStream::connect(place).at("connect")
}

fn ask(mut deputy: UnixStream, facts: &Facts) -> Attempt {
    deputy.set_read_timeout(Some(PATIENCE)).at("setsockopt")?;
    deputy.write_all(facts.secret.as_bytes()).at("write")?;
    // It says so when it has done as it was asked.
    deputy.read_exact(&mut [0]).at("read")
}
