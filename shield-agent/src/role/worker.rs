//! The worker's process.

use super::{Belongings, RoleEnd, stream};
use crate::ipc::supervisor::Duty;
use crate::worker::{self, Outside};

/// Serves gates until it was drained or the supervisor is gone.
pub(super) async fn run(belongings: Belongings) -> Result<(), RoleEnd> {
    let Belongings { supervisor, duty: Duty::Work, descriptors } = belongings else {
        return Err(RoleEnd::WrongDuty);
    };
    let [approver, signer] = <[_; 2]>::try_from(descriptors).map_err(|_| RoleEnd::WrongDuty)?;
    let outside = Outside::real(|_| Err("this build has no policy engine: nothing is forwarded".to_owned()));
    worker::run(stream(supervisor.into())?, stream(approver)?, stream(signer)?, outside)
        .await
        .map_err(RoleEnd::work)
}
