//! Frames that carry file descriptors, over a Unix stream socket.
//!
//! The same frames as [`super::frame`]; descriptors travel by `SCM_RIGHTS` with a frame's first byte and always arrive
//! close-on-exec. It never hands on a descriptor of a frame that did not arrive whole: those are closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::frame::{self, FrameError, MAX_FRAME};

/// Descriptors one frame may carry.
pub const MAX_DESCRIPTORS: usize = 64;

/// Writes one message and the descriptors it speaks of. Not to be cancelled: half a frame would garble the channel.
pub async fn send<M: Serialize>(
    to: &UnixStream,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), FrameError> {
    if descriptors.len() > MAX_DESCRIPTORS {
        let reason =
            format!("a frame carries at most {MAX_DESCRIPTORS} descriptors, not {}", descriptors.len());
        return Err(FrameError::Io(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    let frame = frame::encode(message, MAX_FRAME)?;
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut sent = 0;
    while sent < frame.len() {
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if sent == 0 && !raw.is_empty() { &rights[..] } else { &[] };
        let rest = [IoSlice::new(&frame[sent..])];
        let write = || Ok(sendmsg::<()>(to.as_raw_fd(), &rest, control, MsgFlags::MSG_NOSIGNAL, None)?);
        sent += to.async_io(Interest::WRITABLE, write).await.map_err(FrameError::Io)?;
    }
    Ok(())
}

/// Reads one message and the descriptors that came with it. Not to be cancelled: half a frame would be lost.
pub async fn receive<M: DeserializeOwned>(from: &UnixStream) -> Result<(M, Vec<OwnedFd>), FrameError> {
    let mut descriptors = Vec::new();
    let mut length = [0; 4];
    read_exact(from, &mut length, &mut descriptors).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong(length, MAX_FRAME));
    }
    // Memory is only taken as bytes arrive.
    let mut body = Vec::new();
    while body.len() < length {
        let start = body.len();
        body.resize(length.min(start + (64 << 10)), 0);
        read_exact(from, &mut body[start..], &mut descriptors).await?;
    }
    let message = postcard::from_bytes(&body).map_err(FrameError::Malformed)?;
    Ok((message, descriptors))
}

async fn read_exact(
    from: &UnixStream,
    mut buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), FrameError> {
    while !buffer.is_empty() {
        let read = from.async_io(Interest::READABLE, || read_some(from.as_raw_fd(), buffer, descriptors));
        match read.await.map_err(FrameError::Io)? {
            0 => return Err(FrameError::Closed),
            read => buffer = &mut buffer[read..],
        }
    }
    Ok(())
}

pub(super) fn read_some(
    socket: RawFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut control = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut into = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(socket, &mut into, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just installed these descriptors for this process; nothing else owns them.
            descriptors.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[tokio::test]
    async fn a_frame_arrives_with_its_descriptors_and_the_next_one_without() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let long = "x".repeat(300_000);
        let sender = tokio::spawn(async move {
            send(&ours, &long, &[reader.as_fd(), writer.as_fd()]).await.unwrap();
            send(&ours, &"next".to_owned(), &[]).await.unwrap();
            drop(ours);
            writer.write_all(b"sent before").unwrap();
            drop(writer);
            reader.read(&mut [0; 11]).unwrap()
        });
        let (message, received): (String, _) = receive(&theirs).await.unwrap();
        assert_eq!((message.len(), received.len()), (300_000, 2));
        assert_eq!(sender.await.unwrap(), 11, "both ends of the pipe are the same pipe here and there");
        let (message, received): (String, _) = receive(&theirs).await.unwrap();
        assert_eq!((message.as_str(), received.len()), ("next", 0));
        assert!(matches!(receive::<String>(&theirs).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_received_descriptor_is_the_one_that_was_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        send(&ours, &(), &[reader.as_fd()]).await.unwrap();
        drop(reader);
        let ((), mut received): ((), _) = receive(&theirs).await.unwrap();
        writer.write_all(b"through the socket").unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(received.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the socket");
    }

    #[tokio::test]
    async fn more_descriptors_than_a_frame_carries_are_not_sent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let many = vec![ours.as_fd(); MAX_DESCRIPTORS + 1];
        assert!(matches!(send(&ours, &(), &many).await, Err(FrameError::Io(_))));
    }
}
