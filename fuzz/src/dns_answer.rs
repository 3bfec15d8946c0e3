//! Answers of resolvers: whatever one sends, the agent gets its own question back and nothing that leads around us.

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use shield_agent::dns::answer;
use shield_agent::dns::question::Question;

use crate::records;

/// Ids towards the agent and towards the resolver.
const ASKED: u16 = 0xa5ed;
const LEFT: u16 = 0x5e1d;

/// What is asked: spelled in a way of its own.
const NAME: &str = "API.Example.com.";
const KINDS: [RecordType; 8] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::MX,
    RecordType::TXT,
    RecordType::SRV,
];
/// Bytes of a DNS header.
const HEADER: usize = 12;

/// Takes the type that is asked for, flags, the three counts of records, and the records. With the type's highest bit,
/// what follows is the answer as it is.
pub fn check(data: &[u8]) {
    let Some((&selected, rest)) = data.split_first() else { return };
    let asked = question(KINDS[usize::from(selected) % KINDS.len()]);
    let question = Question::read(&asked).expect("a question");
    let packet = if selected & 0x80 == 0 { packet(&question, rest) } else { Some(rest.to_vec()) };
    let Some(packet) = packet else { return };
    let Ok(read) = answer::read((&question, LEFT), &packet, |_| true) else { return };
    let told = records::read(&read.message).expect("an answer of ours can be read");
    assert!(told.is_answer && told.id == ASKED && told.rest == 0);
    assert_eq!(
        told.questions,
        records::read(&asked).expect("a question").questions,
        "the question is another"
    );
    for record in &told.records {
        let service = matches!(record.kind, records::SVCB | records::HTTPS);
        assert!(!service || !records::leads_around(&record.data), "{record:?}");
    }
    let addresses: Vec<Vec<u8>> = read
        .addresses
        .iter()
        .map(|(address, _)| match address {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        })
        .collect();
    let said: Vec<&Vec<u8>> = told
        .records
        .iter()
        .filter(|record| matches!(record.kind, 1 | 28))
        .map(|record| &record.data)
        .collect();
    assert_eq!(addresses.iter().collect::<Vec<_>>(), said, "other addresses are remembered than are told");
    question.fit(read.message);
}

fn question(kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(ASKED, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(NAME).expect("a name"), kind));
    message.to_vec().expect("a question can be written")
}

/// An answer to the question that left, with records of the input's choice.
fn packet(question: &Question, choice: &[u8]) -> Option<Vec<u8>> {
    let (&[flags, code, answers, authorities, additionals], records) = choice.split_first_chunk()?;
    let left = question.forwarded(LEFT).expect("a question leaves");
    let name_end = left.len() - 11;
    let mut packet = left[..name_end].to_vec();
    packet[2..HEADER].copy_from_slice(&[
        flags | 0x80,
        code,
        0,
        1,
        0,
        answers,
        0,
        authorities,
        0,
        additionals,
    ]);
    packet.extend_from_slice(records);
    Some(packet)
}
