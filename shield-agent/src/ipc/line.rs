//! The frames of [`super::frame`] and the descriptors of [`super::fds`], for processes that wait: no runtime, no thread.
//!
//! It never hands on a descriptor of a frame that did not arrive whole: those are closed.

use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fds::read_some;
use super::frame::{self, FrameError};

/// Longest frame: the arguments and variables of a command, of which Linux takes two megabytes, and certificates.
pub const MAX_FRAME: usize = 8 << 20;

/// One end of a conversation.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// Speaks over a stream, which is made to block.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        Ok(Self(stream))
    }

    /// How long to wait for the next bytes; for ever when `None`.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)
    }

    /// Says one message, with the descriptors it speaks of.
    pub fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
        let frame = frame::encode(message, MAX_FRAME)?;
        let raw: Vec<RawFd> = descriptors.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[] } else { &rights[..] };
        let parts = [IoSlice::new(&frame)];
        let sent = sendmsg::<()>(self.0.as_raw_fd(), &parts, control, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(|errno| FrameError::Io(errno.into()))?;
        // Rust's programs ignore SIGPIPE: a hearer that is gone is an error like any other.
        (&self.0).write_all(&frame[sent..]).map_err(FrameError::Io)
    }

    /// Waits for one message and the descriptors that came with it.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<(M, Vec<OwnedFd>), FrameError> {
        let mut descriptors = Vec::new();
        let mut length = [0; 4];
        self.read_exact(&mut length, &mut descriptors)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length, MAX_FRAME));
        }
        let mut body = Vec::new();
        while body.len() < length {
            let start = body.len();
            body.resize(length.min(start + (64 << 10)), 0);
            self.read_exact(&mut body[start..], &mut descriptors)?;
        }
        let message = postcard::from_bytes(&body).map_err(FrameError::Malformed)?;
        Ok((message, descriptors))
    }

    fn read_exact(&self, mut buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<(), FrameError> {
        while !buffer.is_empty() {
            match read_some(self.0.as_raw_fd(), buffer, descriptors) {
                Ok(0) => return Err(FrameError::Closed),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    return Err(FrameError::Closed);
                }
                Err(error) => return Err(FrameError::Io(error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_arrives_with_its_descriptors_and_a_closed_line_says_so() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (ours, theirs) = (Line::new(ours).unwrap(), Line::new(theirs).unwrap());
        let speaker = std::thread::spawn(move || {
            let (reader, _writer) = io::pipe().unwrap();
            ours.send(&"x".repeat(3 << 20), &[reader.as_fd()]).unwrap();
        });
        let (message, descriptors): (String, _) = theirs.receive().unwrap();
        assert_eq!((message.len(), descriptors.len()), (3 << 20, 1));
        speaker.join().unwrap();
        assert!(matches!(theirs.receive::<String>(), Err(FrameError::Closed)));
    }
}
