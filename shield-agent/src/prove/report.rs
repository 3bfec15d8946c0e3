//! What was proved, cell by cell, with its evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::facts::Outcome;
use super::identity::{Identity, Mode};
use super::judge::{self, Observation, Shown, Verdict};
use super::path::Path;
use crate::capture::host;

/// Cells a mode needs that prove something: fewer, and the whole proves nothing.
const LEAST: usize = 40;

/// The matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The kernel it was made on.
    pub kernel: String,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Cells by verdict.
    pub counts: Counts,
    /// Whether nothing got out that should not, and everything was tried that can be.
    pub holds: bool,
    /// Worlds that could not be made or broke, and why: they prove nothing.
    pub broken: Vec<String>,
    /// Every way, by everybody, in every mode.
    pub cells: Vec<Cell>,
}

/// Cells by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// All of them.
    pub cells: usize,
    /// Stopped.
    pub blocked: usize,
    /// Led to the proxy.
    pub redirected: usize,
    /// Got out, as it is said they may.
    pub not_promised: usize,
    /// Proved nothing.
    pub not_tried: usize,
    /// Did not get out, nobody knows why.
    pub unexplained: usize,
    /// Got out.
    pub leaks: usize,
}

/// One way, by somebody, in a mode.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// How the agent was held.
    pub mode: Mode,
    /// Who tried.
    pub identity: Identity,
    /// The way's id.
    pub path: &'static str,
    /// The way, in a few words.
    pub title: &'static str,
    /// What it proves.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// From what that was read.
    pub evidence: Evidence,
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Evidence {
    /// The call that was refused; `None` when none was.
    pub call: Option<String>,
    /// With which error.
    pub errno: Option<String>,
    /// What the hooks counted meanwhile.
    pub hooks: BTreeMap<&'static str, u64>,
    /// What arrived behind the gate.
    pub arrivals: Vec<String>,
    /// What came out at the far end of the wire.
    pub packets: Vec<String>,
    /// The attempt that showed that this one can succeed.
    pub control: Option<ControlSeen>,
}

/// An attempt that succeeded where the gate does not stand.
#[derive(Clone, Debug, Serialize)]
pub struct ControlSeen {
    /// Whose.
    pub by: Shown,
    /// What came out.
    pub packets: Vec<String>,
}

impl ControlSeen {
    pub(super) fn new(by: Shown, seen: &Observation) -> Self {
        Self { by, packets: seen.packets.clone() }
    }
}

impl Evidence {
    pub(super) fn new(seen: &Observation, control: Option<ControlSeen>) -> Self {
        let (call, errno) = match &seen.outcome {
            Outcome::Refused { call, errno } => (Some(call.clone()), Some(judge::name(*errno))),
            Outcome::Hung => (None, Some("hung".to_owned())),
            Outcome::Done => (None, None),
        };
        Self {
            call,
            errno,
            hooks: seen.counters.clone(),
            arrivals: seen.arrivals.clone(),
            packets: seen.packets.clone(),
            control,
        }
    }
}

impl Cell {
    /// One that proves nothing.
    pub(super) fn untried(path: &Path, mode: Mode, identity: Identity, why: String) -> Self {
        let verdict = Verdict::NotTried { why };
        Self { mode, identity, path: path.id, title: path.title, verdict, evidence: Evidence::default() }
    }
}

impl Counts {
    /// Counts cells.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Self {
        let mut counts = Self::default();
        for cell in cells {
            counts.cells += 1;
            *match cell.verdict {
                Verdict::Blocked { .. } => &mut counts.blocked,
                Verdict::Redirected => &mut counts.redirected,
                Verdict::NotPromised { .. } => &mut counts.not_promised,
                Verdict::NotTried { .. } => &mut counts.not_tried,
                Verdict::Unexplained => &mut counts.unexplained,
                Verdict::Leak => &mut counts.leaks,
            } += 1;
        }
        counts
    }

    fn is_enough(&self) -> bool {
        self.leaks == 0 && self.cells - self.not_tried >= LEAST
    }
}

impl Proof {
    /// The cell of a way.
    pub fn cell(&self, path: &str, mode: Mode, who: Identity) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.path == path && cell.mode == mode && cell.identity == who)
    }

    pub(super) fn new(cells: Vec<Cell>, broken: Vec<String>, took: Duration) -> Self {
        let of_mode = |mode| Counts::of(cells.iter().filter(|cell| cell.mode == mode));
        Self {
            kernel: host::release(),
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            counts: Counts::of(&cells),
            holds: broken.is_empty() && Mode::ALL.into_iter().all(|mode| of_mode(mode).is_enough()),
            broken,
            cells,
        }
    }
}
