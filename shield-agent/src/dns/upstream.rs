//! One question to one resolver, from a fresh socket with a fresh id: what is guessed has to guess both.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpStream, UdpSocket};

use super::answer::{self, Answer, NoAnswer};
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
    (resolver, transport): (SocketAddr, Transport),
    question: &Question,
    has_route: fn(Ipv6Addr) -> bool,
) -> io::Result<Answer> {
    if transport == Transport::Udp
        && let Some(answer) = ask_udp(resolver, question, has_route).await?
    {
        return Ok(answer);
    }
    ask_tcp(resolver, question, has_route).await
}

/// `None` when the answer was cut.
async fn ask_udp(
    resolver: SocketAddr,
    question: &Question,
    has_route: fn(Ipv6Addr) -> bool,
) -> io::Result<Option<Answer>> {
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
        match answer::read((question, id), &datagram[..length], has_route) {
            Ok(answer) => return Ok(Some(answer)),
            // Anything else on this socket: keep waiting for the answer.
            Err(NoAnswer::Stray) => {}
            Err(NoAnswer::Cut) => return Ok(None),
            Err(NoAnswer::Unusable(why)) => return Err(io::Error::other(why)),
        }
    }
}

async fn ask_tcp(
    resolver: SocketAddr,
    question: &Question,
    has_route: fn(Ipv6Addr) -> bool,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(resolver).await?;
    let (id, message) = fresh(question)?;
    write_framed(&mut stream, &message).await?;
    answer::read((question, id), &read_framed(&mut stream).await?, has_route).map_err(|why| match why {
        NoAnswer::Stray => io::Error::other("it answered another question"),
        NoAnswer::Cut => io::Error::other("it is cut though there is room"),
        NoAnswer::Unusable(why) => io::Error::other(why),
    })
}

fn fresh(question: &Question) -> io::Result<(u16, Vec<u8>)> {
    let id = rand::random();
    let message = question.forwarded(id).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((id, message))
}
