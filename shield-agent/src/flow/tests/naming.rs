//! Names: asked for over the gate's sockets, refused by policy, and remembered for connections that say none.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{Origin, World, question, resolver};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::ToApprover;

/// Where the resolver of these tests says every host is.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

#[tokio::test]
async fn a_name_policy_refuses_is_answered_here_over_both_transports_and_recorded() {
    let origin = Origin::http().await;
    let resolver = resolver(&[ADDRESS]).await;
    let world = World::with(&origin.root, |config| config.resolvers = vec![resolver]).await;
    let asked = question("secret.denied.example.");
    assert_eq!(world.look_up(&asked).await.metadata.response_code, ResponseCode::NXDomain);
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
    let resolver = resolver(&[ADDRESS]).await;
    let world = World::with(&origin.root, |config| config.resolvers = vec![resolver]).await;
    world.look_up(&question("dns.example.")).await;
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

async fn over_tcp(world: &World, asked: &Message) -> Message {
    let mut stream = world.connect("192.0.2.53:53".parse().unwrap()).await;
    let asked = asked.to_vec().unwrap();
    stream.write_u16(u16::try_from(asked.len()).unwrap()).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}
