//! One direction between two TCP connections, moved by the kernel: socket, pipe, socket.

use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{OFlag, SpliceFFlags};
use nix::unistd::pipe2;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::Stopped;

/// Moved at once, bytes: what a pipe holds unless told otherwise.
const PIECE: usize = 64 << 10;

/// Passes on `first`, then everything that comes, then the end.
pub(super) async fn pump(
    first: &[u8],
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut count: impl FnMut(usize),
) -> Result<(), Stopped> {
    to.write_all(first).await.map_err(Stopped::Writing)?;
    count(first.len());
    let pipe = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK);
    let (leaving, entering) = pipe.map_err(|error| Stopped::Reading(error.into()))?;
    loop {
        // The pipe is empty: it is the socket that has nothing when this would block.
        let take = || splice(from.as_ref(), &entering, PIECE);
        let taken = from.as_ref().async_io(Interest::READABLE, take).await.map_err(Stopped::Reading)?;
        if taken == 0 {
            return to.shutdown().await.map_err(Stopped::Writing);
        }
        let mut left = taken;
        while left > 0 {
            let give = || splice(&leaving, to.as_ref(), left);
            left -= to.as_ref().async_io(Interest::WRITABLE, give).await.map_err(Stopped::Writing)?;
        }
        count(taken);
    }
}

fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(nix::fcntl::splice(from, None, to, None, most, flags)?)
}
