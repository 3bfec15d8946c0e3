//! Other processes of the agent's user, put out of its reach by Landlock: one of them has sockets that no gate covers,
//! and whoever can trace it can use them.
//!
//! It changes nothing about files: moving them between directories, which every Landlock domain refuses at first, is
//! allowed again everywhere.

use std::fmt;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use super::ConfineError;

/// What this kernel leaves in the agent's reach. Its text is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caveat {
    /// Before Linux 6.12.
    Scopes,
    /// Landlock is not built in or not enabled.
    Everything,
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scopes => {
                "this kernel cannot keep the agent from signalling other processes of its user and from their abstract \
                 sockets: Linux 6.12 can"
            }
            Self::Everything => {
                "this kernel has no Landlock, so the agent can trace other processes of its user: enable it with \
                 lsm=landlock,… or give the agent a user of its own with --user"
            }
        })
    }
}

/// Keeps tracing, signals and abstract sockets within what the calling thread starts.
pub(super) fn limit() -> Result<Option<Caveat>, ConfineError> {
    // A domain of any kind ends tracing at its edge; a right over files is the kind every version knows.
    let everywhere = PathBeneath::new(PathFd::new("/")?, AccessFs::Refer);
    let enforced = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::Refer)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?
        .add_rule(everywhere)?
        .restrict_self()?;
    Ok(match enforced.ruleset {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some(Caveat::Scopes),
        RulesetStatus::NotEnforced => Some(Caveat::Everything),
    })
}
