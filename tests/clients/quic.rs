//! QUIC
