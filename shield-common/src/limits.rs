//! Names and sizes both halves must agree on.

/// Version of the pinned layout: map names, key and value sizes. Part of every pin's path, so that a daemon
/// never reuses maps it would misread.
pub const ABI: u32 = 1;

/// Bytes of a process name, including the trailing NUL, as the kernel keeps it (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Network namespaces one agent can be served in at a time.
pub const NETNS_MAX: u32 = 64;

/// Connections of one agent that can be between `connect()` and the end of their handshake. Beyond it the oldest
/// lose their record, and a connection without a record is closed.
pub const HANDOFFS_MAX: u32 = 8192;

/// Nameservers one socket can ask at the same time and still be told which of them answered; each has its own
/// DNS socket on loopback. A power of two: it masks an index in the kernel. Resolvers know three at most.
pub const NAMESERVERS: usize = 4;
