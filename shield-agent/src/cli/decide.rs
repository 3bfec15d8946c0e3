//! `shield approve`, `deny` and `revoke`: decisions of root at this host's terminal.
//!
//! A decision is about the hold that was looked up a moment before, by its digest: one that changed meanwhile is refused.

use std::path::Path;

use clap::Args;

use super::holds::{control, id, state_word};
use super::{Failure, Output, code};
use crate::approval::view::{Decision, DecisionRequest, HoldState, HoldView};
use crate::approval::visible;
use crate::control::{ControlError, Problem};

/// `shield approve` and `shield deny`
#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// The hold, or a unique beginning of its id
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
    /// Why, for the agent and the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// `shield revoke`
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The hold, or a unique beginning of its id
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
}

/// Lets a request be sent.
pub(super) fn approve(config: &Path, args: &DecideArgs, output: Output) -> Result<u8, Failure> {
    decide(config, args, Decision::Approve, output)
}

/// Never lets a request be sent.
pub(super) fn deny(config: &Path, args: &DecideArgs, output: Output) -> Result<u8, Failure> {
    decide(config, args, Decision::Deny, output)
}

/// Takes back an approval.
pub(super) fn revoke(config: &Path, args: &RevokeArgs, output: Output) -> Result<u8, Failure> {
    let control = control(config)?;
    let hold = control.hold(&args.id)?;
    let outcome = match control.revoke(hold.id) {
        Ok(hold) => {
            let now =
                format!("took back the approval of {}: it is {} now", named(&hold), state_word(hold.state));
            (hold, code::OK, now)
        }
        Err(error) => {
            let (hold, problem) = conflict(error)?;
            let sentence = format!("{}; hold {} is {}", problem, hold.id, state_word(hold.state));
            let code = if hold.state == HoldState::Approved { code::ERROR } else { code_of(hold.state) };
            (hold, code, sentence)
        }
    };
    tell(outcome, output)
}

fn decide(config: &Path, args: &DecideArgs, decision: Decision, output: Output) -> Result<u8, Failure> {
    let control = control(config)?;
    let seen = control.hold(&args.id)?;
    let request = DecisionRequest { decision, digest: seen.digest, reason: args.reason.clone() };
    let outcome = match control.decide(seen.id, &request) {
        Ok(hold) => {
            let (code, sentence) = decided(&hold, decision);
            (hold, code, sentence)
        }
        Err(error) => {
            let (hold, problem) = conflict(error)?;
            let (code, sentence) = not_decided(&hold, decision, &problem);
            (hold, code, sentence)
        }
    };
    tell(outcome, output)
}

/// The hold of a conflict; every other error stays one.
fn conflict(error: ControlError) -> Result<(HoldView, Problem), Failure> {
    match error {
        ControlError::Problem(mut problem) => match problem.current.take() {
            Some(hold) => Ok((*hold, *problem)),
            None => Err(ControlError::Problem(problem).into()),
        },
        other => Err(other.into()),
    }
}

/// Prints the hold as data where data was asked for, and says what happened.
fn tell((hold, code, sentence): (HoldView, u8, String), output: Output) -> Result<u8, Failure> {
    match output {
        Output::Table => {}
        Output::Json => println!("{}", serde_json::to_string_pretty(&hold)?),
        Output::Jsonl => println!("{}", serde_json::to_string(&hold)?),
    }
    if code != code::OK {
        return Err(Failure::new(code, sentence));
    }
    eprintln!("{sentence}");
    Ok(code)
}

/// What was decided, and what happens next.
fn decided(hold: &HoldView, decision: Decision) -> (u8, String) {
    let what = named(hold);
    match decision {
        Decision::Deny => (code::OK, format!("denied {what}: it is never sent, and the agent is told so")),
        Decision::Approve => {
            let (code, next) = after_approval(hold);
            (code, format!("approved {what}: {next}"))
        }
    }
}

/// Why the decision was not taken: somebody or something came before it.
fn not_decided(hold: &HoldView, decision: Decision, problem: &Problem) -> (u8, String) {
    let (what, by) = (named(hold), by_whom(hold));
    match (decision, hold.state) {
        (Decision::Approve, HoldState::Approved | HoldState::Sending | HoldState::Done) => {
            let (code, next) = after_approval(hold);
            (code, format!("already approved{by}: {what}; {next}"))
        }
        (Decision::Deny, HoldState::Approved) => {
            let remedy = format!("`shield revoke {}` takes it back while sending has not begun", hold.id);
            (code::ERROR, format!("not denied: {what} is already approved{by}; {remedy}"))
        }
        (_, HoldState::Sending | HoldState::Done | HoldState::OutcomeUnknown | HoldState::Refused) => {
            let (_, next) = after_approval(hold);
            (code::ERROR, format!("too late: {what} was approved{by}; {next}"))
        }
        (_, HoldState::Denied) => (code::DENIED, format!("already denied{by}: {what}")),
        (_, HoldState::Expired) => {
            (code::UNDECIDED, format!("too late: {what} expired undecided; the agent has to ask again"))
        }
        (_, HoldState::Pending) => (code::UNDECIDED, format!("still pending: {what}; {problem}")),
        (_, HoldState::Cancelled) => (code::ERROR, format!("too late: {what} was withdrawn; {problem}")),
    }
}

fn after_approval(hold: &HoldView) -> (u8, String) {
    let result = hold.result.as_ref();
    let why = result.and_then(|result| result.error.as_deref()).map(visible::line);
    let why = why.map_or(String::new(), |why| format!(": {why}"));
    match hold.state {
        HoldState::Done => {
            let status = result.and_then(|result| result.status);
            let answer =
                status.map_or("the answer is kept".to_owned(), |status| format!("answered {status}"));
            (code::OK, format!("it was sent once and {answer}"))
        }
        HoldState::OutcomeUnknown => (
            code::ERROR,
            format!("it may have been sent, nobody knows what became of it{why}; it is never sent again"),
        ),
        HoldState::Refused => (code::ERROR, format!("it was not sent{why}")),
        _ if hold.caller_waiting => {
            (code::OK, "it is sent once, now, and the waiting agent gets the answer".to_owned())
        }
        _ => (code::OK, "it is sent once, now; the answer is kept for when the agent asks again".to_owned()),
    }
}

/// The exit code for a hold that is not what a decision expects.
fn code_of(state: HoldState) -> u8 {
    match state {
        HoldState::Denied => code::DENIED,
        HoldState::Expired | HoldState::Pending => code::UNDECIDED,
        _ => code::ERROR,
    }
}

fn named(hold: &HoldView) -> String {
    format!("{} ({})", hold.id, visible::line(&hold.action.summary))
}

fn by_whom(hold: &HoldView) -> String {
    let Some(decision) = &hold.decision else { return String::new() };
    let by = visible::line(&decision.by);
    let reason = visible::line(&decision.reason);
    let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
    format!(" by {by} at {:.0}{reason}", decision.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::view::DecisionView;
    use crate::control::tests::hold;

    fn found(state: HoldState, decision: Decision) -> (u8, String) {
        let mut hold = hold(state);
        let at = hold.created_at;
        hold.decision = Some(DecisionView { decision, by: "ada".into(), at, reason: "no\nreason".into() });
        let problem = Problem { status: 409, detail: "look again".into(), nearest: vec![], current: None };
        not_decided(&hold, decision, &problem)
    }

    #[test]
    fn each_way_a_decision_can_come_too_late_has_its_code() {
        for (decision, state, code) in [
            (Decision::Approve, HoldState::Approved, 0),
            (Decision::Approve, HoldState::Sending, 0),
            (Decision::Approve, HoldState::Done, 0),
            (Decision::Approve, HoldState::Denied, 3),
            (Decision::Approve, HoldState::Expired, 4),
            (Decision::Approve, HoldState::Pending, 4),
            (Decision::Approve, HoldState::Refused, 1),
            (Decision::Approve, HoldState::OutcomeUnknown, 1),
            (Decision::Approve, HoldState::Cancelled, 1),
            (Decision::Deny, HoldState::Denied, 3),
            (Decision::Deny, HoldState::Approved, 1),
            (Decision::Deny, HoldState::Done, 1),
            (Decision::Deny, HoldState::Expired, 4),
        ] {
            assert_eq!(found(state, decision).0, code, "{decision:?} {state:?}");
        }
    }

    #[test]
    fn who_decided_before_is_named_on_one_line() {
        let (_, sentence) = found(HoldState::Denied, Decision::Approve);
        assert!(
            sentence.starts_with("already denied by ada at 2027-01-01T00:00:00Z (no‹U+000A›reason): 01J")
        );
        let (_, sentence) = found(HoldState::Approved, Decision::Deny);
        assert!(sentence.contains("shield revoke 01J"), "{sentence}");
    }

    #[test]
    fn what_happens_next_depends_on_whether_the_agent_waits() {
        let mut held = hold(HoldState::Approved);
        assert!(decided(&held, Decision::Approve).1.ends_with("the waiting agent gets the answer"));
        held.caller_waiting = false;
        assert!(decided(&held, Decision::Approve).1.ends_with("when the agent asks again"));
        assert!(decided(&held, Decision::Deny).1.starts_with("denied 01J"));
    }
}
