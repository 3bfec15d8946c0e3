//! A policy short enough to see: what a request's method, path and body say is what becomes of it.

use std::net::{IpAddr, Ipv4Addr};

use crate::flow::accept::Flow;
use crate::flow::http::canonical::RequestHead;
use crate::flow::inspect::action::{Action, Effect};
use crate::flow::judge::Judge;
use crate::flow::policy::verdict::{BodyView, HoldTerms, Judgement, NameAsked, Subject, Verdict};
use crate::ipc::worker::PolicyText;
use crate::names::{AgentName, Digest, RuleId};
use crate::networks::Networks;

/// Connections to these addresses pass unread.
pub(in crate::flow::tests) const UNREAD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
pub(in crate::flow::tests) const UNREAD_TOO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10));

struct Plain;

/// The policy of every world; a file named `bad` does not compile.
pub(super) fn compile(text: &PolicyText) -> Result<Box<dyn Judge>, String> {
    match text.files.iter().find(|(name, _)| name == "bad") {
        Some(_) => Err("bad: not a policy".to_owned()),
        None => Ok(Box::new(Plain)),
    }
}

impl Judge for Plain {
    fn body_need(&self, _agent: &AgentName, head: &RequestHead, _now: jiff::Timestamp) -> bool {
        head.path() == "/sql"
    }

    fn classify(&self, head: &RequestHead, _body: Option<&[u8]>) -> Action {
        Action {
            effect: Effect::Unknown,
            family: "http".into(),
            operation: head.method.clone(),
            resource: None,
            environment: None,
            reversible: None,
            count: None,
            amount: None,
            currency: None,
            summary: format!("{} {}", head.method, head.url()),
        }
    }

    fn judge(&self, subject: &Subject<'_>) -> Judgement {
        let drops = |body: &[u8]| body.windows(4).any(|word| word == b"drop");
        let here = subject.destination.ip.to_string();
        let verdict = match (subject.head.method.as_str(), subject.head.path(), subject.body) {
            (_, "/denied", _) => Verdict::Deny,
            ("DELETE", ..) | (_, "/held", _) => Verdict::Hold,
            (_, "/sql", BodyView::Whole(body)) if !drops(body) => Verdict::Allow,
            (_, "/sql", _) => Verdict::Hold,
            (_, path, _) if path.strip_prefix("/only-at/").is_some_and(|there| there != here) => {
                Verdict::Deny
            }
            _ => Verdict::Allow,
        };
        judgement(verdict)
    }

    fn name(&self, asked: &NameAsked<'_>) -> Judgement {
        judgement(if asked.host.ends_with(".denied.example") { Verdict::Deny } else { Verdict::Allow })
    }

    fn beyond_limits(&self, _why: String) -> Judgement {
        judgement(Verdict::Deny)
    }

    fn opaque(&self, flow: &Flow) -> Judgement {
        judgement(if passes_unread(flow) { Verdict::Allow } else { Verdict::Deny })
    }

    fn unopened(&self, flow: &Flow, tls_name: &str) -> Option<Judgement> {
        let pinned = tls_name == "pinned.example";
        pinned.then(|| judgement(if passes_unread(flow) { Verdict::Allow } else { Verdict::Deny }))
    }

    fn networks(&self) -> &Networks {
        const NONE: &Networks = &Networks { deny: Vec::new(), direct: Vec::new() };
        NONE
    }

    fn digest(&self) -> Digest {
        Digest::of(b"plain")
    }
}

fn passes_unread(flow: &Flow) -> bool {
    [UNREAD, UNREAD_TOO].contains(&flow.original.ip())
}

fn judgement(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        rule: Some(RuleId("plain".into())),
        why: "because".into(),
        terms: HoldTerms::default(),
        observed: vec![],
        policy: Digest::of(b"plain"),
    }
}
