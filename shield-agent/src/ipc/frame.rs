//! Frames: a big-endian `u32` length, then that many bytes of postcard.

use std::io;

use bytes::{Buf as _, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest frame on the worker ⇄ approver channel: the largest `hold.max_body` (64 MiB) and its head.
pub const MAX_FRAME: usize = 65 << 20;

/// Room for what arrives at once.
const READ_AHEAD: usize = 64 << 10;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other role closed its end: it stopped or died.
    #[error("the other role closed the channel")]
    Closed,
    /// The socket failed.
    #[error("the channel failed")]
    Io(#[source] io::Error),
    /// The frame is longer than anything we say.
    #[error("a frame of {0} bytes is longer than the limit of {1}")]
    TooLong(usize, usize),
    /// The frame is not a message of this channel.
    #[error("a frame is not a message of this channel")]
    Malformed(#[source] postcard::Error),
}

/// Encodes one message with its length; `limit` bounds the body.
pub fn encode<M: Serialize>(message: &M, limit: usize) -> Result<Vec<u8>, FrameError> {
    append(message, limit, Vec::new())
}

/// Encodes one message behind others.
pub fn append<M: Serialize>(message: &M, limit: usize, mut frames: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    let start = frames.len();
    frames.extend([0; 4]);
    let mut frames = postcard::to_extend(message, frames).map_err(FrameError::Malformed)?;
    let body = frames.len() - start - 4;
    let length =
        u32::try_from(body).ok().filter(|_| body <= limit).ok_or(FrameError::TooLong(body, limit))?;
    frames[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(frames)
}

/// Writes one message.
pub async fn write<M: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), FrameError> {
    let frame = encode(message, MAX_FRAME)?;
    to.write_all(&frame).await.map_err(FrameError::Io)
}

/// Reads one message; memory is only taken as bytes arrive.
pub async fn read<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> Result<M, FrameError> {
    read_within(from, MAX_FRAME).await
}

/// Reads one message of at most `limit` bytes, on a channel where nothing long is ever said.
pub async fn read_within<M: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<M, FrameError> {
    let length = match from.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(FrameError::Closed),
        Err(error) => return Err(FrameError::Io(error)),
    };
    if length > limit {
        return Err(FrameError::TooLong(length, limit));
    }
    let mut body = Vec::new();
    let read = from.take(length as u64).read_to_end(&mut body).await.map_err(FrameError::Io)?;
    if read < length {
        return Err(FrameError::Closed);
    }
    postcard::from_bytes(&body).map_err(FrameError::Malformed)
}

/// Reads messages of a channel on which many short ones come: what arrived together is read at once.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from `from` on.
    pub fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new() }
    }

    /// The next message; memory is only taken as bytes arrive.
    pub async fn next<M: DeserializeOwned>(&mut self) -> Result<M, FrameError> {
        loop {
            if let Some(body) = self.split()? {
                return postcard::from_bytes(&body).map_err(FrameError::Malformed);
            }
            self.buffer.reserve(READ_AHEAD);
            if self.from.read_buf(&mut self.buffer).await.map_err(FrameError::Io)? == 0 {
                return Err(FrameError::Closed);
            }
        }
    }

    /// Takes the body of a frame that is all there.
    fn split(&mut self) -> Result<Option<BytesMut>, FrameError> {
        let Some(length) = self.buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length, MAX_FRAME));
        }
        if self.buffer.len() - 4 < length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_that_come_together_or_in_pieces_are_read_one_by_one() {
        let frames = append(&vec![2u8; 300], MAX_FRAME, encode(&vec![1u8; 3], MAX_FRAME).unwrap()).unwrap();
        for step in [1, 5, 4096] {
            let (mut ours, theirs) = tokio::io::duplex(step);
            let sent = frames.clone();
            let writer = tokio::spawn(async move { ours.write_all(&sent).await });
            let mut reader = Reader::new(theirs);
            assert_eq!(reader.next::<Vec<u8>>().await.unwrap(), vec![1; 3]);
            assert_eq!(reader.next::<Vec<u8>>().await.unwrap(), vec![2; 300]);
            writer.await.unwrap().unwrap();
            assert!(matches!(reader.next::<Vec<u8>>().await, Err(FrameError::Closed)));
        }
        let long = u32::MAX.to_be_bytes();
        assert!(matches!(Reader::new(&long[..]).next::<Vec<u8>>().await, Err(FrameError::TooLong(..))));
    }

    #[tokio::test]
    async fn a_message_arrives_whole_and_a_closed_channel_says_so() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let sent = vec![7u8; 1000];
        let writer = tokio::spawn(async move { write(&mut ours, &sent).await });
        assert_eq!(read::<Vec<u8>>(&mut theirs).await.unwrap(), vec![7u8; 1000]);
        writer.await.unwrap().unwrap();
        assert!(matches!(read::<Vec<u8>>(&mut theirs).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn an_oversized_or_malformed_frame_is_refused() {
        let long = u32::MAX.to_be_bytes();
        assert!(matches!(read::<Vec<u8>>(&mut &long[..]).await, Err(FrameError::TooLong(..))));
        let nonsense = [0, 0, 0, 1, 200];
        assert!(matches!(read::<Vec<u8>>(&mut &nonsense[..]).await, Err(FrameError::Malformed(_))));
        assert!(matches!(encode(&vec![0u8; 100], 50), Err(FrameError::TooLong(..))));
    }
}
