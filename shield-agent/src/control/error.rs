//! Why the approver gave no good answer.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use crate::approval::view::HoldView;
use crate::approval::visible;
use crate::daemon::peer::NotPermitted;
use crate::names::HoldId;

/// Why a question has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// This process lacks something.
    #[error("cannot prepare to ask the daemon")]
    Unprepared(#[source] io::Error),
    /// Nothing listens.
    #[error("the daemon is not reachable at {}: start it with `shield daemon`", .0.display())]
    NotReachable(PathBuf, #[source] io::Error),
    /// The socket exists but is not for us.
    #[error("the daemon's socket {} is root's: run this command as root", .0.display())]
    NotPermitted(PathBuf, #[source] io::Error),
    /// The daemon looked at who asks and hung up.
    #[error("the daemon does not listen to this process")]
    HungUp(#[source] NotPermitted),
    /// The connection broke before the answer was complete.
    #[error(
        "the daemon stopped answering; it may be starting again, so look what became of it and try once more"
    )]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer came.
    #[error("the daemon did not answer in time; see its log")]
    Silent,
    /// The answer is not one of ours.
    #[error("the daemon's answer is not understood: daemon and command line are of different versions")]
    Malformed(#[source] serde_json::Error),
    /// The approver said why not.
    #[error("{0}")]
    Problem(Box<Problem>),
}

/// What the approver says instead of the answer (RFC 9457).
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{}", visible::line(detail))]
pub struct Problem {
    /// HTTP status.
    #[serde(skip)]
    pub status: u16,
    /// One sentence: the act, the thing and the remedy.
    pub detail: String,
    /// Holds whose ids look most like the one that is not there.
    #[serde(default)]
    pub nearest: Vec<HoldId>,
    /// The hold as it is, where a decision expected another state.
    #[serde(default)]
    pub current: Option<Box<HoldView>>,
}

impl Problem {
    /// From an answer's status and body; one that is no problem document is taken as the sentence itself.
    pub(super) fn new(status: hyper::StatusCode, body: &[u8]) -> Self {
        let problem = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body).trim().to_owned();
            let detail = if text.is_empty() { format!("the daemon answered {status}") } else { text };
            Self { status: 0, detail, nearest: vec![], current: None }
        });
        Self { status: status.as_u16(), ..problem }
    }
}
