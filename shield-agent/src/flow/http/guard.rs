//! A stream that hands on HTTP/1 messages only while they can be read in exactly one way.
//!
//! ```text
//! Head ──clear──► Body(n) ─────────────► Head
//!   │    ├──────► Chunks ──last chunk──► Head
//!   │    └──────► Offered: nothing more is handed on; what was read beyond the head is given back at the end
//!   └─unclear─► refused: nothing more is handed on, the reader sees the end of the stream
//! ```
//! Everything that was read at once is checked before any of it is handed on, so a message that arrives whole and
//! turns out bad was never seen by anyone.

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head::{self, Framing};
use super::unclear::Unclear;
use crate::flow::limits::HttpLimits;

const READ_SIZE: usize = 8 << 10;

/// See the module.
pub struct Guard<S> {
    stream: S,
    state: State,
    /// Checked bytes, then from `checked` on the beginning of a head that is not complete.
    buffer: BytesMut,
    checked: usize,
    first: bool,
    /// Whether the message under way was already handed on in part.
    open: bool,
    /// Until when the client has to begin.
    silence: Option<Pin<Box<Sleep>>>,
    /// Until when a head that began has to be complete.
    due: Option<Pin<Box<Sleep>>>,
    limits: HttpLimits,
    refused: Option<Refused>,
}

/// Why the guard stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong.
    pub why: Unclear,
    /// Whether the message's head was already handed on: then whoever reads its body answers.
    pub under_way: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head {
        scanned: usize,
    },
    Body {
        left: u64,
    },
    Chunks(Chunk),
    /// The head offered another protocol: what follows is for whoever accepts it.
    Offered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size { size: u64, digits: u8 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LastCr,
    LastLf,
}

const CHUNKS: State = State::Chunks(Chunk::Size { size: 0, digits: 0 });
const HEAD: State = State::Head { scanned: 0 };

impl<S> Guard<S> {
    /// Guards what is read from `stream`; what is written passes. Silence for longer than `silence` is not HTTP.
    pub fn new(stream: S, silence: Option<Duration>, limits: HttpLimits) -> Self {
        let silence = silence.map(|silence| Box::pin(sleep(silence)));
        Self {
            stream,
            state: HEAD,
            buffer: BytesMut::new(),
            checked: 0,
            first: true,
            open: false,
            silence,
            due: None,
            limits,
            refused: None,
        }
    }

    /// The stream itself, what was read of it and not handed on, and why reading stopped if it was refused. Of a refused
    /// message nothing is given back, but of a connection that is not HTTP everything.
    pub fn into_parts(self) -> (S, BytesMut, Option<Refused>) {
        (self.stream, self.buffer, self.refused)
    }

    /// Checks what was added to the buffer since `checked`.
    fn check(&mut self) -> Result<(), Unclear> {
        while self.checked < self.buffer.len() && self.state != State::Offered {
            let rest = &self.buffer[self.checked..];
            let (state, used) = match self.state {
                State::Head { scanned } => match end_of_head(rest, scanned, self.first, self.limits.head)? {
                    None => {
                        self.state = State::Head { scanned: rest.len() };
                        return Ok(());
                    }
                    Some(end) => {
                        let framing =
                            head::check(&rest[..end], self.limits.fields).map_err(|why| match why {
                                // A connection that spoke HTTP is not something else later.
                                Unclear::NotHttp if !self.first => {
                                    Unclear::Ambiguous("a request line is malformed")
                                }
                                why => why,
                            })?;
                        self.first = false;
                        (after_head(framing), end)
                    }
                },
                State::Body { left } => {
                    let used = left.min(rest.len() as u64);
                    (if left == used { HEAD } else { State::Body { left: left - used } }, used as usize)
                }
                State::Chunks(chunk) => after_chunk_bytes(chunk, rest)?,
                State::Offered => return Ok(()),
            };
            (self.state, self.checked) = (state, self.checked + used);
        }
        Ok(())
    }

    fn refuse(&mut self, why: Unclear) {
        if why != Unclear::NotHttp {
            self.buffer.clear();
        }
        self.refused = Some(Refused { why, under_way: self.open });
        self.checked = 0;
    }
}

/// The end of a head in `rest`, of which `scanned` bytes were seen before. On the `first` head of a connection, what
/// does not begin like HTTP is told from what is bad HTTP.
fn end_of_head(rest: &[u8], scanned: usize, first: bool, longest: usize) -> Result<Option<usize>, Unclear> {
    if first && !head::may_be_http(rest) {
        return Err(Unclear::NotHttp);
    }
    for (index, &byte) in rest.iter().enumerate().skip(scanned) {
        let after_cr = index > 0 && rest[index - 1] == b'\r';
        if (byte == b'\n') != after_cr {
            return Err(Unclear::Ambiguous("a line does not end in exactly CR LF"));
        }
        if byte == b'\n' && index < 2 {
            return Err(Unclear::Ambiguous("an empty line comes before the request line"));
        }
        if index >= longest {
            return Err(Unclear::TooLong(longest));
        }
        if byte == b'\n' && rest[..=index].ends_with(b"\r\n\r\n") {
            return Ok(Some(index + 1));
        }
    }
    Ok(None)
}

fn after_head(framing: Framing) -> State {
    match framing {
        Framing::Length(0) => HEAD,
        Framing::Length(left) => State::Body { left },
        Framing::Chunked => CHUNKS,
        Framing::Upgrade => State::Offered,
    }
}

/// Moves on over chunk framing; returns how many bytes were taken.
fn after_chunk_bytes(chunk: Chunk, rest: &[u8]) -> Result<(State, usize), Unclear> {
    let expect = |byte: u8, next: State, why| match rest[0] == byte {
        true => Ok((next, 1)),
        false => Err(Unclear::Ambiguous(why)),
    };
    match chunk {
        Chunk::Size { size, digits } => match (char::from(rest[0]).to_digit(16), digits) {
            (Some(digit), 0..=14) => {
                let size = size << 4 | u64::from(digit);
                Ok((State::Chunks(Chunk::Size { size, digits: digits + 1 }), 1))
            }
            (None, 1..) => expect(
                b'\r',
                State::Chunks(Chunk::SizeEnd { size }),
                "a chunk's size is followed by something",
            ),
            _ => Err(Unclear::Ambiguous("a chunk's size is not a hexadecimal number")),
        },
        Chunk::SizeEnd { size } => {
            let next = if size == 0 { Chunk::LastCr } else { Chunk::Data { left: size } };
            expect(b'\n', State::Chunks(next), "a chunk's size does not end in CR LF")
        }
        Chunk::Data { left } => {
            let used = left.min(rest.len() as u64);
            let next = if left == used { Chunk::DataCr } else { Chunk::Data { left: left - used } };
            Ok((State::Chunks(next), used as usize))
        }
        Chunk::DataCr => expect(b'\r', State::Chunks(Chunk::DataLf), "a chunk is longer than its size"),
        Chunk::DataLf => expect(b'\n', CHUNKS, "a chunk does not end in CR LF"),
        Chunk::LastCr => {
            expect(b'\r', State::Chunks(Chunk::LastLf), "trailers in a request are not passed on")
        }
        Chunk::LastLf => expect(b'\n', HEAD, "the last chunk does not end in CR LF"),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.checked > 0 {
                let count = this.checked.min(out.remaining());
                out.put_slice(&this.buffer[..count]);
                this.buffer.advance(count);
                this.checked -= count;
                if this.buffer.is_empty() {
                    // Most connections are silent most of the time, and then hold nothing here.
                    this.buffer = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.refused.is_some() {
                return Poll::Ready(Ok(()));
            }
            if let State::Body { left } = this.state {
                return this.poll_read_body(cx, out, left);
            }
            // A client that sends on before it is answered is read so far, to notice when it leaves.
            if this.state == State::Offered && this.buffer.len() >= READ_SIZE {
                return Poll::Pending;
            }
            let mut read = [MaybeUninit::uninit(); READ_SIZE];
            let mut read = ReadBuf::uninit(&mut read);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read)? {
                Poll::Ready(()) if read.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(()) => this.silence = None,
                Poll::Pending => {
                    let why = ready!(this.poll_patience(cx));
                    this.refuse(why);
                    continue;
                }
            }
            this.buffer.extend_from_slice(read.filled());
            match this.check() {
                Ok(()) => this.open = !matches!(this.state, State::Head { .. } | State::Offered),
                Err(why) => this.refuse(why),
            }
        }
    }
}

impl<S> Guard<S> {
    /// Ready when the client took too long to begin, or over a head it began.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Unclear> {
        if let Some(silence) = &mut self.silence {
            ready!(silence.as_mut().poll(cx));
            return Poll::Ready(Unclear::NotHttp);
        }
        if self.buffer.is_empty() || !matches!(self.state, State::Head { .. }) {
            self.due = None;
            return Poll::Pending;
        }
        let within = self.limits.head_within;
        let due = self.due.get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(due.as_mut().poll(cx));
        Poll::Ready(Unclear::TooSlow(within))
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// A body of known length needs no look: it goes straight into the reader's buffer.
    fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<()>> {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining());
        let mut part = out.take(limit);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        let (read, filled) = (part.filled().len(), part.initialized().len());
        // SAFETY: `part` is the unfilled rest of `out`, and its first `filled` bytes were initialised just now.
        unsafe { out.assume_init(filled) };
        out.advance(read);
        self.state = if read as u64 == left { HEAD } else { State::Body { left: left - read as u64 } };
        self.open = left > read as u64;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
