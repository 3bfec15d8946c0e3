//! Where an accepted connection was going, as the kernel filed it. Needs no privilege: an inherited map and a socket.

use std::io;
use std::os::fd::BorrowedFd;

use shield_common::original::Original;

use super::sys;

/// Reads the record of an accepted socket. `originals` is [`super::Gate::originals_fd`], perhaps inherited.
///
/// `None` means that no gate of this agent filed the connection: somebody else connected to the listener. Close it.
pub fn lookup(originals: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<Option<Original>> {
    sys::socket_storage(originals, socket)
}
