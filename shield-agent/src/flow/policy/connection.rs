//! Rules about connections nobody can look into: judged by where they go, never by what they carry.

use std::net::IpAddr;

use ipnet::IpNet;

use super::host::{HostPattern, WordPattern};
use super::verdict::{Judgement, Verdict};
use super::{Mode, Policy};
use crate::flow::accept::Flow;
use crate::names::RuleId;

/// A rule with `connection` in place of `match`. It allows or denies: a live connection cannot wait for a person.
#[derive(Debug)]
pub(super) struct ConnectionRule {
    pub(super) id: RuleId,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    pub(super) agent: Vec<WordPattern>,
    /// Never empty where it allows: a name in a handshake is the program's own word.
    pub(super) address: Vec<IpNet>,
    pub(super) port: Vec<u16>,
    /// Names of TLS sessions that are not opened here; when empty, the rule is about what is neither TLS nor HTTP.
    pub(super) tls_name: Vec<HostPattern>,
}

impl ConnectionRule {
    fn is_about(&self, flow: &Flow, tls_name: Option<&str>) -> bool {
        let (address, port) = (flow.original.ip(), flow.original.port());
        let name_fits = match tls_name {
            None => self.tls_name.is_empty(),
            Some(name) => self.tls_name.iter().any(|pattern| pattern.matches(name)),
        };
        name_fits
            && (self.agent.is_empty() || self.agent.iter().any(|agent| agent.matches(flow.agent.as_str())))
            && (self.address.is_empty() || self.address.iter().any(|range| covers(range, address)))
            && (self.port.is_empty() || self.port.contains(&port))
    }
}

/// Whether a range holds an address; IPv4 written as IPv6 is IPv4.
fn covers(range: &IpNet, address: IpAddr) -> bool {
    range.contains(&address.to_canonical())
}

impl Policy {
    /// What the strictest rule about a connection says; `None` when no rule is about it.
    pub(super) fn judge_connection(&self, flow: &Flow, tls_name: Option<&str>) -> Option<Judgement> {
        let about = self.connections.iter().filter(|rule| rule.is_about(flow, tls_name));
        // Of equally strict rules the first by id decides, as everywhere.
        let strictest = about.max_by(|one, other| (one.verdict, &other.id).cmp(&(other.verdict, &one.id)))?;
        Some(self.unread(strictest.verdict, Some(strictest.id.clone()), &strictest.why))
    }

    /// A verdict on a connection: it passes or it does not. Nobody could decide before the program or its server gives up,
    /// and who knows what is no read.
    pub(super) fn unread(&self, verdict: Verdict, rule: Option<RuleId>, why: &str) -> Judgement {
        let (verdict, why) = match verdict {
            Verdict::Hold => {
                (Verdict::Deny, format!("{why}: hold, and a live connection cannot wait for a person"))
            }
            Verdict::Allow if self.mode == Mode::ReadOnly => {
                (Verdict::Deny, format!("{why}; mode: read-only, and what cannot be read may write"))
            }
            verdict => (verdict, why.to_owned()),
        };
        self.judgement(verdict, rule, why)
    }
}
