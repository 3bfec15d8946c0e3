//! Programs that leave in or right after the TLS handshake without a word, again and again: they look at our certificate by
//! themselves, as Node.js does, and do not trust it.
//!
//! One such connection means nothing: programs open some in reserve. A program that asked once is not looked at again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::refuse;
use super::via::Via;
use crate::flow::accept::Flow;
use crate::flow::services::Services;
use crate::ipc::approver::Distrust;
use crate::names::AgentName;

/// How soon a program leaves that does not like what it saw.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Such connections that mean something.
const TELLING: u8 = 3;
/// Programs and names remembered.
const REMEMBERED: usize = 1024;

/// What programs did with the names they connected to.
#[derive(Default)]
pub struct Unasked(Mutex<HashMap<Pair, Habit>>);

/// An agent's program, and a name.
type Pair = (AgentName, String, String);

#[derive(Debug, PartialEq, Eq)]
enum Habit {
    Asks,
    Leaves(u8),
}

impl Unasked {
    /// A connection is over on which its program `asked` or not; whether it is the one that means something.
    fn over(&self, pair: Pair, asked: bool) -> bool {
        // Nothing panics while holding the lock.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(&pair) {
            known.clear();
        }
        let habit = known.entry(pair).or_insert(Habit::Leaves(0));
        match habit {
            Habit::Asks => {}
            _ if asked => *habit = Habit::Asks,
            Habit::Leaves(times) => *times = times.saturating_add(1),
        }
        *habit == Habit::Leaves(TELLING)
    }
}

/// Looks at a connection that is over, whose handshake ended at `opened`.
pub async fn look(via: &Via, opened: Instant) {
    let Some(name) = &via.channel.name else { return };
    let asked = via.asked();
    if asked || !via.stop.is_cancelled() && opened.elapsed() < AT_ONCE {
        over(&via.services, &via.flow, name, asked).await;
    }
}

/// Takes the end of a connection for `name`; tells people when it is the one that means something.
pub async fn over(services: &Services, flow: &Flow, name: &str, asked: bool) {
    let (agent, program, name) = (flow.agent.clone(), flow.caller.exe.clone(), name.to_owned());
    if !services.unasked.over((agent.clone(), program.clone(), name.clone()), asked) {
        return;
    }
    let why = format!(
        "the program left {TELLING} connections to {name} as soon as it saw our certificate, and asked nothing: it may not \
         trust it"
    );
    refuse::note(services, flow, &why).await;
    services.approver.distrusted(Distrust { agent, program, name, alert: None });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(program: &str) -> Pair {
        ("bot".parse().unwrap(), program.to_owned(), "a.example".to_owned())
    }

    #[test]
    fn a_program_that_leaves_again_and_again_is_told_of_once() {
        let unasked = Unasked::default();
        let told: Vec<bool> = (0..5).map(|_| unasked.over(pair("node"), false)).collect();
        assert_eq!(told, [false, false, true, false, false]);
        assert!(!unasked.over(pair("curl"), false), "another program");
    }

    #[test]
    fn a_program_that_asked_once_may_leave_as_it_likes() {
        let unasked = Unasked::default();
        for asked in [false, false, true, false, false, false, false] {
            assert!(!unasked.over(pair("chromium"), asked));
        }
    }
}
