//! Invented holds, exchanges and agents.

use jiff::Timestamp;
use serde_json::json;
use shield_common::event::Reason;

use crate::approval::listing::{AgentDetail, AgentView, ExchangeView};
use crate::approval::view::{Decision, DecisionView, HoldState, HoldView, ResultView};
use crate::console::auth::Reviewer;
use crate::finding::{Finding, GATE_DAMAGED, Severity};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::attempt::Attempt;
use crate::names::{Digest, ExchangeId};

/// When the samples are looked at.
const NOW: &str = "2026-11-25T17:42:00Z";

pub(in crate::console) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(in crate::console) fn reviewer() -> Reviewer {
    Reviewer { name: "Ada".into(), csrf: "c5f".into(), token: None }
}

/// One that waits.
pub(in crate::console) fn hold() -> HoldView {
    let hold = json!({
        "id": "01KAXH2V8N4T6R0Q2M5W7Y9ZBD", "state": "pending", "agent": "deploy-bot",
        "created_at": "2026-11-25T17:40:00Z", "expires_at": "2026-11-25T18:10:00Z",
        "rule": "http-delete", "why": "deletes cannot be undone",
        "action": {
            "effect": "delete", "family": "http", "operation": "DELETE /v1/customers/{id}",
            "resource": "customer 8821", "environment": "production", "reversible": false,
            "count": null, "amount": null, "currency": null,
            "summary": "Delete customer 8821 at crm.acme.internal"
        },
        "request": {
            "method": "DELETE", "url": "https://crm.acme.internal/v1/customers/8821",
            "headers": [["content-type", "application/json"], ["authorization", "Bearer ••••"]],
            "refreshable": ["authorization", "traceparent"],
            "body": {
                "size": 16, "sha256": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
                "media_type": "application/json", "text": "{\"cascade\":true}", "truncated": false,
                "inspectable": true
            }
        },
        "destination": {"ip": "203.0.113.7", "port": 443, "verified_name": "crm.acme.internal"},
        "caller": {
            "pid": 4242, "uid": 1001, "exe": "/usr/bin/python3", "comm": "python3",
            "cmdline": ["python3", "cleanup.py", "two words"],
            "start_time": "2026-11-25T17:39:00Z", "cwd": "/srv/agent", "container": "c0ffee", "unit": "bot.service",
            "ancestry": [{ "pid": 4200, "comm": "bash", "exe": "/bin/bash" }], "exited": false
        },
        "digest": Digest::of(b"sample"), "asked": 2, "caller_waiting": true, "decision": null, "result": null
    });
    serde_json::from_value(hold).unwrap()
}

/// One in `state`, with everything that may be there.
pub(in crate::console) fn decided(state: HoldState) -> HoldView {
    let decision = DecisionView {
        decision: if state == HoldState::Denied { Decision::Deny } else { Decision::Approve },
        by: "Ada".into(),
        at: now(),
        reason: "the customer asked for it".into(),
    };
    let answered = state == HoldState::Done;
    let result = ResultView {
        status: answered.then_some(204),
        size: 0,
        at: now(),
        collected: 1,
        error: (!answered).then(|| "the connection broke".into()),
    };
    HoldView { state, decision: Some(decision), result: Some(result), ..hold() }
}

pub(in crate::console) fn exchange_of(hold: &HoldView) -> ExchangeView {
    ExchangeView {
        seq: 42,
        at: hold.created_at,
        exchange: ExchangeId(hold.id.0),
        agent: hold.agent.clone(),
        verdict: Verdict::Hold,
        rule: hold.rule.clone(),
        why: hold.why.clone(),
        method: hold.request.method.clone(),
        url: hold.request.url.clone(),
        summary: hold.action.summary.clone(),
        hold: Some(hold.id),
        hold_state: Some(hold.state),
        status: hold.result.as_ref().and_then(|result| result.status),
        sent: Some(hold.request.body.size),
        received: Some(2048),
        took_ms: Some(1234),
        error: hold.result.as_ref().and_then(|result| result.error.clone()),
    }
}

pub(in crate::console) fn agents() -> Vec<AgentView> {
    let agent = |name: &str, attached, frozen, pending| AgentView {
        name: name.parse().unwrap(),
        attached,
        attached_since: attached.then(|| "2026-11-25T08:00:00Z".parse().unwrap()),
        frozen,
        pending,
        exchanges: 602,
        held: 7,
        denied: 2,
        last_seen: Some("2026-11-25T17:41:30Z".parse().unwrap()),
        refused: 3,
        refusals: [("datagram".to_owned(), 3)].into(),
        findings: if frozen { vec![finding()] } else { Vec::new() },
    };
    vec![agent("deploy-bot", true, false, 2), agent("data-migrator", true, true, 0)]
}

/// An agent that was refused something.
pub(in crate::console) fn agent_detail() -> AgentDetail {
    let refused = Attempt {
        at: now(),
        reason: Reason::Datagram,
        address: Some([203, 0, 113, 7].into()),
        port: 443,
        protocol: 17,
        what: 0,
        pid: Some(4242),
        uid: Some(1001),
        comm: "python3".into(),
        times: 40,
    };
    AgentDetail {
        agent: agents().remove(0),
        counters: [("datagram".to_owned(), 41), ("taken".to_owned(), 602)].into(),
        refused_lately: vec![refused],
        redirected_lately: vec![],
    }
}

pub(in crate::console) fn finding() -> Finding {
    let agent = "data-migrator".parse().unwrap();
    let what = "the gate is damaged: the pin of hook gate_connect4 is gone or cannot be opened";
    Finding::of(
        &agent,
        GATE_DAMAGED,
        Severity::Critical,
        what.to_owned(),
        "shield detach data-migrator".to_owned(),
    )
}
