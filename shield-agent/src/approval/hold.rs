//! The life of a hold, as a table of moves. No clock, no disk: the engine asks what may happen, then does it in one
//! transaction.
//!
//! ```text
//! PENDING ──approve──► APPROVED ──begin──► SENDING ──answered──► DONE
//!    │ deny ► DENIED      │ revoke ► DENIED   │ not sent ► REFUSED
//!    │ time ► EXPIRED     │ time, not sent ►  └ lost track ► OUTCOME-UNKNOWN
//!    └ withdraw ►         │    REFUSED
//!      CANCELLED          └ withdraw ► CANCELLED
//! ```
//! What has ended stays as it ended; only what was approved is ever sent, and only once.

use super::error::Conflict;
use super::view::HoldState;

/// Something that may happen to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A reviewer says yes.
    Approve,
    /// A reviewer says no.
    Deny,
    /// A reviewer takes a yes back.
    Revoke,
    /// Its time is over.
    TimeOut,
    /// The agent does not want it any more.
    Withdraw,
    /// The intent to send becomes durable.
    Begin,
    /// The destination answered.
    Answered,
    /// Nothing left this host, and nothing will.
    NotSent,
    /// It may have arrived, and nobody can know.
    LostTrack,
}

/// Where a hold is after a move; `None` when the move is not possible from there.
pub fn after(from: HoldState, what: Move) -> Option<HoldState> {
    use HoldState::{Approved, Cancelled, Denied, Done, Expired, OutcomeUnknown, Pending, Refused, Sending};
    match (from, what) {
        (Pending, Move::Approve) => Some(Approved),
        (Pending, Move::Deny) | (Approved, Move::Revoke) => Some(Denied),
        (Pending, Move::TimeOut) => Some(Expired),
        (Pending | Approved, Move::Withdraw) => Some(Cancelled),
        (Approved, Move::TimeOut) | (Approved | Sending, Move::NotSent) => Some(Refused),
        (Approved, Move::Begin) => Some(Sending),
        (Sending, Move::Answered) => Some(Done),
        (Sending, Move::LostTrack) => Some(OutcomeUnknown),
        _ => None,
    }
}

/// Why a reviewer's move is not possible from there.
pub fn conflict(from: HoldState, what: Move) -> Conflict {
    match (from, what) {
        (HoldState::Expired, _) => Conflict::Expired,
        (HoldState::Denied, _) => Conflict::AlreadyDenied,
        (HoldState::Pending, Move::Revoke) => Conflict::NotApproved,
        (HoldState::Sending | HoldState::Done | HoldState::OutcomeUnknown, Move::Revoke) => Conflict::TooLate,
        (HoldState::Cancelled | HoldState::Refused, _) => Conflict::Over,
        _ => Conflict::AlreadyDecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 9] = [
        Move::Approve,
        Move::Deny,
        Move::Revoke,
        Move::TimeOut,
        Move::Withdraw,
        Move::Begin,
        Move::Answered,
        Move::NotSent,
        Move::LostTrack,
    ];

    fn ways() -> Vec<(HoldState, Move, HoldState)> {
        let states = HoldState::ALL.iter().map(|(state, _)| *state);
        states
            .flat_map(|from| MOVES.map(|what| (from, what)))
            .filter_map(|(f, w)| Some((f, w, after(f, w)?)))
            .collect()
    }

    #[test]
    fn what_has_ended_stays_as_it_ended() {
        assert!(ways().iter().all(|(from, ..)| from.is_open()));
    }

    #[test]
    fn only_a_reviewers_yes_leads_to_sending() {
        let into = |state| ways().into_iter().filter(move |(.., to)| *to == state).collect::<Vec<_>>();
        assert_eq!(into(HoldState::Sending), [(HoldState::Approved, Move::Begin, HoldState::Sending)]);
        assert_eq!(into(HoldState::Approved), [(HoldState::Pending, Move::Approve, HoldState::Approved)]);
        assert!(into(HoldState::Pending).is_empty());
    }

    #[test]
    fn what_was_being_sent_is_never_sent_again() {
        let ends = ways().into_iter().filter(|(from, ..)| *from == HoldState::Sending).map(|(.., to)| to);
        assert!(ends.into_iter().all(|to| !to.is_open()));
    }

    #[test]
    fn a_reviewer_is_told_how_the_hold_differs_from_what_they_saw() {
        let cases = [
            (HoldState::Denied, Move::Approve, Conflict::AlreadyDenied),
            (HoldState::Approved, Move::Deny, Conflict::AlreadyDecided),
            (HoldState::Expired, Move::Approve, Conflict::Expired),
            (HoldState::Cancelled, Move::Approve, Conflict::Over),
            (HoldState::Pending, Move::Revoke, Conflict::NotApproved),
            (HoldState::Sending, Move::Revoke, Conflict::TooLate),
        ];
        for (from, what, expected) in cases {
            assert_eq!(after(from, what), None);
            assert_eq!(conflict(from, what), expected, "{from} {what:?}");
        }
    }
}
