//! The data plane in one process: a real origin and a real client on loopback, the real signer, and an approver whose
//! answers each test writes.

mod forwarding;
mod holding;
mod naming;
mod opaque;
mod opening;
mod recording;
mod shapes;
mod websockets;
mod world;
