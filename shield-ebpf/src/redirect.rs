//! Sending a connection to the agent's listener, remembering where it was going, and telling the program so.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_socket_cookie,
    bpf_ktime_get_ns,
};
use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::limits::COMM_LEN;
use shield_common::original::Original;
use shield_common::served::Served;

use crate::connect::asked_v4;
use crate::connect::asked_v6;
use crate::datagram;
use crate::maps::{ORIGINALS, PASS, netns_cookie, storage};

/// Where a call goes instead.
#[derive(Clone, Copy)]
pub struct Target {
    pub address: Address,
    pub port: u16,
}

/// The loopback address that stands for `asked`.
///
/// IPv6 goes to v4-mapped loopback unless ::1 is known to work here: where it does not, a packet for it would be
/// routed out of the host.
#[inline(always)]
pub fn loopback_for(served: &Served, asked: Address) -> Address {
    if asked.as_v4().is_none() && served.v6 == 1 { Address::LOOPBACK_V6 } else { Address::LOOPBACK_V4 }
}

/// Keeps, with the socket, where it was going and who asked. A socket used again gets a new record.
#[inline(always)]
pub fn file(ctx: &SockAddrContext, asked: Address, port: u16, family: u16) -> bool {
    // SAFETY: these helpers read the current task and the context.
    let (task, user, cgroup_id, cookie, now) = unsafe {
        (
            bpf_get_current_pid_tgid(),
            bpf_get_current_uid_gid(),
            bpf_get_current_cgroup_id(),
            bpf_get_socket_cookie(ctx.as_ptr()),
            bpf_ktime_get_ns(),
        )
    };
    let mut original = Original {
        address: asked.bytes(),
        cookie,
        cgroup_id,
        netns_cookie: netns_cookie(ctx),
        connected_at_ns: now,
        port,
        family,
        pid: (task >> 32) as u32,
        uid: user as u32,
        gid: (user >> 32) as u32,
        comm: bpf_get_current_comm().unwrap_or([0; COMM_LEN]),
    };
    // SAFETY: the context's own socket, which is never null in this hook.
    match unsafe { storage(&ORIGINALS, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), Some(&mut original)) } {
        Some(kept) => {
            *kept = original;
            true
        }
        None => false,
    }
}

/// Sends an IPv4 call to `target`.
#[inline(always)]
pub fn write_v4(call: *mut bpf_sock_addr, target: Target) -> i32 {
    // SAFETY: plain writes to the writable fields of the context.
    unsafe {
        (*call).user_ip4 = target.address.0[3];
        (*call).user_port = u32::from(target.port.to_be());
    }
    PASS
}

/// Sends an IPv6 call to `target`.
#[inline(always)]
pub fn write_v6(call: *mut bpf_sock_addr, target: Target) -> i32 {
    let [a, b, c, d] = target.address.0;
    // SAFETY: plain writes to the writable fields of the context, a word at a time as the verifier demands.
    unsafe {
        (&raw mut (*call).user_ip6[0]).write_volatile(a);
        (&raw mut (*call).user_ip6[1]).write_volatile(b);
        (&raw mut (*call).user_ip6[2]).write_volatile(c);
        (&raw mut (*call).user_ip6[3]).write_volatile(d);
        (*call).user_port = u32::from(target.port.to_be());
    }
    PASS
}

/// An IPv4 socket asks whom it is connected to.
#[inline(always)]
pub fn peername_v4(ctx: &SockAddrContext) -> i32 {
    let (peer, port) = asked_v4(ctx.sock_addr);
    match peer_as_asked(ctx, peer, port) {
        Some(asked) => write_v4(ctx.sock_addr, asked),
        None => PASS,
    }
}

/// An IPv6 socket asks whom it is connected to.
#[inline(always)]
pub fn peername_v6(ctx: &SockAddrContext) -> i32 {
    let (peer, port) = asked_v6(ctx.sock_addr);
    match peer_as_asked(ctx, peer, port) {
        Some(asked) => write_v6(ctx.sock_addr, asked),
        None => PASS,
    }
}

/// The peer the program believes in, when it is not the one the kernel knows.
#[inline(always)]
fn peer_as_asked(ctx: &SockAddrContext, peer: Address, port: u16) -> Option<Target> {
    // SAFETY: the context's own socket, which is never null in this hook.
    match unsafe { storage(&ORIGINALS, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), None) } {
        Some(original) => Some(Target { address: words(&original.address), port: original.port }),
        None => datagram::nameserver(ctx, peer, port),
    }
}

/// The address as words again.
#[inline(always)]
fn words(bytes: &[u8; 16]) -> Address {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    Address([
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ])
}
