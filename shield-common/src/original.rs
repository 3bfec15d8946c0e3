//! What the connect hook knew about a flow, carried to the proxy with the accepted socket.

use crate::limits::COMM_LEN;

/// The original destination of a flow and the process that asked for it, as filed by the connect hook.
///
/// Written by the kernel into socket storage; read once by the worker when it accepts the flow. Every byte is
/// initialised: padding is spelled out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Destination address in network order; IPv4 is kept v4-mapped (`::ffff:a.b.c.d`).
    pub address: [u8; 16],
    /// Socket cookie of the client's socket.
    pub cookie: u64,
    /// Id of the cgroup the calling task was in.
    pub cgroup_id: u64,
    /// Cookie of the network namespace the socket lives in.
    pub netns_cookie: u64,
    /// `CLOCK_MONOTONIC` nanoseconds at the connect call.
    pub connected_at_ns: u64,
    /// Destination port, host order.
    pub port: u16,
    /// Address family the program asked for: `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Thread group id of the caller in the initial pid namespace.
    pub pid: u32,
    /// Effective user id of the caller in the initial user namespace.
    pub uid: u32,
    /// Effective group id of the caller in the initial user namespace.
    pub gid: u32,
    /// Process name, NUL-padded; chosen by the process, so good for display only.
    pub comm: [u8; COMM_LEN],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_no_hidden_padding() {
        assert_eq!(size_of::<Original>(), 16 + 4 * 8 + 2 * 2 + 3 * 4 + COMM_LEN);
    }
}
