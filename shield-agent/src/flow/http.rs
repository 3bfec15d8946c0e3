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
