//! Holds and exchanges with everything an agent could have written spelled out by [`visible`].
//!
//! Pages are made from these only. Every field is named, so that a new one cannot be forgotten.

use crate::approval::listing::ExchangeView;
use crate::approval::view::{BodyInfo, DecisionView, HoldView, RequestView, ResultView};
use crate::approval::visible::{block, line};
use crate::flow::inspect::action::Action;
use crate::flow::origin::{Ancestor, Caller, Destination};
use crate::names::RuleId;

/// A hold to show.
pub(super) fn hold(hold: HoldView) -> HoldView {
    let HoldView { rule, why, action, request, destination, caller, decision, result, .. } = hold;
    let Destination { ip, port, verified_name } = destination;
    HoldView {
        rule: rule.map(|RuleId(id)| RuleId(line(&id))),
        why: line(&why),
        action: action_of(action),
        request: request_of(request),
        destination: Destination { ip, port, verified_name: verified_name.as_deref().map(line) },
        caller: caller_of(caller),
        decision: decision.map(|DecisionView { decision, by, at, reason }| DecisionView {
            decision,
            by: line(&by),
            at,
            reason: block(&reason),
        }),
        result: result.map(|ResultView { status, size, at, collected, error }| ResultView {
            status,
            size,
            at,
            collected,
            error: error.as_deref().map(line),
        }),
        // Ids, times, numbers and an agent's name, which has no such characters.
        ..hold
    }
}

/// An exchange to show.
pub(super) fn exchange(exchange: ExchangeView) -> ExchangeView {
    let ExchangeView { rule, why, method, url, summary, error, .. } = exchange;
    ExchangeView {
        rule: rule.map(|RuleId(id)| RuleId(line(&id))),
        why: line(&why),
        method: line(&method),
        url: line(&url),
        summary: line(&summary),
        error: error.as_deref().map(line),
        ..exchange
    }
}

fn caller_of(caller: Caller) -> Caller {
    let Caller { pid, uid, exe, comm, cmdline, start_time, cwd, ancestry, container, unit, exited } = caller;
    let ancestor =
        |Ancestor { pid, comm, exe }: &Ancestor| Ancestor { pid: *pid, comm: line(comm), exe: line(exe) };
    Caller {
        pid,
        uid,
        exe: line(&exe),
        comm: line(&comm),
        cmdline: cmdline.iter().map(|argument| line(argument)).collect(),
        start_time,
        cwd: line(&cwd),
        ancestry: ancestry.iter().map(ancestor).collect(),
        container: container.as_deref().map(line),
        unit: unit.as_deref().map(line),
        exited,
    }
}

fn action_of(action: Action) -> Action {
    let Action { family, operation, resource, environment, currency, summary, .. } = action;
    Action {
        family: line(&family),
        operation: line(&operation),
        resource: resource.as_deref().map(line),
        environment: environment.as_deref().map(line),
        currency: currency.as_deref().map(line),
        summary: line(&summary),
        ..action
    }
}

fn request_of(request: RequestView) -> RequestView {
    let RequestView { method, url, headers, refreshable, body } = request;
    let BodyInfo { size, sha256, media_type, text, truncated, inspectable } = body;
    RequestView {
        method: line(&method),
        url: line(&url),
        headers: headers.iter().map(|(name, value)| (line(name), line(value))).collect(),
        refreshable: refreshable.iter().map(|name| line(name)).collect(),
        body: BodyInfo {
            size,
            sha256,
            media_type: line(&media_type),
            text: text.as_deref().map(block),
            truncated,
            inspectable,
        },
    }
}
