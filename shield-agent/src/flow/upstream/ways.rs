//! To which of its name's addresses a request goes: the one its program chose or, where nobody answers there, another
//! that the agent's resolver gave for the name.
//!
//! Behind the gate every connection of a program succeeds, so it never tries the others itself. Each is judged and
//! recorded as if the program had gone there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pool::Key;
use crate::dns::Resolver;
use crate::flow::accept::forbidden::Forbidden;
use crate::names::AgentName;

/// Addresses of its name that are tried for a request or a connection.
pub const MOST_ADDRESSES: usize = 4;

/// How long an address at which nobody answered is the last to be tried.
const AVOIDED_FOR: Duration = Duration::from_secs(30);
/// Addresses avoided at once.
const AVOIDED: usize = 1024;

/// See the module.
pub struct Ways {
    resolver: Arc<Resolver>,
    forbidden: Arc<Forbidden>,
    /// Where nobody answered, and until when that counts.
    avoided: Mutex<HashMap<(AgentName, SocketAddr), Instant>>,
}

impl Ways {
    /// Ways to the addresses `resolver` gave, and never to a forbidden one.
    pub fn new(resolver: Arc<Resolver>, forbidden: Arc<Forbidden>) -> Self {
        Self { resolver, forbidden, avoided: Mutex::default() }
    }

    /// Where a request for `host` goes whose program went to `original`.
    pub fn first(&self, agent: &AgentName, host: &str, original: SocketAddr) -> SocketAddr {
        let chosen = if self.is_avoided(agent, original) { self.other(agent, host, original) } else { None };
        chosen.unwrap_or(original)
    }

    /// An address of `host` beside `one`, unless nobody answered there lately; of the same family before the other one.
    pub fn other(&self, agent: &AgentName, host: &str, one: SocketAddr) -> Option<SocketAddr> {
        let mut known: Vec<_> = self.resolver.asker(agent).addresses_of(host);
        known.sort_by_key(|address| (address.is_ipv4() != one.is_ipv4(), *address));
        let mut others = known.into_iter().map(|ip| SocketAddr::new(ip, one.port()));
        others.find(|other| {
            *other != one && !self.is_avoided(agent, *other) && self.forbidden.check(*other).is_ok()
        })
    }

    /// Whether the host of a connection has other addresses to try.
    pub fn has_others(&self, key: &Key) -> bool {
        self.other(&key.agent, &key.host, key.address).is_some()
    }

    /// Whether nobody answered there lately.
    pub fn is_avoided(&self, agent: &AgentName, address: SocketAddr) -> bool {
        let avoided = self.lock();
        // Nearly always: nothing is looked up for a request.
        !avoided.is_empty()
            && avoided.get(&(agent.clone(), address)).is_some_and(|until| *until > Instant::now())
    }

    /// Nobody answered there.
    pub fn avoid(&self, agent: &AgentName, address: SocketAddr) {
        let (now, mut avoided) = (Instant::now(), self.lock());
        avoided.retain(|_, until| *until > now);
        if avoided.len() < AVOIDED {
            avoided.insert((agent.clone(), address), now + AVOIDED_FOR);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(AgentName, SocketAddr), Instant>> {
        // Nothing panics while holding the lock.
        self.avoided.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
