//! The approver's process.

use super::{Belongings, RoleEnd};
use crate::ipc::supervisor::Duty;

/// Keeps holds, decisions and the journal until the supervisor is gone.
pub(super) async fn run(belongings: Belongings) -> Result<(), RoleEnd> {
    let Belongings { duty: Duty::Approve(_), .. } = belongings else {
        return Err(RoleEnd::WrongDuty);
    };
    Err(RoleEnd::work("this build has no approver: nothing can be recorded, so nothing may leave"))
}
