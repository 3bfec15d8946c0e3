//! Where a hold stands, in a heading and a sentence: what happened, and what happens next.

use crate::approval::view::{HoldState, HoldView};

/// For the top of a hold's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// `bad`, `warn`, `good` or `plain`: a class of the style sheet.
    pub(super) tone: &'static str,
    pub(super) heading: &'static str,
    pub(super) text: String,
}

/// `hold` was spelled out.
pub(super) fn outlook(hold: &HoldView) -> Outlook {
    let (tone, heading, text) = match hold.state {
        HoldState::Pending => ("warn", "Waiting for a decision", waiting(hold).to_owned()),
        HoldState::Approved => (
            "good",
            "Approved, not sent yet",
            "It is about to be sent, once, exactly as shown here.".to_owned(),
        ),
        HoldState::Sending => ("good", "Being sent", "The destination has not answered yet.".to_owned()),
        HoldState::Done => done(hold),
        HoldState::Denied => ("bad", "Denied", "It was not executed; the agent is told so.".to_owned()),
        HoldState::Expired => (
            "plain",
            "Expired",
            "Nobody decided in time. It was not executed; the agent has to ask again.".to_owned(),
        ),
        HoldState::Cancelled => {
            ("plain", "Withdrawn", "The agent no longer asks for this. It was not executed.".to_owned())
        }
        HoldState::Refused => {
            ("bad", "Approved, but not sent", format!("It was not executed: {}.", reason(hold)))
        }
        HoldState::OutcomeUnknown => (
            "bad",
            "Nobody knows whether this was executed",
            format!(
                "It may have reached the destination: {}. It is never sent again; look at the destination.",
                reason(hold)
            ),
        ),
    };
    Outlook { tone, heading, text }
}

fn waiting(hold: &HoldView) -> &'static str {
    match hold.caller_waiting {
        true => "The agent is on the line: it gets the answer the moment you decide.",
        false => "The agent has hung up: it gets the answer when it asks again.",
    }
}

fn done(hold: &HoldView) -> (&'static str, &'static str, String) {
    let status = hold.result.as_ref().and_then(|result| result.status);
    match status {
        Some(status) if status < 400 => {
            ("good", "Sent", format!("The destination answered {status}. It was sent once."))
        }
        Some(status) => (
            "warn",
            "Sent, and not accepted",
            format!("The destination answered {status}. It was sent once."),
        ),
        None => ("warn", "Sent", format!("There is no answer: {}.", reason(hold))),
    }
}

fn reason(hold: &HoldView) -> &str {
    let error = hold.result.as_ref().and_then(|result| result.error.as_deref());
    error.map_or("no reason was recorded", |error| error.trim_end_matches('.'))
}
