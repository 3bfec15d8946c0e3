//! Names and sizes both halves must agree on.

/// Version of the pinned layout: map names, key and value sizes. Part of every pin's path, so that a daemon
/// never reuses maps it would misread.
pub const ABI: u32 = 1;

/// Bytes of a process name, including the trailing NUL, as the kernel keeps it (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
