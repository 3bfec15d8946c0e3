//! The signer role: answers "sign a leaf for this name and key" with the CA of this install.
//!
//! It never sees a leaf's private key, never opens a socket, and never signs faster than its limit: whoever takes
//! the worker over can mint names only as long and as fast as it is allowed to ask.

pub mod authority;
mod pace;

use std::time::{Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};

pub use self::authority::{Authority, AuthorityError};
use self::pace::Pace;
use crate::ipc::frame::{self, FrameError};
use crate::ipc::signer::{LeafSigned, SignLeaf, SignRefused};

/// Longest question the signer reads, in bytes: a name and the largest RSA public key fit many times over.
const MAX_QUESTION: usize = 8 << 10;

/// Answers a worker until it closes its end, with at most so many leaves per second; the worker keeps leaves, so each is
/// for a name it had not met.
///
/// # Errors
/// When the channel fails or the worker sends what is not a message of it; the caller then closes the channel.
pub async fn serve(
    mut worker: impl AsyncRead + AsyncWrite + Unpin,
    authority: &Authority,
    names_per_second: u32,
) -> Result<(), FrameError> {
    let mut pace = Pace::new(names_per_second, Instant::now());
    loop {
        let question: SignLeaf = match frame::read_within(&mut worker, MAX_QUESTION).await {
            Ok(question) => question,
            Err(FrameError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        };
        let certificate = if pace.admit(Instant::now()) {
            authority.sign(&question.name, &question.public_key, SystemTime::now())
        } else {
            Err(SignRefused::RateLimited(names_per_second))
        };
        frame::write(&mut worker, &LeafSigned { id: question.id, certificate }).await?;
    }
}

#[cfg(test)]
mod tests;
