//! From bytes to one canonical request: the only form that is judged, shown, hashed and sent.

pub mod body;
pub mod canonical;
pub mod guard;
pub mod head;
pub mod host;
pub mod parse;
pub mod serve;
pub mod spelling;
pub mod unclear;

/// What a peer may send on one HTTP/2 stream before it is read, bytes. With the next, the most of an exchange that HTTP/2
/// keeps in memory.
pub const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all streams of a connection. A smaller one is used up by many small bodies at once; then peers cut them
/// into crumbs, and `h2` takes so many crumbs for an attack.
pub const CONNECTION_WINDOW: u32 = 8 << 20;
