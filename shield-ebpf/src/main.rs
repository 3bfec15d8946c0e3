//! The gate: which program sits on which hook of a gated cgroup. What each does is in the file it calls.
//!
//! A program refuses when anything it needs is missing: no path through this crate lets traffic pass by accident.
#![no_std]
#![no_main]

mod connect;
mod create;
mod datagram;
mod egress;
mod events;
mod guard;
mod loopback;
mod maps;
mod redirect;
mod sockops;

use aya_ebpf::macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, sock_ops};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext};

// Outgoing connections, TCP and UDP.

#[cgroup_sock_addr(connect4)]
pub fn gate_connect4(ctx: SockAddrContext) -> i32 {
    connect::v4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn gate_connect6(ctx: SockAddrContext) -> i32 {
    connect::v6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn gate_peername4(ctx: SockAddrContext) -> i32 {
    redirect::peername_v4(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn gate_peername6(ctx: SockAddrContext) -> i32 {
    redirect::peername_v6(&ctx)
}

// The hand-off: filed on the agent's cgroup, claimed on the listeners'.

#[sock_ops]
pub fn gate_file(ctx: SockOpsContext) -> u32 {
    sockops::file(&ctx)
}

#[sock_ops]
pub fn gate_claim(ctx: SockOpsContext) -> u32 {
    sockops::claim(&ctx)
}

// UDP without connect.

#[cgroup_sock_addr(sendmsg4)]
pub fn gate_sendmsg4(ctx: SockAddrContext) -> i32 {
    datagram::send_v4(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn gate_sendmsg6(ctx: SockAddrContext) -> i32 {
    datagram::send_v6(&ctx)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn gate_recvmsg4(ctx: SockAddrContext) -> i32 {
    datagram::receive_v4(&ctx)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn gate_recvmsg6(ctx: SockAddrContext) -> i32 {
    datagram::receive_v6(&ctx)
}

// What sockets there may be, whose they are, and what may be set on them.

#[cgroup_sock(sock_create)]
pub fn gate_create(ctx: SockContext) -> i32 {
    create::socket(&ctx)
}

#[cgroup_sockopt(setsockopt)]
pub fn gate_setsockopt(ctx: SockoptContext) -> i32 {
    create::option(&ctx)
}

#[cgroup_sock(sock_create)]
pub fn gate_serve(ctx: SockContext) -> i32 {
    create::serving_socket(&ctx)
}

// The guard: sockets from elsewhere, seen from above the agent.

#[cgroup_sock_addr(connect4)]
pub fn guard_connect4(ctx: SockAddrContext) -> i32 {
    guard::v4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn guard_connect6(ctx: SockAddrContext) -> i32 {
    guard::v6(&ctx)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn guard_sendmsg4(ctx: SockAddrContext) -> i32 {
    guard::v4(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn guard_sendmsg6(ctx: SockAddrContext) -> i32 {
    guard::v6(&ctx)
}

// The backstop: packets.

#[cgroup_skb]
pub fn gate_egress(ctx: SkBuffContext) -> i32 {
    egress::leaving(&ctx)
}

#[cgroup_skb]
pub fn gate_ingress(ctx: SkBuffContext) -> i32 {
    egress::arriving(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves this is never reached.
    loop {}
}

/// The kernel lends GPL-only helpers to programs that say this.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
