//! Names and sizes both halves must agree on.

/// Version of the pinned layout: map names, key and value sizes. Part of every pin's path, so that a daemon
/// never reuses maps it would misread.
pub const ABI: u32 = 3;

/// Bytes of a process name, including the trailing NUL, as the kernel keeps it (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Network namespaces one agent can be served in at a time.
pub const NETNS_MAX: u32 = 64;

/// Networks of a policy that can be denied, and as many that can be direct.
pub const NETWORKS_MAX: u32 = 1024;

/// Connections of one agent that can be between `connect()` and the end of their handshake. Beyond it the oldest
/// lose their record, and a connection without a record is closed.
pub const HANDOFFS_MAX: u32 = 8192;

/// Bytes of the ring in which one agent's hooks tell what they redirected and refused.
pub const EVENTS_BYTES: u32 = 256 << 10;

/// Different things whose pace is kept for one agent. Beyond it those told longest ago are forgotten, and may be told
/// again before their second is over.
pub const PACES_MAX: u32 = 1024;

/// Nameservers one socket can ask at the same time and still be told which of them answered; each has its own
/// DNS socket on loopback. A power of two: it masks an index in the kernel. Resolvers know three at most.
pub const NAMESERVERS: usize = 4;

/// Destination of the launcher's probe (TEST-NET-1, never routed): the worker answers a flow to it itself, with
/// [`PROBE_GREETING`], the agent's name and a line feed, and closes it.
pub const PROBE_ADDRESS: core::net::Ipv4Addr = core::net::Ipv4Addr::new(192, 0, 2, 1);

/// Port of the launcher's probe.
pub const PROBE_PORT: u16 = 1;

/// What the answer to the launcher's probe starts with; the agent's name and a line feed follow.
pub const PROBE_GREETING: &str = "agent.shield ";

/// IPv4 address `shield.internal` resolves to, from the benchmarking range (RFC 2544) that is never routed: a
/// connection to it only ever meets the worker.
pub const INTERNAL_ADDRESS: [u8; 4] = [198, 18, 0, 1];
