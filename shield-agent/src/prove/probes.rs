//! The attempts themselves: each a small function that does what an agent would do to get its secret out, and stops at
//! the first call that is refused. They run as the agent and know nothing of what should happen.

pub(super) mod cgroup;
pub(super) mod device;
pub(super) mod family;
pub(super) mod hollow;
pub(super) mod hook;
pub(super) mod local;
pub(super) mod loopback;
pub(super) mod option;
pub(super) mod process;
pub(super) mod raw;
pub(super) mod ring;
pub(super) mod socket;
pub(super) mod tcp;
pub(super) mod udp;

use std::io;

use nix::errno::Errno;

/// How an attempt ends: the last call was not refused, or one was.
pub(super) type Attempt = Result<(), Refused>;

/// A call that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// Which, as `strace` would name it.
    pub(super) call: &'static str,
    /// With which error number.
    pub(super) errno: i32,
}

/// Names the call an error came from.
pub(super) trait At<T> {
    fn at(self, call: &'static str) -> Result<T, Refused>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, call: &'static str) -> Result<T, Refused> {
        self.map_err(|errno| Refused { call, errno: errno as i32 })
    }
}

impl<T> At<T> for io::Result<T> {
    fn at(self, call: &'static str) -> Result<T, Refused> {
        // What the system did not say itself is a wait that was too long.
        self.map_err(|error| Refused { call, errno: error.raw_os_error().unwrap_or(libc::ETIMEDOUT) })
    }
}
