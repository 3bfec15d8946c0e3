//! One agent's questions: judged by policy and weighed before they leave, answered here when they do not.
//!
//! ```text
//! read ─► ours? ─► policy: can any request to this host pass? ─► types and limits ─► forwarded ─► remembered
//!                         └─ no: NXDOMAIN, nothing leaves          └─ REFUSED, nothing leaves
//! ```

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hickory_proto::op::ResponseCode;
use tokio::sync::Semaphore;

use super::Forwarder;
use super::meter::Meter;
use super::question::{Question, Refusal};
use super::refusals::Refusals;
use super::remembered::Remembered;
use super::upstream::Transport;
use crate::flow::judge::Judge;
use crate::flow::policy::verdict::{Judgement, NameAsked, Verdict};
use crate::ipc::approver::NamesRefused;
use crate::names::AgentName;

/// Questions of one agent that may be under way at once.
const MAX_UNDER_WAY: usize = 128;

/// See the module.
pub struct Asker {
    agent: AgentName,
    forwarder: Arc<Forwarder>,
    meter: Mutex<Meter>,
    remembered: Mutex<Remembered>,
    refusals: Mutex<Refusals>,
    slots: Semaphore,
}

impl Asker {
    pub(super) fn new(agent: AgentName, forwarder: Arc<Forwarder>) -> Self {
        let meter = Meter::new(&forwarder.limits, Instant::now());
        Self {
            agent,
            forwarder,
            meter: meter.into(),
            remembered: Mutex::default(),
            refusals: Mutex::default(),
            slots: Semaphore::new(MAX_UNDER_WAY),
        }
    }

    /// The answer to a message of the agent; `None` for what deserves none.
    pub(super) async fn answer(&self, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let question = match Question::read(message) {
            Ok(question) => question,
            Err(Refusal::Silent) => return None,
            Err(Refusal::Answer(answer)) => return Some(answer),
        };
        if let Some(answer) = question.answer_ours() {
            return Some(answer);
        }
        let answer = match self.judge(&question) {
            Ok(()) => self.forward(&question, transport).await,
            Err(answer) => answer,
        };
        Some(if transport == Transport::Udp { question.fit(answer) } else { answer })
    }

    /// Names asked for that led to `address`, the latest first.
    pub fn names_of(&self, address: IpAddr) -> Vec<Arc<str>> {
        lock(&self.remembered).names(address, Instant::now())
    }

    /// Addresses that answers for `host` led to.
    pub fn addresses_of(&self, host: &str) -> Vec<IpAddr> {
        lock(&self.remembered).addresses(host, Instant::now())
    }

    /// Whether `host` is at `address`: as an answer to the agent said, or one that is asked for now in its place.
    pub async fn leads_to(&self, host: &str, address: IpAddr) -> bool {
        let is_known = || self.names_of(address).iter().any(|name| **name == *host);
        if is_known() {
            return true;
        }
        let Some(question) = Question::of(host, address.is_ipv6()) else { return false };
        if self.judge(&question).is_ok() {
            self.forward(&question, Transport::Udp).await;
        }
        is_known()
    }

    /// What is to be recorded by now.
    pub(super) fn due(&self, now: Instant) -> Vec<NamesRefused> {
        lock(&self.refusals).due(&self.agent, now)
    }

    /// Whether the question may leave; else the answer to it.
    fn judge(&self, question: &Question) -> Result<(), Vec<u8>> {
        // Nobody can say what may pass: nothing does.
        let Some(policy) = self.forwarder.policy.load_full() else { return Err(question.failed()) };
        let policy: &dyn Judge = policy.as_ref().as_ref();
        let now = jiff::Timestamp::now();
        let judged = match question.host() {
            Some(host) => policy.name(&NameAsked { agent: &self.agent, host: &host, now }),
            None => policy.beyond_limits("it names no host".to_owned()),
        };
        self.apply(question, judged, ResponseCode::NXDomain)?;
        match self.weigh(question) {
            Ok(()) => Ok(()),
            Err(why) => self.apply(question, policy.beyond_limits(why), ResponseCode::Refused),
        }
    }

    fn weigh(&self, question: &Question) -> Result<(), String> {
        let limits = &self.forwarder.limits;
        match limits.exceeded(question.kind(), question.name()) {
            Some(why) => Err(why),
            None => lock(&self.meter).take(limits, question.name(), Instant::now()),
        }
    }

    /// Counts what was refused, or would have been without `mode: observe`.
    fn apply(&self, question: &Question, judged: Judgement, code: ResponseCode) -> Result<(), Vec<u8>> {
        let refused = (judged.verdict == Verdict::Deny).then(|| question.refused(code, &judged.why));
        if refused.is_some() || !judged.observed.is_empty() {
            lock(&self.refusals).add(question.name(), question.kind().to_string(), judged);
        }
        refused.map_or(Ok(()), Err)
    }

    async fn forward(&self, question: &Question, transport: Transport) -> Vec<u8> {
        let Ok(_slot) = self.slots.try_acquire() else { return question.failed() };
        let Some(answer) = self.forwarder.ask(question, transport).await else { return question.failed() };
        let now = Instant::now();
        let mut remembered = lock(&self.remembered);
        for (address, ttl) in answer.addresses {
            remembered.learn(address, question.name(), ttl, now);
        }
        answer.message
    }

    #[cfg(test)]
    pub(super) fn without_room(self) -> Self {
        Self { slots: Semaphore::new(0), ..self }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
