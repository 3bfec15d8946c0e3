//! One question as an agent asked it: read strictly, written anew, and the answers we give ourselves. No I/O.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use shield_common::limits::INTERNAL_ADDRESS;

use super::INTERNAL_NAME;
use crate::flow::http::host;

/// Bytes of a DNS header.
const HEADER: usize = 12;
/// UDP payload every client accepts.
const SMALLEST_PAYLOAD: u16 = 512;
/// UDP payload we ask resolvers to stay within: no fragments on any usual path.
const PAYLOAD: u16 = 1232;
/// How long clients may keep our own address, in seconds.
const INTERNAL_TTL: u32 = 60;
/// EDNS option that says why there is no other answer (RFC 8914), and its code for what policy does not let pass.
const EXTENDED_ERROR: u16 = 15;
const PROHIBITED: u16 = 18;
/// Types whose names begin with those of services, such as `_https._tcp`.
const OF_SERVICES: [RecordType; 5] =
    [RecordType::SRV, RecordType::SVCB, RecordType::HTTPS, RecordType::TXT, RecordType::TLSA];

/// A question worth forwarding.
#[derive(Debug)]
pub struct Question {
    metadata: Metadata,
    /// As it leaves: in lower case, for the case of letters can say something too.
    query: Query,
    /// As the client spelled it, which some compare.
    spelled: Query,
    edns: Option<Edns>,
    name: Arc<str>,
}

/// Why a message is not forwarded.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a question at all: answering it could only feed a loop.
    Silent,
    /// This answer instead.
    Answer(Vec<u8>),
}

impl Question {
    /// Reads a message that asks one thing, and nothing but that.
    pub fn read(message: &[u8]) -> Result<Self, Refusal> {
        let mut decoder = BinDecoder::new(message);
        let Ok(mut read) = Message::read(&mut decoder) else { return Err(malformed(message)) };
        if read.metadata.message_type != MessageType::Query {
            return Err(Refusal::Silent);
        }
        if read.metadata.op_code != OpCode::Query {
            return Err(refusal(&read.metadata, ResponseCode::NotImp));
        }
        let extra = !read.answers.is_empty()
            || !read.authorities.is_empty()
            || !read.additionals.is_empty()
            || read.signature.is_some()
            || !decoder.is_empty();
        let query = match (read.queries.pop(), read.queries.is_empty()) {
            (Some(query), true) if !extra => query,
            _ => return Err(refusal(&read.metadata, ResponseCode::FormErr)),
        };
        // Transfers answer in many messages, and ANY is of use to amplifiers only.
        let kind = query.query_type();
        if query.query_class() != DNSClass::IN
            || matches!(kind, RecordType::AXFR | RecordType::IXFR | RecordType::ANY)
        {
            return Err(refusal(&read.metadata, ResponseCode::Refused));
        }
        let mut lower = query.clone();
        lower.set_name(query.name().to_lowercase());
        let name = lower.name().to_ascii();
        let name = name.strip_suffix('.').unwrap_or(&name).into();
        let (metadata, edns) = (read.metadata, read.edns);
        Ok(Self { metadata, query: lower, spelled: query, edns, name })
    }

    /// Where a host is, in one of the two families; `None` when that is no name to ask for.
    pub fn of(host: &str, v6: bool) -> Option<Self> {
        let mut message = Message::query();
        let kind = if v6 { RecordType::AAAA } else { RecordType::A };
        message.add_query(Query::query(Name::from_ascii(format!("{host}.")).ok()?, kind));
        Self::read(&message.to_vec().ok()?).ok()
    }

    /// The name that is asked for, in lower case and without the dot at its end.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is asked of it.
    pub fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// What is asked, as it leaves.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The host this is about, as policy names hosts; `None` when it is about none, such as names of other letters.
    pub fn host(&self) -> Option<String> {
        let kind = self.kind();
        if kind == RecordType::PTR {
            let network = self.query.name().parse_arpa_name().ok()?;
            let whole = network.prefix_len() == network.max_prefix_len();
            return whole.then(|| network.addr().to_string());
        }
        let mut host = &*self.name;
        while OF_SERVICES.contains(&kind)
            && host.starts_with('_')
            && let Some((_, rest)) = host.split_once('.')
        {
            host = rest;
        }
        host::canonical(host).ok()
    }

    /// The question as it leaves the host, under an id of our own: name and type.
    pub fn forwarded(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        message.set_edns(edns);
        message.to_vec().ok()
    }

    /// The answer for names under `shield.internal`, which no resolver is asked about.
    pub fn answer_ours(&self) -> Option<Vec<u8>> {
        let ours = Name::from_ascii(INTERNAL_NAME).ok()?;
        if !ours.zone_of(self.query.name()) {
            return None;
        }
        let mut answer = self.reply(ResponseCode::NoError);
        answer.metadata.authoritative = true;
        if *self.query.name() != ours {
            answer.metadata.response_code = ResponseCode::NXDomain;
        } else if self.query.query_type() == RecordType::A {
            let address = RData::A(rdata::A(Ipv4Addr::from(INTERNAL_ADDRESS)));
            answer.add_answer(Record::from_rdata(self.spelled.name().clone(), INTERNAL_TTL, address));
        }
        answer.to_vec().ok()
    }

    /// The answer when no resolver gave one.
    pub fn failed(&self) -> Vec<u8> {
        self.reply(ResponseCode::ServFail).to_vec().unwrap_or_default()
    }

    /// The answer to what is not asked of anybody, with the reason for clients that read it.
    pub fn refused(&self, code: ResponseCode, why: &str) -> Vec<u8> {
        let mut reply = self.reply(code);
        if let Some(edns) = &mut reply.edns {
            let why = [&PROHIBITED.to_be_bytes(), why.as_bytes()].concat();
            edns.options_mut().insert(EdnsOption::Unknown(EXTENDED_ERROR, why));
        }
        reply.to_vec().unwrap_or_default()
    }

    /// The answer itself if the client can take it over UDP; else one that sends the client to TCP.
    pub fn fit(&self, answer: Vec<u8>) -> Vec<u8> {
        let room = self.edns.as_ref().map_or(SMALLEST_PAYLOAD, Edns::max_payload).max(SMALLEST_PAYLOAD);
        if answer.len() <= room.into() {
            return answer;
        }
        let mut cut = self.reply(ResponseCode::NoError);
        cut.metadata.truncation = true;
        cut.to_vec().unwrap_or_default()
    }

    /// An answer without records.
    pub fn reply(&self, code: ResponseCode) -> Message {
        let mut reply = reply(&self.metadata, code);
        reply.add_query(self.spelled.clone());
        if self.edns.is_some() {
            reply.set_edns(Edns::new());
        }
        reply
    }
}

fn reply(asked: &Metadata, code: ResponseCode) -> Message {
    let mut reply = Message::response(asked.id, asked.op_code);
    reply.metadata = Metadata::response_from_request(asked);
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply
}

fn refusal(asked: &Metadata, code: ResponseCode) -> Refusal {
    reply(asked, code).to_vec().map_or(Refusal::Silent, Refusal::Answer)
}

fn malformed(message: &[u8]) -> Refusal {
    let [high, low, flags, ..] = *message else { return Refusal::Silent };
    let is_answer = flags & 0x80 != 0;
    if is_answer || message.len() < HEADER {
        return Refusal::Silent;
    }
    let id = u16::from_be_bytes([high, low]);
    refusal(&Metadata::new(id, MessageType::Query, OpCode::Query), ResponseCode::FormErr)
}
