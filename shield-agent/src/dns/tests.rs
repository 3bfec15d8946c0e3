//! The forwarder between a client and a resolver made of two sockets on loopback.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use shield_common::limits::INTERNAL_ADDRESS;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::dns::question::Refusal;
use crate::flow::policy;

mod hostile;
mod judged;

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The one address of its kind there is a way to.
const REACHED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const UNREACHED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8);

#[tokio::test]
async fn a_question_is_answered_under_the_clients_id_and_leaves_under_another() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let mut other_ids = 0;
    for id in [0u16, 1, 7, 65535] {
        let answer = client.ask(&question(id, "CRM.acme.internal.", RecordType::A)).await;
        assert_eq!(answer.metadata.id, id);
        assert_eq!(addresses(&answer), [ADDRESS]);
        assert_eq!(answer.queries[0].name().to_string(), "CRM.acme.internal.", "as it was spelled");
        other_ids += usize::from(resolver.seen().last().unwrap().metadata.id != id);
    }
    assert!(other_ids >= 3, "ids of our own are random");
}

#[tokio::test]
async fn nothing_but_the_question_leaves_the_host() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let mut asked = question(1, "crm.acme.internal.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    edns.options_mut().insert(hickory_proto::rr::rdata::opt::EdnsOption::Unknown(65001, b"secret".to_vec()));
    asked.set_edns(edns);
    asked.metadata.authentic_data = true;
    asked.metadata.checking_disabled = true;
    client.ask(&asked).await;

    let seen = resolver.seen().pop().unwrap();
    let edns = seen.edns.as_ref().unwrap();
    assert!(edns.options().as_ref().is_empty() && !edns.flags().dnssec_ok);
    assert_eq!((edns.max_payload(), &seen.queries), (1232, &asked.queries));
    assert!(!seen.metadata.authentic_data && !seen.metadata.checking_disabled);

    // Case and flags would be letters too: two spellings leave as one.
    let mut spelled = question(1, "cRm.aCmE.iNtErNaL.", RecordType::A);
    spelled.metadata.recursion_desired = false;
    spelled.metadata.checking_disabled = true;
    let answer = client.ask(&spelled).await;
    assert_eq!(answer.queries[0].name().to_string(), "cRm.aCmE.iNtErNaL.", "the client sees its own");
    let mut again = resolver.seen().pop().unwrap();
    again.metadata.id = seen.metadata.id;
    assert_eq!(again.to_vec().unwrap(), seen.to_vec().unwrap());
}

#[tokio::test]
async fn an_address_this_host_has_no_way_to_is_left_out() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let answer = client.ask(&question(1, "crm.acme.internal.", RecordType::AAAA)).await;
    let told: Vec<_> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    assert_eq!(told, [IpAddr::from(REACHED)]);
    assert!(client.asker.names_of(UNREACHED.into()).is_empty(), "nobody was told");
}

#[tokio::test]
async fn our_own_name_is_answered_here_and_never_asked_for() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let ask = async |name: &str, kind| client.ask(&question(9, name, kind)).await;

    let answer = ask("Shield.Internal.", RecordType::A).await;
    assert_eq!(addresses(&answer), [Ipv4Addr::from(INTERNAL_ADDRESS)]);
    let empty = ask("shield.internal.", RecordType::AAAA).await;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    let below = ask("x.shield.internal.", RecordType::A).await;
    assert_eq!(below.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(resolver.seen(), []);
    let beside = ask("notshield.internal.", RecordType::A).await;
    assert_eq!(addresses(&beside), [ADDRESS]);
}

#[tokio::test]
async fn garbage_is_refused_and_never_forwarded() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let good = question(5, "a.example.", RecordType::A);
    let bytes = good.to_vec().unwrap();
    let two = {
        let mut two = good.clone();
        two.add_query(two.queries[0].clone());
        two
    };
    let with_answer = answer_to(&good, vec![record(&good)]);
    let with_answer = {
        let mut asked = with_answer;
        asked.metadata.message_type = MessageType::Query;
        asked
    };
    let update = {
        let mut update = good.clone();
        update.metadata.op_code = OpCode::Update;
        update
    };

    for (code, message) in [
        (ResponseCode::FormErr, [&bytes[..], b"trailing"].concat()),
        (ResponseCode::FormErr, bytes[..bytes.len() - 1].to_vec()),
        (ResponseCode::FormErr, two.to_vec().unwrap()),
        (ResponseCode::FormErr, with_answer.to_vec().unwrap()),
        (ResponseCode::NotImp, update.to_vec().unwrap()),
        (ResponseCode::Refused, question(5, "a.example.", RecordType::AXFR).to_vec().unwrap()),
        (ResponseCode::Refused, question(5, "a.example.", RecordType::ANY).to_vec().unwrap()),
    ] {
        let answer = client.ask_bytes(&message).await;
        assert_eq!((answer.metadata.id, answer.metadata.response_code), (5, code), "{message:?}");
    }
    assert_eq!(resolver.seen(), []);
}

#[test]
fn what_is_not_a_question_gets_no_answer() {
    let asked = question(5, "a.example.", RecordType::A);
    let answer = answer_to(&asked, vec![]).to_vec().unwrap();
    for message in [&answer[..], &answer[..20], b"", b"x", &asked.to_vec().unwrap()[..11]] {
        assert_eq!(Question::read(message).unwrap_err(), Refusal::Silent, "{message:?}");
    }
}

#[tokio::test]
async fn a_forged_answer_is_ignored_and_the_real_one_awaited() {
    let resolver = Resolver::start(Behaviour::ForgeFirst).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let answer = client.ask(&question(3, "a.example.", RecordType::A)).await;
    assert_eq!(addresses(&answer), [ADDRESS]);
}

#[tokio::test]
async fn a_silent_resolver_is_left_for_the_next_and_a_silent_network_is_said() {
    let (silent, alive) =
        (Resolver::start(Behaviour::Silent).await, Resolver::start(Behaviour::Answer).await);
    let client = Client::over_udp(&[silent.address, alive.address]).await;
    assert_eq!(addresses(&client.ask(&question(1, "a.example.", RecordType::A)).await), [ADDRESS]);

    let client = Client::over_udp(&[silent.address]).await;
    let answer = client.ask(&question(2, "a.example.", RecordType::A)).await;
    assert_eq!((answer.metadata.id, answer.metadata.response_code), (2, ResponseCode::ServFail));
    assert_eq!(silent.seen().len(), 1 + TRIES);
}

#[tokio::test]
async fn a_cut_answer_is_fetched_over_tcp_and_cut_again_for_a_client_without_room() {
    let resolver = Resolver::start(Behaviour::LongOverTcp).await;
    let client = Client::over_udp(&[resolver.address]).await;
    let mut roomy = question(1, "long.example.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    roomy.set_edns(edns);
    let whole = client.ask(&roomy).await;
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 100));

    let cut = client.ask(&question(2, "long.example.", RecordType::A)).await;
    assert_eq!((cut.metadata.truncation, cut.answers.len()), (true, 0));
}

#[tokio::test]
async fn questions_over_tcp_are_answered_one_after_the_other() {
    let resolver = Resolver::start(Behaviour::LongOverTcp).await;
    let asker = asker(&[resolver.address], "");
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(async move { serve_tcp(server, &asker).await });
    for id in [4, 5] {
        let asked = question(id, "long.example.", RecordType::A).to_vec().unwrap();
        write_framed(&mut client, &asked).await.unwrap();
        let answer = Message::from_vec(&read_framed(&mut client).await.unwrap()).unwrap();
        assert_eq!((answer.metadata.id, answer.answers.len()), (id, 100));
    }
    drop(client);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn when_too_many_are_under_way_the_next_fails_at_once() {
    let silent = Resolver::start(Behaviour::Silent).await;
    let asker = asker(&[silent.address], "").without_room();
    let asked = question(1, "a.example.", RecordType::A).to_vec().unwrap();
    let answer = asker.answer(&asked, Transport::Udp).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert_eq!(silent.seen(), []);
}

/// A client and the forwarder it asks.
struct Client {
    asker: Arc<Asker>,
    socket: UdpSocket,
    _serving: JoinSet<io::Error>,
}

impl Client {
    async fn over_udp(resolvers: &[SocketAddr]) -> Self {
        Self::under(resolvers, "").await
    }

    async fn under(resolvers: &[SocketAddr], policy: &str) -> Self {
        let server = UdpSocket::bind(LOOPBACK).await.unwrap();
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        socket.connect(server.local_addr().unwrap()).await.unwrap();
        let mut serving = JoinSet::new();
        let asker = Arc::new(asker(resolvers, policy));
        serving.spawn(serve_udp(server, Arc::clone(&asker)));
        Self { asker, socket, _serving: serving }
    }

    async fn ask(&self, message: &Message) -> Message {
        self.ask_bytes(&message.to_vec().unwrap()).await
    }

    async fn ask_bytes(&self, message: &[u8]) -> Message {
        self.socket.send(message).await.unwrap();
        let mut answer = vec![0; 65535];
        let length = self.socket.recv(&mut answer).await.unwrap();
        Message::from_vec(&answer[..length]).unwrap()
    }
}

fn asker(resolvers: &[SocketAddr], policy: &str) -> Asker {
    let text = format!("version: 1\n{policy}");
    let compiled: Box<dyn Judge> = Box::new(policy::Policy::compile(&[("test".into(), text)]).unwrap());
    let running: Policy = Arc::new(ArcSwapOption::from_pointee(compiled));
    let forwarder = Forwarder {
        resolvers: resolvers.to_vec(),
        limits: Limits::default(),
        policy: running,
        try_timeout: Duration::from_millis(300),
        has_route: |address| address == REACHED,
        slots: Semaphore::new(MAX_UNDER_WAY),
    };
    Asker::new("bot".parse().unwrap(), Arc::new(forwarder))
}

#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Answer,
    Silent,
    /// First an answer under another id and one to another question, then the real one.
    ForgeFirst,
    /// Cut over UDP, a hundred records over TCP.
    LongOverTcp,
}

/// A resolver that notes what it was asked.
struct Resolver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
    _serving: JoinSet<()>,
}

impl Resolver {
    async fn start(behaviour: Behaviour) -> Self {
        let tcp = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        serving.spawn(Self::serve_udp(udp, behaviour, Arc::clone(&seen)));
        serving.spawn(Self::serve_tcp(tcp));
        Self { address, seen, _serving: serving }
    }

    fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    async fn serve_udp(socket: UdpSocket, behaviour: Behaviour, seen: Arc<Mutex<Vec<Message>>>) {
        let mut datagram = vec![0; 65535];
        loop {
            let (length, client) = socket.recv_from(&mut datagram).await.unwrap();
            let asked = Message::from_vec(&datagram[..length]).unwrap();
            seen.lock().unwrap().push(asked.clone());
            let real = answer_to(&asked, records(&asked));
            let answers = match behaviour {
                Behaviour::Silent => vec![],
                Behaviour::Answer => vec![real],
                Behaviour::LongOverTcp => vec![{
                    let mut cut = answer_to(&asked, vec![]);
                    cut.metadata.truncation = true;
                    cut
                }],
                Behaviour::ForgeFirst => {
                    let mut other_id = answer_to(&asked, vec![]);
                    other_id.metadata.id = asked.metadata.id.wrapping_add(1);
                    let elsewhere = question(asked.metadata.id, "b.example.", RecordType::A);
                    vec![other_id, answer_to(&elsewhere, vec![]), asked.clone(), real]
                }
            };
            for answer in answers {
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        }
    }

    async fn serve_tcp(listener: TcpListener) {
        loop {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            let asked = Message::from_vec(&read_framed(&mut stream).await.unwrap()).unwrap();
            let answer = answer_to(&asked, vec![record(&asked); 100]);
            write_framed(&mut stream, &answer.to_vec().unwrap()).await.unwrap();
        }
    }
}

fn question(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn answer_to(asked: &Message, records: Vec<Record>) -> Message {
    let mut answer = Message::response(asked.metadata.id, OpCode::Query);
    answer.add_queries(asked.queries.clone());
    answer.add_answers(records);
    answer
}

/// An address, or two of the other kind.
fn records(asked: &Message) -> Vec<Record> {
    if asked.queries[0].query_type() != RecordType::AAAA {
        return vec![record(asked)];
    }
    let of = |address| RData::AAAA(rdata::AAAA(address));
    let record = |address| Record::from_rdata(asked.queries[0].name().clone(), 30, of(address));
    [UNREACHED, REACHED].map(record).into()
}

fn record(asked: &Message) -> Record {
    Record::from_rdata(asked.queries[0].name().clone(), 30, RData::A(rdata::A(ADDRESS)))
}

fn addresses(answer: &Message) -> Vec<Ipv4Addr> {
    answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .collect()
}
