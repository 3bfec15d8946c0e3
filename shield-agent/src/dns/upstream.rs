//! One question to one resolver, from a fresh socket with a fresh id: what is guessed has to guess both.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UdpSocket};

use super::question::Question;
use super::{read_framed, write_framed};

/// Largest UDP answer read, in bytes.
const MAX_DATAGRAM: usize = 4096;

/// How a question travels: as the agent asked it, so that what fits is the client's to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Puts the question to `resolver` and waits for an answer to it; over TCP too when the UDP answer was cut.
pub(super) async fn ask(
    resolver: SocketAddr,
    question: &Question,
    transport: Transport,
) -> io::Result<Vec<u8>> {
    if transport == Transport::Udp {
        let answer = ask_udp(resolver, question).await?;
        if !is_cut(&answer) {
            return Ok(answer);
        }
    }
    ask_tcp(resolver, question).await
}

async fn ask_udp(resolver: SocketAddr, question: &Question) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if resolver.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    let (id, message) = fresh(question)?;
    socket.send(&message).await?;
    let mut datagram = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        // Anything else on this socket is a guess or a stray: keep waiting for the answer.
        if let Some(answer) = question.accept(id, datagram[..length].to_vec()) {
            return Ok(answer);
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let (id, message) = fresh(question)?;
    write_framed(&mut stream, &message).await?;
    let answer = read_framed(&mut stream).await?;
    question.accept(id, answer).ok_or_else(|| io::Error::other("it answered another question"))
}

fn fresh(question: &Question) -> io::Result<(u16, Vec<u8>)> {
    let id = rand::random();
    let message = question.forwarded(id).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((id, message))
}

/// Whether the answer says that it does not hold everything (TC).
fn is_cut(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & 0x02 != 0)
}
