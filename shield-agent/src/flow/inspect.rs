//! From a canonical request to an action: what the exchange means.
//!
//! Families of APIs are recognised by host where they have one and by shape where the shape says enough; what nobody
//! recognises is described by its method. When two families see something in a request, the graver meaning counts. No
//! I/O, no clock; every loop is bounded by the request.

mod access;
pub mod action;
mod aws;
mod deploy;
mod graphql;
mod http;
mod kubernetes;
mod messages;
mod payments;
mod places;
mod request;
mod sql;

use action::{Action, Effect};
use request::Seen;

use crate::flow::http::canonical::RequestHead;

/// What a family sees in a request; `None` when it is none of its own.
type Family = fn(&Seen<'_>) -> Option<Action>;

const FAMILIES: [Family; 8] = [
    kubernetes::see,
    payments::see,
    messages::see,
    access::see,
    aws::see,
    sql::see,
    graphql::see,
    deploy::see,
];

/// What a request means. `body` is all of it, or `None` when it is not known.
pub fn classify(head: &RequestHead, body: Option<&[u8]>) -> Action {
    let seen = Seen::new(head, body);
    let gravest = FAMILIES.iter().filter_map(|see| see(&seen)).max_by_key(|action| gravity(action.effect));
    gravest.unwrap_or_else(|| http::see(&seen))
}

/// Whether the effect of a request with this head depends on its body.
pub fn needs_body(head: &RequestHead) -> bool {
    let seen = Seen::new(head, None);
    sql::needs_body(&seen) || graphql::needs_body(&seen) || aws::needs_body(&seen)
}

/// Order of effects when several are seen.
fn gravity(effect: Effect) -> u8 {
    match effect {
        Effect::Read => 0,
        Effect::Connect => 1,
        Effect::Write => 2,
        Effect::Unknown => 3,
        Effect::Message => 4,
        Effect::Deploy => 5,
        Effect::Execute => 6,
        Effect::Grant => 7,
        Effect::Spend => 8,
        Effect::Delete => 9,
    }
}

#[cfg(test)]
mod tests;
