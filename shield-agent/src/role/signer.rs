//! The signer's process: the CA's key, and one worker that may ask.

use super::{Belongings, RoleEnd, stream};
use crate::ipc::frame;
use crate::ipc::supervisor::{Duty, SignerReady};
use crate::signer::{self, Authority};

/// Loads or makes the CA, says what it is, and signs until the worker is gone.
pub(super) async fn run(belongings: Belongings) -> Result<(), RoleEnd> {
    let Belongings { supervisor, duty: Duty::Sign { ca_dir, names_per_second }, descriptors } = belongings
    else {
        return Err(RoleEnd::WrongDuty);
    };
    let [worker] = <[_; 1]>::try_from(descriptors).map_err(|_| RoleEnd::WrongDuty)?;
    let authority = Authority::load_or_create(&ca_dir).map_err(RoleEnd::work)?;
    let mut supervisor = stream(supervisor.into())?;
    let ready = SignerReady { certificate: authority.certificate().to_vec() };
    frame::write(&mut supervisor, &ready).await.map_err(RoleEnd::work)?;
    signer::serve(stream(worker)?, &authority, names_per_second).await.map_err(RoleEnd::work)
}
