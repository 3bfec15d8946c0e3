//! Command line ⇄ supervisor, over `gate.sock`: one JSON object a line, one answer to each.
//!
//! What may be asked of the gates themselves. It has no word for decisions: those are the approver's, over its own
//! socket.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line::Line;
use crate::finding::Finding;
use crate::names::AgentName;

/// File name of the socket in `run_dir`.
pub const SOCKET: &str = "gate.sock";

/// Longest line either side reads.
pub const MAX_LINE: u64 = 64 << 10;

/// How long a question may take to be answered before the command line gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be asked of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GateRequest {
    /// Start a command as an agent in a fresh gated cgroup. After the answer the connection is a
    /// [`Line`] to the launcher, which waits for [`Belongings`](super::launch::Belongings).
    Run {
        /// Name of the agent.
        agent: AgentName,
        /// User it runs as: the caller's own, unless root asks.
        uid: u32,
        /// Whether it gets a network namespace of its own.
        strict: bool,
    },
    /// Gate a cgroup that exists.
    Attach {
        /// Name of the agent.
        agent: AgentName,
        /// The cgroup's directory.
        cgroup: PathBuf,
    },
    /// Move a process and what is below it into a fresh gated cgroup.
    AttachProcess {
        /// Name of the agent.
        agent: AgentName,
        /// The process.
        pid: u32,
    },
    /// Remove the gate of an agent: its processes reach the network freely again.
    Detach {
        /// Whose gate.
        agent: AgentName,
    },
    /// List the agents.
    Agents,
    /// Stop every process of an agent.
    Freeze {
        /// Which agent.
        agent: AgentName,
    },
    /// Let the processes of an agent continue.
    Thaw {
        /// Which agent.
        agent: AgentName,
    },
    /// Read the policy files again.
    PolicyReload,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GateReply {
    /// The gate is served; the agent may be started inside.
    Prepared(PreparedRun),
    /// The cgroup is gated.
    Attached {
        /// What the gate does not cover.
        caveats: Vec<String>,
        /// Connections from before the gate that were ended.
        ended: usize,
        /// What programs inside must be made to trust.
        trust: TrustFiles,
    },
    /// The agents, by name.
    Agents {
        /// One entry each.
        agents: Vec<AgentEntry>,
    },
    /// Done; a sentence for people.
    Done {
        /// What was done.
        what: String,
    },
    /// Not done.
    Refused {
        /// The act, the thing and the remedy.
        reason: String,
    },
    /// Not for this caller.
    Forbidden {
        /// Who may.
        reason: String,
    },
}

/// What `shield run` needs to start an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreparedRun {
    /// Directory of the gated cgroup.
    pub cgroup: PathBuf,
    /// What the agent is made to trust.
    pub trust: TrustFiles,
    /// `run_dir`: replaced in the agent's view by one that holds nothing but the trust files.
    pub run_dir: PathBuf,
    /// Further directories the agent must not see.
    pub hide: Vec<PathBuf>,
}

/// Files that make programs trust the certificates the proxy shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFiles {
    /// Our CA alone, PEM: for settings that add to the usual roots.
    pub ca: PathBuf,
    /// The host's roots and our CA, PEM: for settings that replace the usual roots.
    pub bundle: PathBuf,
    /// The host's Java trust store and our CA; `None` where there is no Java.
    pub java: Option<PathBuf>,
}

/// One agent, as listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// Its name.
    pub agent: AgentName,
    /// Directory of its cgroup.
    pub cgroup: PathBuf,
    /// Whether `shield run` started it or a cgroup was attached.
    pub kind: AgentKind,
    /// Processes inside.
    pub processes: usize,
    /// Whether its processes are stopped.
    pub frozen: bool,
    /// How often its hooks refused something since it is gated, by reason; without those that never happened.
    pub refusals: BTreeMap<String, u64>,
    /// What is known to be wrong with its protection.
    pub findings: Vec<Finding>,
}

/// Where an agent's cgroup comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentKind {
    /// Ours: made by `shield run`, removed when it is empty.
    Run,
    /// Somebody else's: attached, never removed.
    Attached,
}

/// Why the supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nothing listens.
    #[error("the daemon is not reachable at {}: start it with `shield daemon`", .0.display())]
    NotReachable(PathBuf, #[source] io::Error),
    /// The socket exists but is not for us.
    #[error(
        "the daemon's socket {} is for root and the members of its group: `sudo usermod -aG shield $USER`, then log in again",
        .0.display()
    )]
    NotPermitted(PathBuf, #[source] io::Error),
    /// The question is not for us.
    #[error("{0}")]
    Forbidden(String),
    /// The connection broke or stayed silent.
    #[error("the daemon stopped answering")]
    Broken(#[source] io::Error),
    /// The answer is not one of ours.
    #[error("the daemon's answer is not understood: daemon and command line are of different versions")]
    Malformed(#[source] serde_json::Error),
    /// The daemon said no.
    #[error("{0}")]
    Refused(String),
    /// The answer belongs to another question.
    #[error("the daemon answered another question: {0}")]
    Unexpected(String),
}

impl AskError {
    /// For an answer that does not fit the question.
    pub fn unexpected(reply: &GateReply) -> Self {
        Self::Unexpected(format!("{reply:?}"))
    }
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct GateClient {
    stream: io::BufReader<UnixStream>,
}

impl GateClient {
    /// Connects to `gate.sock` in `run_dir`.
    pub fn connect(run_dir: &Path) -> Result<Self, AskError> {
        let path = run_dir.join(SOCKET);
        let stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => AskError::NotPermitted(path, error),
            _ => AskError::NotReachable(path, error),
        })?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(AskError::Broken)?;
        Ok(Self { stream: io::BufReader::new(stream) })
    }

    /// Asks one question and reads its answer; a refusal is an error.
    pub fn ask(&mut self, request: &GateRequest) -> Result<GateReply, AskError> {
        let mut line = serde_json::to_vec(request).map_err(AskError::Malformed)?;
        line.push(b'\n');
        // Whoever does not want our question may have said why before it hung up.
        let written = self.stream.get_mut().write_all(&line);
        line.clear();
        self.stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(AskError::Broken)?;
        if line.is_empty() {
            let cut = || io::ErrorKind::UnexpectedEof.into();
            return Err(AskError::Broken(written.err().unwrap_or_else(cut)));
        }
        match serde_json::from_slice(&line).map_err(AskError::Malformed)? {
            GateReply::Refused { reason } => Err(AskError::Refused(reason)),
            GateReply::Forbidden { reason } => Err(AskError::Forbidden(reason)),
            reply => Ok(reply),
        }
    }
}

impl GateClient {
    /// What the connection is after [`GateReply::Prepared`].
    pub fn into_line(self) -> io::Result<Line> {
        let stream = self.stream.into_inner();
        stream.set_read_timeout(None)?;
        Line::new(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_one_line_and_a_refusal_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let daemon = std::thread::spawn(move || {
            let mut stream = io::BufReader::new(listener.accept().unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let refused = "{\"answer\":\"refused\",\"reason\":\"no such agent\"}\n";
            stream.get_mut().write_all(refused.as_bytes()).unwrap();
            line
        });
        let mut client = GateClient::connect(dir.path()).unwrap();
        let answer = client.ask(&GateRequest::Freeze { agent: "bot".parse().unwrap() });
        assert_eq!(answer.unwrap_err().to_string(), "no such agent");
        assert_eq!(daemon.join().unwrap(), "{\"ask\":\"freeze\",\"agent\":\"bot\"}\n");
    }

    #[test]
    fn an_absent_daemon_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = GateClient::connect(dir.path()).unwrap_err();
        assert!(matches!(error, AskError::NotReachable(..)));
        assert!(error.to_string().contains("shield daemon"));
    }
}
