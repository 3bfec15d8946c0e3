//! The command line's side of `control.sock`: what the approver knows of holds, and what root decides about them.
//!
//! The same API as the console's, over a socket that is root's alone. Calls wait for their answer; a decision is sent
//! once and never again by itself, because nobody could tell whether the first one counted.

mod error;
mod events;
mod http;

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;

pub use self::error::{ControlError, Problem};
pub use self::events::Events;
use self::http::{Ask, Socket};
use crate::approval::listing::{MAX_PAGE, Page};
use crate::approval::view::{DecisionRequest, HoldView};
use crate::daemon::premises::CONTROL_SOCKET;
use crate::names::{AgentName, HoldId};

/// The approver's socket.
#[derive(Debug)]
pub struct Control(Socket);

/// A link that logs a reviewer in, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLink {
    /// The link.
    pub url: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl Control {
    /// The socket in `run_dir`; nothing is connected before the first question.
    pub fn new(run_dir: &Path) -> Result<Self, ControlError> {
        Socket::new(run_dir.join(CONTROL_SOCKET)).map(Self)
    }

    /// All holds in a state (or `all`), of one agent when it is given, in the order the API lists them.
    pub fn holds(&self, state: &str, agent: Option<&AgentName>) -> Result<Vec<HoldView>, ControlError> {
        let (mut holds, mut cursor) = (Vec::new(), None);
        loop {
            let path = "/holds?";
            let mut query = Serializer::for_suffix(path.to_owned(), path.len());
            query.append_pair("state", state).append_pair("limit", &MAX_PAGE.to_string());
            query.extend_pairs(agent.map(|agent| ("agent", agent.as_str())));
            query.extend_pairs(cursor.as_ref().map(|cursor: &String| ("cursor", cursor)));
            let page: Page<HoldView> = self.0.json(Ask::get(query.finish()))?;
            holds.extend(page.items);
            match page.next {
                // A page that ends where it began would be asked for again and again.
                Some(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => return Ok(holds),
            }
        }
    }

    /// A hold by its id or a unique beginning of it, which must be letters and digits.
    pub fn hold(&self, id: &str) -> Result<HoldView, ControlError> {
        self.0.json(Ask::get(format!("/holds/{id}")))
    }

    /// The body of a held request, raw and unmasked.
    pub fn body(&self, id: HoldId) -> Result<Bytes, ControlError> {
        self.0.bytes(Ask::get(format!("/holds/{id}/body")))
    }

    /// Decides; returns the hold as it is then. A conflict is a [`Problem`] with the hold as it is.
    pub fn decide(&self, id: HoldId, decision: &DecisionRequest) -> Result<HoldView, ControlError> {
        let body = serde_json::to_vec(decision).expect("a decision can be written as JSON");
        self.0.json(Ask::post(format!("/holds/{id}/decision"), body))
    }

    /// Takes back an approval whose sending has not begun.
    pub fn revoke(&self, id: HoldId) -> Result<HoldView, ControlError> {
        self.0.json(Ask::post(format!("/holds/{id}/revoke"), Vec::new()))
    }

    /// Makes a link that logs a reviewer in.
    pub fn login_link(&self) -> Result<LoginLink, ControlError> {
        self.0.json(Ask::post("/login-links".to_owned(), Vec::new()))
    }

    /// What changes from now on.
    pub fn events(&self) -> Result<Events<'_>, ControlError> {
        Events::begin(&self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests;
