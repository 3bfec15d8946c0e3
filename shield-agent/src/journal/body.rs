//! What each kind of record says. Fields are in the order of these types, and nothing here contains a secret.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shield_common::event::Reason;

use crate::approval::view::{Decision, HoldState};
use crate::finding::Severity;
use crate::flow::inspect::action::Action;
use crate::flow::origin::{Caller, Destination};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::attempt::by_name;
use crate::names::{Digest, ExchangeId, HoldId, RuleId};

/// An exchange was judged by rule: `exchange.judged`.
pub const JUDGED: &str = "exchange.judged";
/// How an allowed exchange ended that had not when its [`JUDGED`] was written: `exchange.finished`.
pub const FINISHED: &str = "exchange.finished";
/// Questions about names were refused: `names.refused`.
pub const NAMES_REFUSED: &str = "names.refused";
/// Questions about names passed that would be refused without `mode: observe`: `names.observed`.
pub const NAMES_OBSERVED: &str = "names.observed";
/// A request was held: `hold.created`.
pub const HELD: &str = "hold.created";
/// The agent asked again: `hold.asked`.
pub const ASKED: &str = "hold.asked";
/// A reviewer decided: `hold.decided`.
pub const DECIDED: &str = "hold.decided";
/// A reviewer took an approval back: `hold.revoked`.
pub const REVOKED: &str = "hold.revoked";
/// The intent to send: `hold.sending`. After it, a request may have arrived.
pub const SENDING: &str = "hold.sending";
/// A hold is over: `hold.finished`.
pub const OVER: &str = "hold.finished";
/// An agent is gated: `agent.attached`.
pub const ATTACHED: &str = "agent.attached";
/// An agent's gate was removed: `agent.detached`.
pub const DETACHED: &str = "agent.detached";
/// The kernel refused what an agent tried: `agent.refused`.
pub const REFUSED: &str = "agent.refused";
/// An agent's processes were stopped: `agent.frozen`.
pub const FROZEN: &str = "agent.frozen";
/// An agent's processes continue: `agent.thawed`.
pub const THAWED: &str = "agent.thawed";
/// Something was found about an agent's protection, or the host's: `finding.raised`.
pub const FOUND: &str = "finding.raised";
/// A policy came into force: `policy.loaded`.
pub const POLICY: &str = "policy.loaded";

/// Of [`JUDGED`], [`HELD`] and [`ASKED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The exchange.
    pub exchange: ExchangeId,
    /// Who asked.
    pub caller: Caller,
    /// Where it goes.
    pub destination: Destination,
    /// Method; empty for a connection without HTTP.
    pub method: String,
    /// Absolute URL; the address and port for a connection.
    pub url: String,
    /// What it means; `None` for a connection without HTTP.
    pub action: Option<Action>,
    /// The rule that decided; `None` when a default did.
    pub rule: Option<RuleId>,
    /// Why.
    pub why: String,
    /// Rules that are only tried out, and what they would have said.
    pub observed: Vec<(RuleId, Verdict)>,
    /// Digest of the policy that judged.
    pub policy: Digest,
    /// Digest of the canonical request, of its head only when the body streams.
    pub digest: Option<Digest>,
    /// The hold it made or joined.
    pub hold: Option<HoldId>,
    /// How it ended, if it had when this was written; else [`FINISHED`] tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Finished>,
}

/// Of [`FINISHED`], and part of [`Judged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// Bytes of the request's body that were sent.
    pub sent: u64,
    /// Bytes of the answer's body that were passed on.
    pub received: u64,
    /// From judging to the end, milliseconds.
    pub took_ms: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Of [`NAMES_REFUSED`] and [`NAMES_OBSERVED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRefused {
    /// All of it, for people.
    pub summary: String,
    /// The domain the names are below.
    pub parent: String,
    /// The first of them.
    pub name: String,
    /// The type of record it was asked for.
    pub kind: String,
    /// How many questions since the last record.
    pub questions: u64,
    /// The rule that decided; `None` when a default or a limit did.
    pub rule: Option<RuleId>,
    /// Why.
    pub why: String,
    /// What the policy would have said.
    pub observed: Vec<(RuleId, Verdict)>,
    /// Digest of the policy that judged.
    pub policy: Digest,
}

/// Of [`DECIDED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Yes or no.
    pub decision: Decision,
    /// Who.
    pub by: String,
    /// Their words.
    pub reason: String,
    /// Digest of the request they saw.
    pub digest: Digest,
}

/// Of [`SENDING`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// Digest of the request that may arrive from now on.
    pub digest: Digest,
    /// Where it is sent.
    pub destination: Destination,
}

/// Of [`OVER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// As what it ended.
    pub state: HoldState,
    /// Status of the destination's answer.
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    pub size: u64,
    /// SHA-256 of the answer's body.
    pub answer: Option<Digest>,
    /// Name the destination's certificate was verified for.
    pub verified_name: Option<String>,
    /// Why there is no answer.
    pub error: Option<String>,
}

/// Of [`REVOKED`], [`FROZEN`] and [`THAWED`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// Who.
    pub by: String,
}

/// Of [`REFUSED`]: what was refused for one reason and, but for `together`, one destination within a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    #[serde(with = "by_name")]
    pub reason: Reason,
    /// Where to; `null` when there was no address.
    pub address: Option<IpAddr>,
    /// The port; 0 when there was none.
    pub port: u16,
    /// Number of the protocol, as IP knows it; 0 when it is not known.
    pub protocol: u16,
    /// Kind of socket or number of the option, where the reason is about one.
    pub what: u32,
    /// Many destinations: too many to tell them apart.
    pub together: bool,
    /// How often.
    pub times: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
    /// The process that tried last; `null` when all there was is a packet.
    pub pid: Option<u32>,
    /// Its user id.
    pub uid: Option<u32>,
    /// Its name, chosen by itself.
    pub comm: String,
}

/// Of [`FOUND`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What kind it is.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: String,
    /// Whether the agent's processes were stopped.
    pub stopped: bool,
}

/// Of [`POLICY`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLoaded {
    /// Digest of its text, as judgements name it.
    pub policy: Digest,
    /// Names of its files.
    pub files: Vec<String>,
}
