//! A held request as it is stored, sealed, and shown.
//!
//! The stored form has the credentials; what is shown never has. The seal tells whether anything was altered on disk.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::mask::{self, Secrets};
use super::view::{BodyInfo, HoldView, RequestView, ResultView};
use crate::flow::http::canonical::{CanonicalRequest, RequestHead, is_volatile, lossy};
use crate::flow::inspect::action::{Action, Effect};
use crate::flow::origin::{Caller, Destination};
use crate::flow::policy::inspectable;
use crate::flow::policy::verdict::Judgement;
use crate::ipc::approver::HoldRequest;
use crate::names::{ExchangeId, HoldId};
use crate::store::StoreError;
use crate::store::holds::{HoldRow, StoredRequest, damaged};

/// Bytes of a body that are shown as text; the whole is one download away.
pub const SHOWN_BODY: usize = 256 << 10;

/// Everything of a held request but its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The exchange that asked first.
    pub exchange: ExchangeId,
    /// Who asked first.
    pub caller: Caller,
    /// Where it goes.
    pub destination: Destination,
    /// The request; its volatile fields are those of the latest asking.
    pub head: RequestHead,
    /// What it means.
    pub action: Action,
    /// The verdict and why.
    pub judgement: Judgement,
    /// Whether the body could be decoded strictly.
    pub inspectable: bool,
}

/// A held request with as much of its body as is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Everything but the body.
    pub held: Held,
    /// The body's beginning, [`SHOWN_BODY`] bytes at most.
    pub beginning: Vec<u8>,
}

/// A held request with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Everything but the body.
    pub held: Held,
    /// The request itself.
    pub request: CanonicalRequest,
}

impl Held {
    /// Takes a request apart into what is stored together and its body.
    pub fn of(request: &HoldRequest) -> Self {
        Self {
            exchange: request.exchange,
            caller: request.caller.clone(),
            destination: request.destination.clone(),
            head: request.request.head.clone(),
            action: request.action.clone(),
            judgement: request.judgement.clone(),
            inspectable: inspectable(&request.request.head, &request.request.body),
        }
    }

    /// Reads what was stored.
    pub fn read(hold: HoldId, request: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(request)
            .map_err(|error| damaged(format!("the stored request of hold {hold}: {error}")))
    }

    /// As it is stored.
    pub fn store(&self, hold: HoldId, body: &[u8]) -> StoredRequest {
        let request = serde_json::to_vec(self).expect("a request has string keys and finite numbers");
        StoredRequest { seal: seal(hold, &request, body), request, body: body.to_vec() }
    }
}

impl Whole {
    /// Reads what was stored; an error when it is not what we wrote.
    pub fn read(hold: HoldId, stored: StoredRequest) -> Result<Self, StoreError> {
        if seal(hold, &stored.request, &stored.body) != stored.seal {
            return Err(damaged(format!("the stored request of hold {hold} was altered")));
        }
        let held = Held::read(hold, &stored.request)?;
        let request = CanonicalRequest { head: held.head.clone(), body: stored.body.into() };
        Ok(Self { held, request })
    }
}

impl Shown {
    /// The hold as it is shown, secrets masked.
    pub fn show(&self, row: &HoldRow, caller_waiting: bool) -> HoldView {
        let secrets = Secrets::of(&self.held.head);
        let mut view = HoldView {
            id: row.id,
            state: row.state,
            agent: row.agent.clone(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            rule: self.held.judgement.rule.clone(),
            why: self.held.judgement.why.clone(),
            action: action(&self.held.action, &secrets),
            request: self.request_view(row, &secrets),
            destination: self.held.destination.clone(),
            caller: caller(&self.held.caller, &secrets),
            digest: row.digest,
            asked: row.asked,
            caller_waiting,
            decision: None,
            result: None,
        };
        update(&mut view, row, caller_waiting);
        view
    }

    fn request_view(&self, row: &HoldRow, secrets: &Secrets) -> RequestView {
        let head = &self.held.head;
        let shown = |name: &str, value: &[u8]| secrets.hide(mask::header(name, value));
        let headers = head.headers.iter().map(|field| (field.name.clone(), shown(&field.name, &field.value)));
        let mut refreshable: Vec<String> =
            head.headers.iter().map(|field| field.name.clone()).filter(|name| is_volatile(name)).collect();
        refreshable.dedup();
        RequestView {
            method: head.method.clone(),
            url: secrets.scrub(&head.url()),
            headers: headers.collect(),
            refreshable,
            body: self.body_view(row, secrets),
        }
    }

    fn body_view(&self, row: &HoldRow, secrets: &Secrets) -> BodyInfo {
        let media_type = self.held.head.header_values("content-type").next().map(lossy).unwrap_or_default();
        let whole = row.body_size == self.beginning.len() as u64;
        let text = text_of(&self.beginning, whole).map(|text| secrets.hide(mask::body(&media_type, text)));
        BodyInfo {
            size: row.body_size,
            sha256: row.body_sha256.to_string().trim_start_matches("sha256:").to_owned(),
            truncated: text.is_some() && !whole,
            inspectable: self.held.inspectable,
            media_type,
            text,
        }
    }
}

/// What changes during a hold's life, brought up to date in a view made earlier.
pub fn update(view: &mut HoldView, row: &HoldRow, caller_waiting: bool) {
    view.state = row.state;
    view.asked = row.asked;
    view.caller_waiting = caller_waiting;
    view.decision.clone_from(&row.decision);
    view.result =
        row.ended_at.filter(|_| row.status.is_some() || row.error.is_some()).map(|at| result(row, at));
    if view.destination.verified_name.is_none() {
        view.destination.verified_name.clone_from(&row.verified_name);
    }
}

/// A hold whose request cannot be read any more: it can be looked at and denied, and is refused when it is to be sent.
pub fn unreadable(row: &HoldRow, why: &str, caller_waiting: bool) -> HoldView {
    let summary = format!("This request was damaged on disk and will not be sent: {why}");
    let mut view = HoldView {
        id: row.id,
        state: row.state,
        agent: row.agent.clone(),
        created_at: row.created_at,
        expires_at: row.expires_at,
        rule: None,
        why: why.to_owned(),
        action: Action {
            effect: Effect::Unknown,
            family: "damaged".to_owned(),
            operation: String::new(),
            resource: None,
            environment: None,
            reversible: None,
            count: None,
            amount: None,
            currency: None,
            summary,
        },
        request: RequestView {
            method: String::new(),
            url: String::new(),
            headers: vec![],
            refreshable: vec![],
            body: BodyInfo {
                size: row.body_size,
                sha256: row.body_sha256.to_string().trim_start_matches("sha256:").to_owned(),
                media_type: String::new(),
                text: None,
                truncated: false,
                inspectable: false,
            },
        },
        destination: Destination { ip: Ipv4Addr::UNSPECIFIED.into(), port: 0, verified_name: None },
        caller: Caller::default(),
        digest: row.digest,
        asked: row.asked,
        caller_waiting,
        decision: None,
        result: None,
    };
    update(&mut view, row, caller_waiting);
    view
}

fn result(row: &HoldRow, at: Timestamp) -> ResultView {
    ResultView {
        status: row.status,
        size: row.answer_size,
        at,
        collected: row.collected,
        error: row.error.clone(),
    }
}

/// What a request means, without the secrets it may repeat.
pub fn action(action: &Action, secrets: &Secrets) -> Action {
    Action {
        operation: secrets.scrub(&action.operation),
        resource: action.resource.as_deref().map(|resource| secrets.scrub(resource)),
        summary: secrets.scrub(&action.summary),
        ..action.clone()
    }
}

/// Who asked, without the secrets on its command line.
pub fn caller(caller: &Caller, secrets: &Secrets) -> Caller {
    let cmdline = mask::arguments(&caller.cmdline).into_iter().map(|word| secrets.hide(word));
    let (exe, cwd) = (secrets.scrub(&caller.exe), secrets.scrub(&caller.cwd));
    Caller { cmdline: cmdline.collect(), exe, cwd, ..caller.clone() }
}

/// A body, or its beginning, as text; `None` when it is not UTF-8.
fn text_of(bytes: &[u8], whole: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        // Cut inside a character: what is before it is text.
        Err(error) if error.error_len().is_none() && !whole => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn seal(hold: HoldId, request: &[u8], body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [hold.to_string().as_bytes(), request, body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_ends_inside_a_character_is_text_and_bytes_are_not() {
        assert_eq!(text_of("naïve".as_bytes(), true), Some("naïve"));
        assert_eq!(text_of(&"naï".as_bytes()[..3], false), Some("na"));
        assert_eq!(text_of(&"naï".as_bytes()[..3], true), None);
        assert_eq!(text_of(b"\xff\x00", false), None);
    }
}
