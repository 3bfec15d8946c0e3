//! Refusals of one agent on their way into the journal: for each reason and destination one record a minute, with how
//! often. Knows no clock and no disk.
//!
//! An agent chooses how many destinations it tries. Beyond [`MAX_OPEN`] in the same minute they are written together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use shield_common::event::{Reason, Sort};

use crate::ipc::attempt::Attempt;
use crate::journal::body::Refused;

/// How long the same is not written again.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// Destinations that are told apart in one minute.
const MAX_OPEN: usize = 64;

const IPPROTO_MPTCP: u16 = 262;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: BTreeMap<Key, Open>,
}

/// What makes two refusals the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// Number of its counter.
    reason: u32,
    /// `None` for what is written together.
    target: Option<(Option<IpAddr>, u16, u16, u32)>,
}

/// Something that was written, or is about to be.
#[derive(Debug)]
struct Open {
    /// When it was last written.
    written: Timestamp,
    /// What happened since.
    since: Option<Refused>,
}

impl Ledger {
    /// Takes a refusal in; gives what is to be written now.
    pub(super) fn take(&mut self, attempt: &Attempt, now: Timestamp) -> Option<Refused> {
        if attempt.reason.sort() != Sort::Refused {
            return None;
        }
        let own = (attempt.address, attempt.port, attempt.protocol, attempt.what);
        let key = Key { reason: attempt.reason as u32, target: Some(own) };
        let key = match self.open.contains_key(&key) || self.open.len() < MAX_OPEN {
            true => key,
            false => Key { target: None, ..key },
        };
        let Some(open) = self.open.get_mut(&key) else {
            self.open.insert(key, Open { written: now, since: None });
            return Some(first(attempt, key));
        };
        match &mut open.since {
            Some(refused) => add(refused, attempt),
            none => *none = Some(first(attempt, key)),
        }
        None
    }

    /// What is to be written because its minute is over.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Refused> {
        let mut due = Vec::new();
        self.open.retain(|_, open| {
            if now.duration_since(open.written) < WINDOW {
                return true;
            }
            let Some(refused) = open.since.take() else { return false };
            due.push(refused);
            open.written = now;
            true
        });
        due
    }

    /// What is left when nothing more will come.
    pub(super) fn close(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.open).into_values().filter_map(|open| open.since).collect()
    }
}

fn first(attempt: &Attempt, key: Key) -> Refused {
    let together = key.target.is_none();
    Refused {
        reason: attempt.reason,
        address: attempt.address.filter(|_| !together),
        port: if together { 0 } else { attempt.port },
        protocol: attempt.protocol,
        what: attempt.what,
        together,
        times: attempt.times,
        first: attempt.at,
        last: attempt.at,
        pid: attempt.pid,
        uid: attempt.uid,
        comm: attempt.comm.clone(),
    }
}

fn add(refused: &mut Refused, attempt: &Attempt) {
    refused.times = refused.times.saturating_add(attempt.times);
    refused.last = refused.last.max(attempt.at);
    (refused.pid, refused.uid) = (attempt.pid, attempt.uid);
    refused.comm.clone_from(&attempt.comm);
}

/// Whether no ordinary program does this: somebody should look.
pub(super) fn is_remarkable(refused: &Refused) -> bool {
    match refused.reason {
        // Some languages ask for MPTCP wherever they would take TCP.
        Reason::SocketKind => refused.protocol != IPPROTO_MPTCP,
        Reason::Egress
        | Reason::ForeignPacket
        | Reason::ForeignListener
        | Reason::ForeignSocket
        | Reason::RoutingOption
        | Reason::Metadata
        | Reason::NoRecord => true,
        // QUIC, time, a service that is not up, a daemon that restarts, a neighbour that scans: all of it happens.
        Reason::Datagram
        | Reason::Destination
        | Reason::DeniedNetwork
        | Reason::Direct
        | Reason::NoV6Loopback
        | Reason::NoListener
        | Reason::UnservedNetns
        | Reason::ProxyGone
        | Reason::Ingress
        | Reason::Unclaimed
        | Reason::Taken
        | Reason::NameAsked
        | Reason::OwnLoopback
        | Reason::DeviceOption
        | Reason::RingFull => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn attempt(reason: Reason, last_byte: u8, times: u64) -> Attempt {
        Attempt {
            at: START,
            reason,
            address: Some([10, 0, 0, last_byte].into()),
            port: 443,
            protocol: 17,
            what: 0,
            pid: Some(7),
            uid: Some(1001),
            comm: "python3".into(),
            times,
        }
    }

    #[test]
    fn the_first_refusal_is_written_at_once_and_those_after_it_once_a_minute_with_their_number() {
        let mut ledger = Ledger::default();
        let refusal = attempt(Reason::Datagram, 1, 1);
        assert_eq!(ledger.take(&refusal, START).unwrap().times, 1);
        assert_eq!(ledger.take(&refusal, after(1)), None);
        assert_eq!(ledger.take(&Attempt { times: 40, ..refusal.clone() }, after(2)), None);
        assert_eq!(ledger.due(after(59)), []);
        let due = ledger.due(after(60));
        assert_eq!(due.iter().map(|refused| refused.times).collect::<Vec<_>>(), [41]);
        assert_eq!(ledger.take(&refusal, after(61)), None, "the minute began again");
        assert_eq!(ledger.due(after(120)).len(), 1);
        assert_eq!(ledger.due(after(180)), []);
        assert_eq!(
            ledger.take(&refusal, after(181)).unwrap().times,
            1,
            "after a quiet minute it is new again"
        );
    }

    #[test]
    fn other_reasons_and_other_destinations_are_told_apart() {
        let mut ledger = Ledger::default();
        for refusal in [
            attempt(Reason::Datagram, 1, 1),
            attempt(Reason::Datagram, 2, 1),
            attempt(Reason::Destination, 1, 1),
            Attempt { port: 53, ..attempt(Reason::Datagram, 1, 1) },
        ] {
            assert!(ledger.take(&refusal, START).is_some(), "{refusal:?}");
        }
    }

    #[test]
    fn too_many_destinations_are_written_together() {
        let mut ledger = Ledger::default();
        let written = (0..=255).filter_map(|byte| ledger.take(&attempt(Reason::Datagram, byte, 1), START));
        let written: Vec<_> = written.collect();
        assert_eq!(written.len(), MAX_OPEN + 1);
        let last = written.last().unwrap();
        assert!(last.together && last.address.is_none());
        let due = ledger.due(after(60));
        assert_eq!(due.iter().map(|refused| refused.times).sum::<u64>(), 255 - MAX_OPEN as u64);
    }

    #[test]
    fn what_no_ordinary_program_does_is_remarkable() {
        let refused = |reason, protocol| {
            let attempt = Attempt { protocol, ..attempt(reason, 1, 1) };
            Ledger::default().take(&attempt, START).unwrap()
        };
        assert!(is_remarkable(&refused(Reason::SocketKind, 255)));
        assert!(is_remarkable(&refused(Reason::Egress, 17)));
        assert!(!is_remarkable(&refused(Reason::SocketKind, IPPROTO_MPTCP)));
        assert!(!is_remarkable(&refused(Reason::Datagram, 17)));
    }

    #[test]
    fn nothing_is_forgotten_at_the_end_and_redirects_are_not_refusals() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(&attempt(Reason::Taken, 1, 1), START), None);
        assert_eq!(ledger.close(), []);
        ledger.take(&attempt(Reason::Datagram, 1, 1), START);
        ledger.take(&attempt(Reason::Datagram, 1, 6), START);
        assert_eq!(ledger.close().iter().map(|refused| refused.times).collect::<Vec<_>>(), [6]);
    }
}
