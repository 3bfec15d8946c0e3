//! Questions about names: whatever an agent sends, what leaves is its name and type alone, and it gets back its own id
//! and question.

use hickory_proto::op::ResponseCode;
use shield_agent::dns::question::{Question, Refusal};

use crate::records;

/// The id questions leave under here.
const ID: u16 = 0x5e1d;

/// Takes a message to port 53.
pub fn check(data: &[u8]) {
    let question = match Question::read(data) {
        Ok(question) => question,
        Err(Refusal::Silent) => return,
        Err(Refusal::Answer(answer)) => return check_answer(data, &answer, 0),
    };
    let sent = records::read(data).expect("what is taken can be read");
    assert!(!sent.is_answer && sent.rest == 0 && sent.questions.len() == 1);
    let (name, kind, class) = &sent.questions[0];
    for (answer, questions) in [
        (Some(question.failed()), 1),
        (Some(question.refused(ResponseCode::NXDomain, "not here")), 1),
        (question.answer_ours(), 1),
        (Some(question.fit(vec![0; 70_000])), 1),
    ] {
        if let Some(answer) = answer {
            check_answer(data, &answer, questions);
        }
    }
    if let Some(host) = question.host() {
        crate::host::check(host.as_bytes());
    }
    let Some(forwarded) = question.forwarded(ID) else { return };
    let left = records::read(&forwarded).expect("what leaves can be read");
    assert_eq!((left.id, left.is_answer, left.rest), (ID, false, 0));
    assert_eq!(left.questions, [(name.to_ascii_lowercase(), *kind, *class)], "another name leaves");
    let [edns] = &left.records[..] else { unreachable!("one record for EDNS, not {:?}", left.records) };
    assert_eq!(
        (&edns.owner[..], edns.kind, edns.data.len()),
        (&[0][..], 41, 0),
        "something else leaves with it"
    );
    let again = Question::read(&forwarded).expect("what leaves is a question");
    assert_eq!((again.name(), again.kind()), (question.name(), question.kind()));
}

/// An answer of ours: under the id that was asked, with the question as it was spelled.
fn check_answer(asked: &[u8], answer: &[u8], questions: usize) {
    let told = records::read(answer).expect("an answer of ours can be read");
    assert!(told.is_answer && told.id.to_be_bytes() == asked[..2] && told.rest == 0, "{told:?}");
    assert_eq!(told.questions.len(), questions);
    if questions > 0 {
        assert_eq!(told.questions, records::read(asked).expect("it was taken").questions);
    }
}
