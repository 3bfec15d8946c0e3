//! Something an agent tried and the hooks redirected or refused, as it goes from the supervisor to the approver and from
//! there to whoever asks.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shield_common::event::Reason;

/// One attempt, and how many like it were not told one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// What was done and why, by the name of its counter.
    #[serde(with = "by_name")]
    pub reason: Reason,
    /// Where to; `null` when there was no address, as when a socket is made.
    pub address: Option<IpAddr>,
    /// The port; 0 when there was none.
    pub port: u16,
    /// Number of the protocol, as IP knows it; 0 when it is not known.
    pub protocol: u16,
    /// Kind of socket or number of the option, where the reason is about one; else 0.
    pub what: u32,
    /// The process that called; `null` when all there was is a packet.
    pub pid: Option<u32>,
    /// User id of the process, or of the socket's owner.
    pub uid: Option<u32>,
    /// Name of the process, chosen by itself; empty when all there was is a packet.
    pub comm: String,
    /// How often: this time, and those that were not told since the last that was.
    pub times: u64,
}

/// A reason by its name: numbers are the kernel's.
pub(crate) mod by_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};
    use shield_common::event::Reason;

    pub(crate) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let name = String::deserialize(from)?;
        let found = Reason::ALL.iter().find(|reason| reason.name() == name);
        found.copied().ok_or_else(|| D::Error::custom("an unknown reason"))
    }
}
