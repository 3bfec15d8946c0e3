//! The token without which nothing is sent upstream.
//!
//! Made in two ways only: from a record the journal's channel took, or from the approver's order to send. It names the
//! agent, the destination and the digest of the request; sending consumes it. It cannot be copied or made elsewhere.

use crate::flow::origin::Destination;
use crate::flow::review::recorder::Accepted;
use crate::ipc::approver::SendOrder;
use crate::names::{AgentName, Digest};

/// Leave for one request to one destination.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    agent: AgentName,
    destination: Destination,
    digest: Digest,
    reviewed: bool,
}

/// The request in an order is not the one that was approved.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored request hashes to {found}, but {approved} was approved: it was altered and is not sent")]
pub struct Altered {
    /// Digest of what the order holds.
    found: Digest,
    /// Digest the reviewer saw.
    approved: Digest,
}

impl Permit {
    /// For an exchange that a rule or default allows, once its record was accepted.
    pub fn by_rule(accepted: Accepted) -> Self {
        let (agent, destination, digest) = accepted.into_parts();
        Self { agent, destination, digest, reviewed: false }
    }

    /// For a held request a reviewer approved; its stored bytes are hashed again here.
    pub fn by_reviewer(order: &SendOrder) -> Result<Self, Altered> {
        let found = order.request.digest();
        if found != order.digest {
            return Err(Altered { found, approved: order.digest });
        }
        let (agent, destination) = (order.agent.clone(), order.destination.clone());
        Ok(Self { agent, destination, digest: found, reviewed: true })
    }

    /// Whose request may be sent.
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// Where it may be sent.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether this is leave for the request that hashes to `digest`.
    pub fn names(&self, digest: Digest) -> bool {
        self.digest == digest
    }

    /// Whether a person gave it: then the request goes over a connection of its own, at most once.
    pub fn is_reviewed(&self) -> bool {
        self.reviewed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::flow::http::canonical::{CanonicalRequest, RequestHead, Scheme};
    use crate::names::HoldId;

    fn order() -> SendOrder {
        let head = RequestHead {
            scheme: Scheme::Https,
            host: "crm.acme.internal".into(),
            port: 443,
            method: "DELETE".into(),
            target: "/v1/customers/8821".into(),
            headers: vec![],
        };
        let request = CanonicalRequest { head, body: Bytes::from_static(b"{}") };
        SendOrder {
            hold: HoldId(ulid::Ulid::from_parts(1, 1)),
            agent: "deploy-bot".parse().unwrap(),
            destination: Destination { ip: [192, 0, 2, 7].into(), port: 443, verified_name: None },
            digest: request.digest(),
            request,
        }
    }

    #[test]
    fn an_order_whose_request_was_altered_yields_no_permit() {
        assert!(Permit::by_reviewer(&order()).unwrap().is_reviewed());
        let mut altered = order();
        altered.request.body = Bytes::from_static(b"{ }");
        assert!(Permit::by_reviewer(&altered).is_err());
    }
}
