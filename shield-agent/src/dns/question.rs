//! One question as an agent asked it: read strictly, written anew, and the answers we give ourselves. No I/O.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use shield_common::limits::INTERNAL_ADDRESS;

use super::INTERNAL_NAME;

/// Bytes of a DNS header.
const HEADER: usize = 12;
/// UDP payload every client accepts.
const SMALLEST_PAYLOAD: u16 = 512;
/// UDP payload we ask resolvers to stay within: no fragments on any usual path.
const PAYLOAD: u16 = 1232;
/// How long clients may keep our own address, in seconds.
const INTERNAL_TTL: u32 = 60;

/// A question worth forwarding.
#[derive(Debug)]
pub(super) struct Question {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
}

/// Why a message is not forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a question at all: answering it could only feed a loop.
    Silent,
    /// This answer instead.
    Answer(Vec<u8>),
}

impl Question {
    /// Reads a message that asks one thing, and nothing but that.
    pub(super) fn read(message: &[u8]) -> Result<Self, Refusal> {
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
        Ok(Self { metadata: read.metadata, query, edns: read.edns })
    }

    /// The question as it leaves the host, under an id of our own: name, type, and whether DNSSEC records are wanted.
    pub(super) fn forwarded(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.add_query(self.query.clone());
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        message.to_vec().ok()
    }

    /// The resolver's answer under the client's id, or `None` when it does not answer this question.
    pub(super) fn accept(&self, id: u16, mut answer: Vec<u8>) -> Option<Vec<u8>> {
        let mut decoder = BinDecoder::new(&answer);
        let header = hickory_proto::op::Header::read(&mut decoder).ok()?;
        let query = Query::read(&mut decoder).ok()?;
        let ours = header.metadata.id == id
            && header.metadata.message_type == MessageType::Response
            && header.counts.queries == 1
            && query == self.query;
        answer[..2].copy_from_slice(&self.metadata.id.to_be_bytes());
        ours.then_some(answer)
    }

    /// The answer for names under `shield.internal`, which no resolver is asked about.
    pub(super) fn answer_ours(&self) -> Option<Vec<u8>> {
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
            answer.add_answer(Record::from_rdata(self.query.name().clone(), INTERNAL_TTL, address));
        }
        answer.to_vec().ok()
    }

    /// The answer when no resolver gave one.
    pub(super) fn failed(&self) -> Vec<u8> {
        self.reply(ResponseCode::ServFail).to_vec().unwrap_or_default()
    }

    /// The answer itself if the client can take it over UDP; else one that sends the client to TCP.
    pub(super) fn fit(&self, answer: Vec<u8>) -> Vec<u8> {
        let room = self.edns.as_ref().map_or(SMALLEST_PAYLOAD, Edns::max_payload).max(SMALLEST_PAYLOAD);
        if answer.len() <= room.into() {
            return answer;
        }
        let mut cut = self.reply(ResponseCode::NoError);
        cut.metadata.truncation = true;
        cut.to_vec().unwrap_or_default()
    }

    fn reply(&self, code: ResponseCode) -> Message {
        let mut reply = reply(&self.metadata, code);
        reply.add_query(self.query.clone());
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
