//! Every answer we make up ourselves, by name.
//!
//! Each says three things a language model needs: what happened, that nothing was executed (or that this is not
//! known), and what to do next. How it is put into bytes is `dialect`'s business.

use ::http::{HeaderName, HeaderValue, StatusCode, header};

use super::recorder::Unrecorded;
use crate::flow::http::body::BrokenBody;
use crate::flow::http::unclear::Unclear;
use crate::flow::limits::TURN_WITHIN;
use crate::flow::policy::verdict::Judgement;
use crate::flow::upstream::error::UpstreamError;
use crate::ipc::approver::{Ending, StoredResponse};
use crate::names::HoldId;

/// The reserved name agents ask about their holds.
pub const INTERNAL_HOST: &str = "shield.internal";

/// Whether the same request should be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// After so many seconds.
    After(u32),
    /// Never: the answer will stay the same.
    Never,
}

/// An answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurAnswer {
    /// HTTP status.
    pub status: StatusCode,
    /// Machine-readable name: what `Shield-Decision` says, or what kind of failure it is.
    pub code: &'static str,
    /// Whether `code` is the state of a decision.
    pub decision: bool,
    /// The sentence.
    pub sentence: String,
    /// The hold, when there is one.
    pub hold: Option<HoldId>,
    /// What to do with the request.
    pub again: Again,
    /// Whether the client asked not to wait, and this is the answer to that.
    pub asynchronous: bool,
}

const NOT_EXECUTED: &str = "The request has NOT been executed.";
const NO_WAY_AROUND: &str =
    "Do not retry it and do not work around this; choose another approach or ask a person.";

impl OurAnswer {
    fn failure(status: StatusCode, code: &'static str, again: Again, sentence: String) -> Self {
        Self { status, code, decision: false, sentence, hold: None, again, asynchronous: false }
    }

    fn decision(code: &'static str, sentence: String) -> Self {
        Self { decision: true, ..Self::failure(StatusCode::FORBIDDEN, code, Again::Never, sentence) }
    }

    fn of(self, hold: HoldId) -> Self {
        Self { hold: Some(hold), ..self }
    }

    /// Nobody decided yet.
    pub fn pending(hold: HoldId, status: Option<u16>, asynchronous: bool) -> Self {
        let status = if asynchronous { Some(202) } else { status };
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        let sentence = format!(
            "Held by agent.shield for human approval (hold {hold}). {NOT_EXECUTED} Do not work around this. Repeat the \
             identical request to wait again, or GET http://{INTERNAL_HOST}/holds/{hold}/wait."
        );
        Self {
            status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            again: Again::After(1),
            asynchronous,
            ..Self::decision("pending", sentence).of(hold)
        }
    }

    /// A rule or default denies it.
    pub fn denied_by_policy(judgement: &Judgement) -> Self {
        let by = match &judgement.rule {
            Some(rule) => format!("rule {rule}: {}", judgement.why),
            None => judgement.why.clone(),
        };
        Self::decision("denied", format!("Denied by agent.shield ({by}). {NOT_EXECUTED} {NO_WAY_AROUND}"))
    }

    /// What a hold that ended comes to: the destination's answer, or one of ours.
    pub fn ended(hold: HoldId, ending: Ending) -> Result<StoredResponse, Self> {
        let answer = match ending {
            Ending::Done(stored) => return Ok(stored),
            Ending::Denied { by, reason } => {
                let words = if reason.is_empty() { String::new() } else { format!(": \"{reason}\"") };
                Self::decision("denied", format!("Denied by {by}{words}. {NOT_EXECUTED} {NO_WAY_AROUND}"))
            }
            Ending::Expired => Self::decision(
                "expired",
                format!("Nobody approved this request in time (hold {hold}). {NOT_EXECUTED} {NO_WAY_AROUND}"),
            ),
            Ending::Cancelled => {
                Self::decision("cancelled", format!("The hold {hold} was withdrawn. {NOT_EXECUTED}"))
            }
            Ending::Refused(why) => Self::decision(
                "refused",
                format!("The request was approved but not sent: {why}. {NOT_EXECUTED} {NO_WAY_AROUND}"),
            ),
            Ending::OutcomeUnknown(why) => Self {
                status: StatusCode::BAD_GATEWAY,
                ..Self::decision("outcome-unknown", unknown_outcome(&why))
            },
        };
        Err(answer.of(hold))
    }

    /// The hold could not be taken.
    pub fn not_held(why: &str) -> Self {
        let sentence = format!(
            "This request needs human approval, but agent.shield cannot hold it now: {why}. {NOT_EXECUTED} Wait before \
             you repeat it, and do not work around this."
        );
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "not-held", Again::After(30), sentence)
    }

    /// The request cannot be read in exactly one way, or asks for what is not there.
    pub fn unclear(why: &Unclear) -> Self {
        let reason = with_sources(why);
        let sentence = format!("agent.shield does not pass this request: {reason}. {NOT_EXECUTED}");
        Self::failure(why.status(), "bad-request", Again::Never, sentence)
    }

    /// The body of a request broke off or is not framed cleanly.
    pub fn broken_body(why: &BrokenBody) -> Self {
        let sentence = format!("agent.shield does not pass this request: {why}. {NOT_EXECUTED}");
        let (status, again) = match why {
            BrokenBody::Ambiguous => (StatusCode::BAD_REQUEST, Again::Never),
            BrokenBody::Silent(_) => (StatusCode::REQUEST_TIMEOUT, Again::After(5)),
        };
        Self::failure(status, "bad-request", again, sentence)
    }

    /// The agent has as many requests under way as it may.
    pub fn too_many_requests(most: usize) -> Self {
        let sentence = format!(
            "This agent has {most} requests under way, as many as agent.shield allows (limits.requests_per_agent), and \
             none ended within {TURN_WITHIN:?}. {NOT_EXECUTED} Wait before you repeat it."
        );
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "too-many", Again::After(5), sentence)
    }

    /// The body broke off while it streamed, or ended in what cannot be passed on.
    pub fn unfinished(why: &str) -> Self {
        let sentence = format!(
            "agent.shield let this request pass and began to send it, but {why}. Its end was never sent; whether its \
             destination acted on the beginning is not known."
        );
        Self::failure(StatusCode::BAD_REQUEST, "bad-request", Again::Never, sentence)
    }

    /// The body is too long to hold.
    pub fn too_large(limit: u64) -> Self {
        let sentence = format!(
            "This request may need human approval, and its body is longer than the {limit} bytes agent.shield can hold. \
             {NOT_EXECUTED} Send less at once."
        );
        Self::failure(StatusCode::PAYLOAD_TOO_LARGE, "too-large", Again::Never, sentence)
    }

    /// Nothing leaves unrecorded.
    pub fn unrecorded(why: &Unrecorded) -> Self {
        let sentence = format!(
            "agent.shield cannot record this request, and nothing leaves unrecorded: {why}. {NOT_EXECUTED} An operator \
             has to repair this; wait before you repeat the request."
        );
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "unrecorded", Again::After(5), sentence)
    }

    /// No policy is loaded: nothing can be judged.
    pub fn unjudged() -> Self {
        let sentence = format!("agent.shield has no policy loaded and lets nothing pass. {NOT_EXECUTED}");
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "unjudged", Again::After(5), sentence)
    }

    /// The destination could not be asked or did not answer.
    pub fn upstream_failed(error: &UpstreamError) -> Self {
        let (status, code) = match error.is_timeout() {
            true => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout"),
            false => (StatusCode::BAD_GATEWAY, "upstream-failed"),
        };
        let executed = if error.may_have_arrived() {
            "The request was sent; whether it was executed is not known."
        } else {
            NOT_EXECUTED
        };
        let sentence = format!("agent.shield let this request pass, but {error}. {executed}");
        Self::failure(status, code, Again::After(5), sentence)
    }

    /// Nothing by that name at the reserved host.
    pub fn not_found() -> Self {
        let sentence = format!(
            "There is no such hold of yours. http://{INTERNAL_HOST}/holds lists your holds; GET /holds/<id>, GET \
             /holds/<id>/wait?timeout=50 and DELETE /holds/<id> (withdraw) work on one."
        );
        Self::failure(StatusCode::NOT_FOUND, "not-found", Again::Never, sentence)
    }

    /// An approved WebSocket went to another connection that waited for it.
    pub fn opened_for_another() -> Self {
        let sentence = format!(
            "The WebSocket was approved and opened for another connection that asked for the same. {NOT_EXECUTED} Connect \
             again to ask for another."
        );
        Self::failure(StatusCode::SERVICE_UNAVAILABLE, "not-held", Again::After(1), sentence)
    }

    /// The fields every dialect carries.
    pub fn fields(&self) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::with_capacity(6);
        let mut add = |name: HeaderName, value: String| {
            let value = HeaderValue::try_from(value).expect("made of ids and fixed words");
            fields.push((name, value));
        };
        if self.decision {
            add(HeaderName::from_static("shield-decision"), self.code.to_owned());
        }
        if let Some(hold) = self.hold {
            let url = format!("http://{INTERNAL_HOST}/holds/{hold}");
            add(HeaderName::from_static("shield-hold"), hold.to_string());
            add(header::LINK, format!("<{url}>; rel=\"status\""));
            if self.asynchronous {
                add(header::LOCATION, url);
                add(HeaderName::from_static("preference-applied"), "respond-async".to_owned());
            }
        }
        match self.again {
            Again::After(seconds) => add(header::RETRY_AFTER, seconds.to_string()),
            Again::Never => {
                add(HeaderName::from_static("x-should-retry"), "false".to_owned());
                add(HeaderName::from_static("stripe-should-retry"), "false".to_owned());
            }
        }
        fields
    }
}

fn unknown_outcome(why: &str) -> String {
    format!(
        "The request was approved and sent, but its outcome is unknown: {why}. It may or may not have been executed. Do \
         NOT send it again; check at the destination what happened, or ask a person."
    )
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
