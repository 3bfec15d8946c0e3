//! From bytes to one canonical request: the only form that is judged, shown, hashed and sent.

pub mod canonical;
