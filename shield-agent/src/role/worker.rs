//! The worker's process.

use super::{Belongings, RoleEnd, stream};
use crate::flow::judge::Judge;
use crate::flow::policy::Policy;
use crate::ipc::supervisor::Duty;
use crate::ipc::worker::PolicyText;
use crate::worker::{self, Outside};

/// Serves gates until it was drained or the supervisor is gone.
pub(super) async fn run(belongings: Belongings) -> Result<(), RoleEnd> {
    let Belongings { supervisor, duty: Duty::Work, descriptors } = belongings else {
        return Err(RoleEnd::WrongDuty);
    };
    let [approver, signer] = <[_; 2]>::try_from(descriptors).map_err(|_| RoleEnd::WrongDuty)?;
    let outside = Outside::real(compile);
    worker::run(stream(supervisor.into())?, stream(approver)?, stream(signer)?, outside)
        .await
        .map_err(RoleEnd::work)
}

fn compile(text: &PolicyText) -> Result<Box<dyn Judge>, String> {
    match Policy::compile(&text.files) {
        Ok(policy) => Ok(Box::new(policy)),
        Err(mistakes) => Err(mistakes.to_string()),
    }
}
