//! Names: asked for over the gate's sockets, refused by policy, and remembered for connections that say none.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::world::{Origin, World};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::ToApprover;

/// Where the resolver of these tests says every host is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

#[tokio::test]
async fn a_name_policy_refuses_is_answered_here_over_both_transports_and_recorded() {
    let origin = Origin::http().await;
    let resolver = resolver().await;
    let world = World::with(&origin.root, |config| config.resolvers = vec![resolver]).await;
    let asked = question("secret.denied.example.");
    assert_eq!(over_udp(&world, &asked).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(over_tcp(&world, &asked).await.metadata.response_code, ResponseCode::NXDomain);
    let ToApprover::NamesRefused { seq: 1, record } = world.approver.hear().await else {
        panic!("not refused names")
    };
    assert_eq!((record.agent.as_str(), record.parent.as_str()), ("bot", "denied.example"));
    assert_eq!((record.name.as_str(), record.judgement.verdict), ("secret.denied.example", Verdict::Deny));
    assert_eq!(over_tcp(&world, &question("open.example.")).await.answers.len(), 1);
}

// D3. DNS over TLS is a connection like any other, and what it says is no HTTP.
#[tokio::test]
async fn dns_over_tls_is_refused_like_everything_opaque_and_the_name_that_led_there_is_told() {
    let origin = Origin::http().await;
    let resolver = resolver().await;
    let world = World::with(&origin.root, |config| config.resolvers = vec![resolver]).await;
    over_udp(&world, &question("dns.example.")).await;
    for port in [853, 443] {
        let mut stream = world.tls((ADDRESS, port).into(), "dns.example", &[]).await.unwrap();
        let asked = question("secret.example.").to_vec().unwrap();
        let framed = [&u16::try_from(asked.len()).unwrap().to_be_bytes()[..], &asked].concat();
        stream.write_all(&framed).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "{port}");
        let record = world.approver.record().await;
        assert_eq!((record.judgement.verdict, record.destination.port), (Verdict::Deny, port));
        assert!(record.judgement.why.ends_with("; name asked for: dns.example"), "{}", record.judgement.why);
    }
    assert_eq!(origin.connections(), 0);
}

fn question(name: &str) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

async fn over_udp(world: &World, asked: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&asked.to_vec().unwrap(), world.dns).await.unwrap();
    let mut answer = [0; 4096];
    let length = socket.recv(&mut answer).await.unwrap();
    Message::from_vec(&answer[..length]).unwrap()
}

async fn over_tcp(world: &World, asked: &Message) -> Message {
    let mut stream = world.connect("192.0.2.53:53".parse().unwrap()).await;
    let asked = asked.to_vec().unwrap();
    stream.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

/// A resolver that knows one address for everything, but nothing below `denied.example`.
async fn resolver() -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let address = udp.local_addr().unwrap();
    let answer = |asked: &[u8]| {
        let asked = Message::from_vec(asked).unwrap();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        let name = asked.queries[0].name().clone();
        assert!(!name.to_ascii().contains("denied"), "{name} was asked for");
        answer.add_query(asked.queries[0].clone());
        answer.add_answer(Record::from_rdata(name, 30, RData::A(rdata::A(ADDRESS))));
        answer.to_vec().unwrap()
    };
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
            let answer = answer(&asked);
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}
