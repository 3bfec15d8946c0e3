//! Names judged and weighed before they leave.

use super::*;
use crate::flow::policy::verdict::Verdict;

const STRICT: &str =
    "defaults: { unknown_host: deny }\nhosts: { known: [crm.acme.internal, '*.open.example', 192.0.2.7] }\n";

#[tokio::test]
async fn a_name_no_request_may_go_to_is_answered_here_and_never_leaves() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::under(&[resolver.address], STRICT).await;
    for number in 0..500 {
        let name = format!("data{number}.evil.example.");
        let answer = client.ask(&question(number, &name, RecordType::A)).await;
        assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NXDomain, 0));
    }
    for (name, kind) in [
        ("_https._tcp.evil.example.", RecordType::SRV),
        // Only services have names of this kind.
        ("_data.crm.acme.internal.", RecordType::A),
        ("8.2.0.192.in-addr.arpa.", RecordType::PTR),
        ("0.192.in-addr.arpa.", RecordType::PTR),
        ("d\\.ata.open.example.", RecordType::A),
        (".", RecordType::A),
    ] {
        let answer = client.ask(&question(1, name, kind)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(resolver.seen(), []);
    for (name, kind) in [
        ("crm.acme.internal.", RecordType::A),
        ("_https._tcp.crm.acme.internal.", RecordType::SRV),
        ("any.open.example.", RecordType::AAAA),
        ("7.2.0.192.in-addr.arpa.", RecordType::PTR),
    ] {
        let answer = client.ask(&question(1, name, kind)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
    }
    assert_eq!(resolver.seen().len(), 4);
}

#[tokio::test]
async fn a_refusal_says_why_to_clients_that_read_it_and_to_the_journal_once() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::under(&[resolver.address], STRICT).await;
    let mut asked = question(1, "x.evil.example.", RecordType::A);
    asked.set_edns(Edns::new());
    for _ in 0..3 {
        let answer = client.ask(&asked).await;
        let told = format!("{:?}", answer.edns.unwrap().options());
        // RFC 8914: option 15, code 18, and words.
        assert!(
            told.contains("15")
                && told.contains(
                    &format!("{:?}", b"\0\x12no request to this host").trim_end_matches(']').replace('[', "")
                ),
            "{told}"
        );
    }
    let due = client.asker.due(Instant::now());
    assert_eq!((due.len(), due[0].questions, due[0].parent.as_str()), (1, 3, "evil.example"));
    assert_eq!(due[0].judgement.verdict, Verdict::Deny);
}

#[tokio::test]
async fn types_that_find_no_host_are_refused_and_never_leave() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    for kind in
        [RecordType::TXT, RecordType::NULL, RecordType::DNSKEY, RecordType::NS, RecordType::Unknown(65000)]
    {
        let answer = client.ask(&question(1, "a.example.", kind)).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::Refused, "{kind}");
    }
    assert_eq!(resolver.seen(), []);
}

#[tokio::test]
async fn random_labels_below_an_open_wildcard_stop_after_a_bounded_number_of_bytes() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::under(&[resolver.address], STRICT).await;
    let letter = || char::from(b"abcdefghijklmnopqrstuvwxyz234567"[rand::random_range(0..32)]);
    let mut refused = 0;
    for number in 0..500 {
        let label: String = (0..60).map(|_| letter()).collect();
        let answer = client.ask(&question(number, &format!("{label}.open.example."), RecordType::A)).await;
        refused += usize::from(answer.metadata.response_code == ResponseCode::Refused);
    }
    let carried = (500 - refused) * 60 * 5 / 8;
    assert!((1000..=2048).contains(&carried), "{carried} bytes of the labels left");
    assert_eq!(resolver.seen().len(), 500 - refused);
}

#[tokio::test]
async fn without_a_policy_no_name_leaves() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let asker = crate::dns::Resolver::new(vec![resolver.address], Limits::default(), Policy::default());
    let asker = asker.asker(&"bot".parse().unwrap());
    let asked = question(1, "a.example.", RecordType::A).to_vec().unwrap();
    let answer = asker.answer(&asked, Transport::Udp).await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert_eq!(resolver.seen(), []);
}

#[tokio::test]
async fn in_observe_mode_everything_leaves_and_what_would_not_is_recorded() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::under(&[resolver.address], &format!("mode: observe\n{STRICT}")).await;
    client.ask(&question(1, "x.evil.example.", RecordType::A)).await;
    client.ask(&question(2, "crm.acme.internal.", RecordType::TXT)).await;
    assert_eq!(resolver.seen().len(), 2);
    let due = client.asker.due(Instant::now());
    assert_eq!(due.len(), 2);
    assert!(due.iter().all(|record| record.judgement.verdict == Verdict::Allow));
}

#[tokio::test]
async fn the_name_behind_an_address_is_remembered() {
    let resolver = Resolver::start(Behaviour::Answer).await;
    let client = Client::over_udp(&[resolver.address]).await;
    client.ask(&question(1, "CRM.acme.internal.", RecordType::A)).await;
    assert_eq!(client.asker.names_of(ADDRESS.into()), ["crm.acme.internal".into()]);
}
