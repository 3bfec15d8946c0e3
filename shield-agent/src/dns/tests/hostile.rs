//! Answers of a resolver that wishes us ill.

use hickory_proto::rr::rdata::svcb::{Alpn, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{CNAME, HTTPS, SOA};

use super::*;
use crate::dns::answer::{self, Answer, NoAnswer};

const ID: u16 = 7;

fn read(question: &Question, id: u16, message: &[u8]) -> Result<Answer, NoAnswer> {
    answer::read((question, id), message, |_| true)
}

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
fn a_service_that_speaks_http_3_only_is_left_out_of_its_answer() {
    let asked = asked(RecordType::HTTPS);
    let service = |protocols: &[&str]| {
        let protocols = Alpn(protocols.iter().map(ToString::to_string).collect());
        let params = vec![
            (SvcParamKey::Alpn, SvcParamValue::Alpn(protocols)),
            (SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn),
        ];
        Record::from_rdata(name("a.example."), 30, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params))))
    };
    let message = said(&asked, holding(vec![service(&["h3"]), service(&["h2", "h3"])]));
    let kept = Message::from_vec(&read(&asked, ID, &message).unwrap().message).unwrap();
    assert_eq!(kept.answers, [service(&["h2"])]);
}

proptest::proptest! {
    #[test]
    fn whatever_a_resolver_says_is_dropped_or_written_anew(
        changes in proptest::collection::vec((proptest::prelude::any::<usize>(), proptest::prelude::any::<u8>()), 0..40),
        aliases in 0..12usize,
    ) {
        let asked = asked(RecordType::A);
        let mut message = said(&asked, holding(chain(aliases)));
        // Past the question, or it would be a stray.
        let start = 12 + 11 + 4;
        let length = message.len() - start;
        for (place, value) in changes {
            message[start + place % length] = value;
        }
        if let Ok(answer) = read(&asked, ID, &message) {
            let kept = Message::from_vec(&answer.message).unwrap();
            proptest::prop_assert!(kept.answers.len() <= message.len() / 12 && kept.additionals.is_empty());
        }
    }

    #[test]
    fn whatever_an_agent_sends_is_a_question_or_is_refused(message in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        if let Ok(question) = Question::read(&message) {
            question.host();
            proptest::prop_assert!(question.forwarded(1).is_some());
        }
    }
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

/// A measurement, run by hand: `cargo test --release -p shield-agent --lib -- --ignored --nocapture hostile`.
#[test]
#[ignore = "a measurement"]
fn what_the_longest_answers_cost() {
    let asked = asked(RecordType::HTTPS);
    let long = |number: u32| name(&format!("{}{number}.example.", "x.".repeat(110)));
    let records = |count: u32, data: &dyn Fn(u32) -> RData| -> Vec<u8> {
        let record = |number| Record::from_rdata(long(number), 30, data(number));
        said(&asked, holding((0..count).map(record).collect()))
    };
    let key = |number: u16| {
        let value = SvcParamValue::Unknown(hickory_proto::rr::rdata::svcb::Unknown(vec![0; 60]));
        (SvcParamKey::from(number), value)
    };
    let service = |_| RData::HTTPS(HTTPS(SVCB::new(1, name("a.example."), (10..110).map(key).collect())));
    let mut too_many = records(512, &|number| RData::CNAME(CNAME(long(number + 1))));
    too_many[7] = 1;
    too_many.resize(65_535, 0xc0);
    let mut pointers = said(&asked, |_| {});
    pointers[6..8].copy_from_slice(&512u16.to_be_bytes());
    let mut before = 12;
    for number in 0..512 {
        // Each name is a label and the name before it, as far as names may be long.
        let place = u16::try_from(pointers.len()).unwrap();
        pointers.extend([1, b'x']);
        pointers.extend((before | 0xc000_u16).to_be_bytes());
        pointers.extend([0, 5, 0, 1, 0, 0, 0, 30, 0, 100]);
        // An alias as long, label by label.
        pointers.extend([1, b'y'].repeat(49));
        pointers.extend([0xc0, 12]);
        before = if number % 100 == 99 || place > 0x3f00 { 12 } else { place };
    }
    for (what, message) in [
        ("long aliases", records(120, &|number| RData::CNAME(CNAME(long(number + 1))))),
        ("services with a hundred keys", records(8, &service)),
        ("more records than it says", too_many),
        ("names of pointers", pointers),
    ] {
        let began = Instant::now();
        let kept = (0..100).filter(|_| read(&asked, ID, &message).is_ok()).count();
        println!("{what}: {} bytes, {:?} each, {kept} of 100 kept", message.len(), began.elapsed() / 100);
    }
}
