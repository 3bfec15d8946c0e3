//! Which names an agent asked for before it went to an address: a hint for people, where a connection names nothing, the
//! proof that a `Host` of plain HTTP is where the connection goes, and a name's other addresses, for when one is silent.
//!
//! Never a reason to allow: many names share an address, and an agent may ask for any of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses remembered.
const ADDRESSES: usize = 4096;
/// Names remembered for each.
const NAMES: usize = 4;
/// How long after its time a name is remembered: programs keep addresses longer than they should.
const GRACE: Duration = Duration::from_secs(10 * 60);
/// Longest time an answer may ask to be kept.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<IpAddr, Vec<Known>>);

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    until: Instant,
}

impl Remembered {
    /// An answer: `name` is at `address`, for `ttl` seconds.
    pub(super) fn learn(&mut self, address: IpAddr, name: &Arc<str>, ttl: u32, now: Instant) {
        let until = now + Duration::from_secs(ttl.into()).min(LONGEST) + GRACE;
        let address = address.to_canonical();
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&address) {
            self.make_room(now);
        }
        let known = self.0.entry(address).or_default();
        known.retain(|other| other.name != *name && other.until > now);
        if known.len() >= NAMES {
            known.remove(0);
        }
        known.push(Known { name: Arc::clone(name), until });
    }

    /// Names asked for that led to `address`, the latest first.
    pub(super) fn names(&self, address: IpAddr, now: Instant) -> Vec<Arc<str>> {
        let known = self.0.get(&address.to_canonical()).into_iter().flatten();
        let mut names: Vec<_> =
            known.filter(|known| known.until > now).map(|known| Arc::clone(&known.name)).collect();
        names.reverse();
        names
    }

    /// Addresses that answers for `name` led to.
    pub(super) fn addresses(&self, name: &str, now: Instant) -> Vec<IpAddr> {
        let leads = |known: &Known| *known.name == *name && known.until > now;
        self.0.iter().filter(|(_, known)| known.iter().any(leads)).map(|(address, _)| *address).collect()
    }

    fn make_room(&mut self, now: Instant) {
        let last = |known: &[Known]| known.iter().map(|known| known.until).max();
        self.0.retain(|_, known| last(known).is_some_and(|until| until > now));
        if self.0.len() >= ADDRESSES
            && let Some(first) =
                self.0.iter().min_by_key(|(_, known)| last(known)).map(|(address, _)| *address)
        {
            self.0.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_name_is_remembered_for_its_time_and_a_little_longer() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        remembered.learn(address, &"a.example".into(), 60, now);
        remembered.learn(address, &"b.example".into(), u32::MAX, now);
        let asked = |at: Instant| {
            let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
            remembered.names(mapped, at).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked(now), ["b.example", "a.example"]);
        assert_eq!(asked(now + GRACE + Duration::from_secs(61)), ["b.example"]);
        assert_eq!(asked(now + LONGEST + GRACE), [""; 0]);
        assert_eq!(remembered.addresses("b.example", now), [address]);
        assert_eq!(remembered.addresses("b.example", now + LONGEST + GRACE), [] as [IpAddr; 0]);
        assert_eq!(remembered.addresses("c.example", now), [] as [IpAddr; 0]);
        assert_eq!(remembered.names("192.0.2.8".parse().unwrap(), now), [] as [Arc<str>; 0]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        let address = |number: usize| IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap()));
        for number in 0..ADDRESSES + 10 {
            let at = now + Duration::from_millis(number as u64);
            remembered.learn(address(number), &"a.example".into(), 60, at);
        }
        assert_eq!(remembered.0.len(), ADDRESSES);
        assert!(remembered.names(address(9), now).is_empty());
        assert_eq!(remembered.names(address(10), now).len(), 1);
        for number in 0..10 {
            remembered.learn(address(10), &format!("n{number}.example").into(), 60, now);
        }
        assert_eq!(remembered.names(address(10), now).len(), NAMES);
    }
}
