//! The data plane in one process: a real origin and a real client on loopback, the real signer, and an approver whose
//! answers each test writes.

mod bad_certificates;
mod bad_servers;
mod forwarding;
mod holding;
mod naming;
mod opaque;
mod opening;
mod private_hosts;
mod recording;
mod shapes;
mod ways;
mod websockets;
mod world;
