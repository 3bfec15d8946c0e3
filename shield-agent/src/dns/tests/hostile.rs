//! Answers of a resolver that wishes us ill.

use hickory_proto::rr::rdata::{CNAME, SOA};

use super::*;
use crate::dns::answer::{NoAnswer, read};

const ID: u16 = 7;

fn asked(kind: RecordType) -> Question {
    Question::read(&question(1, "A.example.", kind).to_vec().unwrap()).unwrap()
}

/// A resolver's answer to `asked`, changed by a test.
fn said(asked: &Question, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::response(ID, OpCode::Query);
    message.add_query(asked.query().clone());
    change(&mut message);
    message.to_vec().unwrap()
}

fn holding(records: Vec<Record>) -> impl FnOnce(&mut Message) {
    |message| {
        message.add_answers(records);
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn address(owner: &str) -> Record {
    Record::from_rdata(name(owner), 30, RData::A(rdata::A(ADDRESS)))
}

fn alias(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 30, RData::CNAME(CNAME(name(target))))
}

/// Aliases `n0` → `n1` → … and an address at the end.
fn chain(aliases: usize) -> Vec<Record> {
    let step =
        |number: usize| if number == 0 { "a.example.".to_owned() } else { format!("n{number}.example.") };
    let mut records: Vec<Record> =
        (0..aliases).map(|number| alias(&step(number), &step(number + 1))).collect();
    records.push(address(&step(aliases)));
    // In whatever order they come.
    records.reverse();
    records
}

#[test]
fn eight_aliases_are_followed_and_nine_are_not() {
    let asked = asked(RecordType::A);
    let kept = read(&asked, ID, &said(&asked, holding(chain(8)))).unwrap();
    let message = Message::from_vec(&kept.message).unwrap();
    assert_eq!((message.answers.len(), addresses(&message)), (9, vec![ADDRESS]));
    assert_eq!(message.metadata.id, 1);
    assert_eq!(kept.addresses, [(ADDRESS.into(), 30)]);
    for records in [chain(9), vec![alias("a.example.", "a.example.")]] {
        let refused = read(&asked, ID, &said(&asked, holding(records)));
        assert_eq!(refused.unwrap_err(), NoAnswer::Unusable("it has too many aliases"));
    }
}

#[test]
fn what_does_not_answer_the_question_is_left_out() {
    let asked = asked(RecordType::A);
    let soa = RData::SOA(SOA::new(name("ns.example."), name("root.example."), 1, 2, 3, 4, 5));
    let message = said(&asked, |answer| {
        answer.add_answers([address("other.example."), address("a.EXAMPLE."), record_of_text("a.example.")]);
        answer.add_authority(Record::from_rdata(
            name("example."),
            30,
            RData::NS(rdata::NS(name("ns.example."))),
        ));
        answer.add_authority(Record::from_rdata(name("example."), 30, soa));
        answer.add_additional(address("ns.example."));
        answer.metadata.authentic_data = true;
        answer.metadata.authoritative = true;
    });
    let kept = Message::from_vec(&read(&asked, ID, &message).unwrap().message).unwrap();
    assert_eq!((kept.answers.len(), kept.authorities.len(), kept.additionals.len()), (1, 1, 0));
    assert_eq!(kept.authorities[0].record_type(), RecordType::SOA);
    assert!(!kept.metadata.authentic_data && !kept.metadata.authoritative);
    assert_eq!(kept.queries[0].name().to_string(), "A.example.");
}

fn record_of_text(owner: &str) -> Record {
    Record::from_rdata(name(owner), 30, RData::TXT(rdata::TXT::new(vec!["x".into()])))
}

#[test]
fn too_many_records_and_broken_ones_are_no_answer() {
    let asked = asked(RecordType::A);
    let many = said(&asked, holding(vec![address("a.example."); 513]));
    assert_eq!(read(&asked, ID, &many).unwrap_err(), NoAnswer::Unusable("it has too many records"));
    let mut broken = said(&asked, holding(vec![address("a.example.")]));
    broken.truncate(broken.len() - 1);
    assert_eq!(read(&asked, ID, &broken).unwrap_err(), NoAnswer::Unusable("it cannot be read"));
    // Names that point at themselves and at each other.
    let mut looping = said(&asked, holding(vec![address("b.example.")]));
    let owner = looping.len() - 4 - 10 - 2;
    for pointer in [owner, owner + 2, looping.len() - 2] {
        looping[owner..owner + 2].copy_from_slice(&(0xc000 | u16::try_from(pointer).unwrap()).to_be_bytes());
        assert!(matches!(read(&asked, ID, &looping), Err(NoAnswer::Unusable(_))));
    }
}

#[test]
fn codes_we_do_not_know_are_failures() {
    let asked = asked(RecordType::A);
    for (code, told) in [
        (ResponseCode::NXDomain, ResponseCode::NXDomain),
        (ResponseCode::Refused, ResponseCode::Refused),
        (ResponseCode::FormErr, ResponseCode::ServFail),
        (ResponseCode::BADVERS, ResponseCode::ServFail),
    ] {
        let message = said(&asked, |answer| {
            answer.set_edns(Edns::new());
            answer.metadata.response_code = code;
        });
        let kept = Message::from_vec(&read(&asked, ID, &message).unwrap().message).unwrap();
        assert_eq!(kept.metadata.response_code, told);
    }
}
