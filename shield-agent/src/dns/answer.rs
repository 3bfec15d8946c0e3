//! A resolver's answer, read and written anew: only what answers the question, in bounds, and nothing that leads around us.

use std::net::{IpAddr, Ipv6Addr};

use hickory_proto::op::{Header, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};

use super::question::Question;
use super::service;

/// Aliases followed from the name that was asked for.
const MAX_ALIASES: usize = 8;
/// Records of an answer that is read at all.
const MAX_RECORDS: u16 = 512;

/// An answer for the agent.
#[derive(Debug)]
pub struct Answer {
    /// The message, under the client's id.
    pub message: Vec<u8>,
    /// Where the name is, and for how many seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Why a message is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It answers another question: a guess or a stray.
    Stray,
    /// It does not hold everything and has to be fetched over TCP.
    Cut,
    /// It cannot be used; why.
    Unusable(&'static str),
}

/// Reads what a resolver said to the question, put under the id. Addresses without a route are left out.
pub fn read(
    (question, id): (&Question, u16),
    message: &[u8],
    has_route: impl Fn(Ipv6Addr) -> bool,
) -> Result<Answer, NoAnswer> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).map_err(|_| NoAnswer::Stray)?;
    let asked = Query::read(&mut decoder).map_err(|_| NoAnswer::Stray)?;
    let ours = header.metadata.id == id
        && header.metadata.message_type == MessageType::Response
        && header.counts.queries == 1
        && asked == *question.query();
    if !ours {
        return Err(NoAnswer::Stray);
    }
    if header.metadata.truncation {
        return Err(NoAnswer::Cut);
    }
    let counts = [header.counts.answers, header.counts.authorities, header.counts.additionals];
    if counts.iter().map(|count| u32::from(*count)).sum::<u32>() > MAX_RECORDS.into() {
        return Err(NoAnswer::Unusable("it has too many records"));
    }
    let read = Message::from_vec(message).map_err(|_| NoAnswer::Unusable("it cannot be read"))?;
    let code = match read.metadata.response_code {
        code @ (ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::Refused) => code,
        _ => ResponseCode::ServFail,
    };
    let mut records = relevant(&read.answers, question.query(), &has_route)?;
    records.retain(|record| match &record.data {
        RData::AAAA(address) => has_route(address.0),
        _ => true,
    });
    let addresses = records.iter().filter_map(|record| Some((record.data.ip_addr()?, record.ttl))).collect();
    let mut reply = question.reply(code);
    reply.add_answers(records);
    // How long there is nothing may be kept.
    let soa = |record: &&Record| record.record_type() == RecordType::SOA;
    reply.add_authorities(read.authorities.iter().find(soa).cloned());
    let message = reply.to_vec().map_err(|_| NoAnswer::Unusable("it cannot be written"))?;
    Ok(Answer { message, addresses })
}

/// The records that answer the question: aliases from its name on, and what was asked for at their end.
fn relevant(
    records: &[Record],
    query: &Query,
    has_route: impl Fn(Ipv6Addr) -> bool,
) -> Result<Vec<Record>, NoAnswer> {
    let kind = query.query_type();
    let mut kept = Vec::new();
    let mut owner: &Name = query.name();
    for _ in 0..=MAX_ALIASES {
        let of_owner = |record: &&Record| record.name == *owner && record.dns_class == query.query_class();
        let wanted = records.iter().filter(of_owner).filter(|record| record.record_type() == kind);
        kept.extend(wanted.filter_map(|record| {
            let data = service::plain(&record.data, &has_route)?;
            Some(Record::from_rdata(record.name.clone(), record.ttl, data))
        }));
        let alias = records.iter().filter(of_owner).find_map(|record| match &record.data {
            RData::CNAME(target) if kind != RecordType::CNAME => Some((record, &target.0)),
            _ => None,
        });
        let Some((record, target)) = alias else { return Ok(kept) };
        kept.push(record.clone());
        owner = target;
    }
    Err(NoAnswer::Unusable("it has too many aliases"))
}
