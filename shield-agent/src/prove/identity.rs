//! Who tries to get out, and where: the columns of the matrix.

use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use crate::privileges::Identity as Ids;

/// The user id of the plain user, which belongs to nobody.
const NOBODY: u32 = 65534;

/// Who tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// User 65534, without capabilities.
    User,
    /// User 0, without capabilities.
    Root,
    /// User 65534, who is root of a user namespace of its own.
    UsernsRoot,
    /// Root of the host with every capability: only ever a control, to show that an attempt can succeed.
    Almighty,
}

impl Identity {
    /// Those whose attempts are judged.
    pub const JUDGED: [Self; 3] = [Self::User, Self::Root, Self::UsernsRoot];

    /// As arguments and directories name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Root => "root",
            Self::UsernsRoot => "userns-root",
            Self::Almighty => "almighty",
        }
    }

    /// As people read it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::User => "user 65534",
            Self::Root => "root, no caps",
            Self::UsernsRoot => "userns root",
            Self::Almighty => "root, all caps",
        }
    }

    /// The host's user it runs as.
    pub const fn uid(self) -> u32 {
        match self {
            Self::User | Self::UsernsRoot => NOBODY,
            Self::Root | Self::Almighty => 0,
        }
    }

    /// What to become; `None` keeps everything.
    pub(super) fn ids(self) -> Option<Ids> {
        let (uid, gid) = (Uid::from_raw(self.uid()), Gid::from_raw(self.uid()));
        (self != Self::Almighty).then(|| Ids { uid, gid, groups: Vec::new() })
    }
}

/// How the agent is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As `shield run` does it: the hooks, and what the launcher takes away.
    Run,
    /// As `shield run --strict` does it: the same, in a network namespace with nothing but loopback.
    Strict,
    /// As `shield attach` does it: the hooks alone.
    Attach,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Run, Self::Strict, Self::Attach];

    /// As directories name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Strict => "strict",
            Self::Attach => "attach",
        }
    }

    /// As people read it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Run => "shield run",
            Self::Strict => "shield run --strict",
            Self::Attach => "shield attach",
        }
    }
}
