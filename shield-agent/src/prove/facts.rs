//! What prover and actor say to each other: one JSON object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Length of every secret, bytes: a whole number of words, because tracing writes words.
pub(super) const SECRET: usize = 16;

/// What an actor needs to know of its world. Everything here could be found out by an agent; it is told, so that an
/// attempt fails for the gate's sake and not for want of a guess.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Facts {
    /// What must not get out.
    pub(super) secret: String,
    /// A cgroup outside the gate.
    pub(super) outside: PathBuf,
    /// Where the gate's links are pinned.
    pub(super) pins: PathBuf,
    /// Ids of those links.
    pub(super) links: Vec<u32>,
    /// The namespace at the other end of the wire, as a file of `/proc`.
    pub(super) elsewhere: PathBuf,
    /// The prover, a process outside.
    pub(super) prover: u32,
    /// Port of the agent's own listener, if it is served; else of one that stands for it.
    pub(super) gate_port: u16,
    /// Port of a stranger's listener, on loopback and on the host's own address.
    pub(super) foreign_port: u16,
    /// Local sockets of programs that would act for the agent.
    pub(super) deputies: Deputies,
    /// A process of the agent's user outside the gate.
    pub(super) neighbour: Neighbour,
}

/// Local sockets somebody listens on outside the gate.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Deputies {
    /// In `/run`, as container engines and service managers have them.
    pub(super) run: PathBuf,
    /// In `/tmp`, as terminals and key agents have them.
    pub(super) tmp: PathBuf,
    /// The same, by a name it got when the agent ran already.
    pub(super) later: PathBuf,
    /// Without a file.
    pub(super) unnamed: String,
    /// One that hands out a connected socket, by a name it got when the agent ran already.
    pub(super) giver: PathBuf,
}

/// A process worth stealing from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Neighbour {
    /// Its process.
    pub(super) pid: i32,
    /// Its connected socket.
    pub(super) socket: i32,
    /// Where in its memory the words are that it will send.
    pub(super) words: u64,
}

/// What the prover asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Id of the path to try.
    pub(super) path: String,
    /// The world.
    pub(super) facts: Facts,
}

/// What an actor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Say {
    /// Once, before anything else: how calls that cannot succeed are answered here. A filter answers a call before the
    /// kernel looks at its arguments, and so differently.
    Hello {
        /// Error number by call.
        hollow: BTreeMap<String, i32>,
    },
    /// It cannot become who it should be.
    Unable(String),
    /// It listens: now somebody may call.
    Ready,
    /// The attempt is over.
    Over(Outcome),
}

/// How an attempt ended, as the agent saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// Every call succeeded, or is under way.
    Done,
    /// A call was refused.
    Refused {
        /// Which.
        call: String,
        /// With which error number.
        errno: i32,
    },
    /// It never came back.
    Hung,
}
