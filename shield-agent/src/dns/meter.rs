//! What one agent's questions have carried lately. No clock: the time is an argument.
//!
//! Whoever runs a domain sees every name asked below it, so the names are a message to them. A name that was asked
//! before says little; a new one says at most what its new labels can: that is counted, below each parent and over all.
//!
//! ```text
//! name ──► seen? ──yes──► asked
//!            └─no──► a name and its bits fit into the parent's minute and the agent's ──► remembered, asked
//!                    else refused, nothing spent
//! ```

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::limits::{Limits, parent};

/// All parents together may have so many times what one may.
const ALL_PARENTS: u32 = 10;
/// A letter is one of 38: log₂ 38 is a little less than 21/4 bits.
const QUARTER_BITS_PER_LETTER: usize = 21;
/// Names and labels remembered; with more, all are new again.
const REMEMBERED: usize = 1 << 15;
/// What naming one of the remembered labels says, in bits.
const BITS_TO_CHOOSE: usize = REMEMBERED.ilog2() as usize;
/// Parents watched at a time; those that were quiet for a minute make room.
const PARENTS: usize = 4096;
/// Seconds of questions that may come at once.
const BURST: u32 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct Meter {
    questions: Bucket,
    all: Spent,
    parents: HashMap<String, Spent>,
    /// Hashes under a key of our own: nobody can look for two names with the same.
    seen: HashSet<u64>,
    hasher: RandomState,
}

#[derive(Clone, Debug)]
struct Spent {
    names: Bucket,
    bits: Bucket,
}

/// Holds so much, and is filled again at a steady pace.
#[derive(Clone, Debug)]
struct Bucket {
    room: f64,
    left: f64,
    per_second: f64,
    at: Instant,
}

impl Meter {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let rate = limits.questions_per_second;
        Self {
            questions: Bucket::new(f64::from(rate) * f64::from(BURST), rate.into(), now),
            all: Spent::new(limits, ALL_PARENTS, now),
            parents: HashMap::new(),
            seen: HashSet::new(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a question; why it is too much, when it is.
    pub(super) fn take(&mut self, limits: &Limits, name: &str, now: Instant) -> Result<(), String> {
        if !self.questions.take(1.0, now) {
            let most = limits.questions_per_second;
            return Err(format!("more than {most} questions a second: dns.questions_per_second"));
        }
        let hash = self.hasher.hash_one(name);
        if self.seen.contains(&hash) {
            return Ok(());
        }
        let parent = parent(name);
        // To whoever runs the parent, its own labels say nothing.
        let (bits, bits_below) = (self.bits(name, 0), self.bits(name, parent.split('.').count()));
        self.make_room(parent, now)?;
        let new = || Spent::new(limits, 1, now);
        let below = self.parents.entry(parent.to_owned()).or_insert_with(new);
        below.fits(bits_below, now).map_err(|key| too_much(limits, key, &format!("below {parent}"), 1))?;
        self.all.fits(bits, now).map_err(|key| too_much(limits, key, "in all", ALL_PARENTS))?;
        below.take(bits_below, now);
        self.all.take(bits, now);
        self.remember(name, hash);
        Ok(())
    }

    /// What a name not asked before can say at most, but for its last labels.
    fn bits(&self, name: &str, last: usize) -> f64 {
        let of = |(position, label): (usize, &str)| {
            let written = (label.len() * QUARTER_BITS_PER_LETTER).div_ceil(4);
            let known = self.seen.contains(&self.hasher.hash_one((position, label)));
            if known { written.min(BITS_TO_CHOOSE) } else { written }
        };
        let bits: usize = name.rsplit('.').enumerate().skip(last).map(of).sum();
        bits as f64
    }

    fn remember(&mut self, name: &str, hash: u64) {
        let labels = name.rsplit('.').enumerate().map(|label| self.hasher.hash_one(label));
        let hashes: Vec<u64> = labels.chain([hash]).collect();
        if self.seen.len() + hashes.len() > REMEMBERED {
            self.seen.clear();
        }
        self.seen.extend(hashes);
    }

    /// Forgets parents that were quiet so long that nothing of theirs counts any more.
    fn make_room(&mut self, parent: &str, now: Instant) -> Result<(), String> {
        if self.parents.len() >= PARENTS && !self.parents.contains_key(parent) {
            self.parents.retain(|_, spent| now.duration_since(spent.names.at) < MINUTE);
        }
        let full = self.parents.len() >= PARENTS && !self.parents.contains_key(parent);
        if full { Err(format!("names below more than {PARENTS} domains in a minute")) } else { Ok(()) }
    }
}

fn too_much(limits: &Limits, key: &str, whose: &str, times: u32) -> String {
    let (most, what) = match key {
        "new_names_per_minute" => (limits.new_names_per_minute, "new names"),
        _ => (limits.new_bytes_per_minute, "bytes in new names"),
    };
    format!("more than {} {what} a minute {whose}: dns.{key}", most.saturating_mul(times))
}

impl Spent {
    fn new(limits: &Limits, times: u32, now: Instant) -> Self {
        let a_minute = |most: f64| Bucket::new(most, most / MINUTE.as_secs_f64(), now);
        let times = f64::from(times);
        Self {
            names: a_minute(f64::from(limits.new_names_per_minute) * times),
            bits: a_minute(f64::from(limits.new_bytes_per_minute) * 8.0 * times),
        }
    }

    /// The limit a new name of so many bits would exceed.
    fn fits(&mut self, bits: f64, now: Instant) -> Result<(), &'static str> {
        match (self.names.has(1.0, now), self.bits.has(bits, now)) {
            (true, true) => Ok(()),
            (false, _) => Err("new_names_per_minute"),
            (true, false) => Err("new_bytes_per_minute"),
        }
    }

    fn take(&mut self, bits: f64, now: Instant) {
        self.names.take(1.0, now);
        self.bits.take(bits, now);
    }
}

impl Bucket {
    fn new(room: f64, per_second: f64, now: Instant) -> Self {
        Self { room, left: room, per_second, at: now }
    }

    fn has(&mut self, wanted: f64, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.room);
        self.at = now;
        self.left >= wanted
    }

    fn take(&mut self, wanted: f64, now: Instant) -> bool {
        let enough = self.has(wanted, now);
        if enough {
            self.left -= wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests;
