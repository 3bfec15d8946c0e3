//! The resolver behind ours, and questions of an agent.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::World;

/// A question for the IPv4 addresses of a name.
pub(in crate::flow::tests) fn question(name: &str) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

impl World {
    /// The answer the agent gets over UDP.
    pub(in crate::flow::tests) async fn look_up(&self, asked: &Message) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&asked.to_vec().unwrap(), self.dns).await.unwrap();
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).await.unwrap();
        Message::from_vec(&answer[..length]).unwrap()
    }
}

/// A resolver that says these are the addresses of every host, and is not asked for anything below `denied.example`.
pub(in crate::flow::tests) async fn resolver(addresses: &[Ipv4Addr]) -> SocketAddr {
    let addresses = addresses.to_vec();
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let place = udp.local_addr().unwrap();
    let answer = move |asked: &[u8]| {
        let asked = Message::from_vec(asked).unwrap();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        let name = asked.queries[0].name().clone();
        assert!(!name.to_ascii().contains("denied"), "{name} was asked for");
        answer.add_query(asked.queries[0].clone());
        for address in &addresses {
            answer.add_answer(Record::from_rdata(name.clone(), 30, RData::A(rdata::A(*address))));
        }
        answer.to_vec().unwrap()
    };
    let over_tcp = answer.clone();
    tokio::spawn(async move {
        let mut datagram = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut datagram).await {
            udp.send_to(&answer(&datagram[..length]), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut asked = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut asked).await.unwrap();
            let answer = over_tcp(&asked);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    place
}
