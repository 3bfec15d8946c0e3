//! What is reached on this host: only sockets the agent opened itself, and those that serve it.
//!
//! Everything else on loopback belongs to others: consoles, databases, container engines, metadata services.

use core::mem::size_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as TupleV6,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release};
use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::scope::Transport;
use shield_common::served::Owner;

use crate::events::refuse;
use crate::maps::{ECONNREFUSED, EPERM, ORIGINALS, OWNERS, count, storage};
use crate::redirect::Target;

/// The network namespace of the socket at hand.
const CURRENT_NETNS: u64 = -1_i64 as u64;

/// Lets a connection through to the agent's own listener, or ends it.
#[inline(always)]
pub fn judge(ctx: &SockAddrContext, aim: Aim) -> Result<Target, i32> {
    let target = Target { address: aim.address.settled(), port: aim.port };
    let Some(owner) = receiver(ctx, Transport::Stream, target) else {
        return Err(refuse(ctx, Reason::NoListener, ECONNREFUSED, aim));
    };
    if owner != Owner::Agent as u32 {
        return Err(refuse(ctx, Reason::ForeignListener, EPERM, aim));
    }
    // SAFETY: the context's own socket. A record of an earlier connection would be told as this one's peer.
    let _ = unsafe { ORIGINALS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
    count(Reason::OwnLoopback);
    Ok(target)
}

/// Sends a call that was for `aim` to a socket that serves the agent. When that one is gone, whoever has its port now gets nothing.
#[inline(always)]
pub fn to_proxy(
    ctx: &SockAddrContext,
    transport: Transport,
    target: Target,
    aim: Aim,
) -> Result<Target, i32> {
    match receiver(ctx, transport, target) {
        Some(owner) if owner == Owner::Proxy as u32 => Ok(target),
        _ => Err(refuse(ctx, Reason::ProxyGone, ECONNREFUSED, aim)),
    }
}

/// Both ends of a packet on loopback. The port of the sender is 0 when nothing was sent yet.
#[derive(Clone, Copy)]
pub struct Ends {
    pub from: Target,
    pub to: Target,
}

/// Whether a packet that opens a connection, or a datagram, reaches a socket of the agent's or one that serves it.
///
/// The hooks asked this before; since then the listener may have been replaced, or two share its port.
#[inline(always)]
pub fn welcomes(ctx: &impl EbpfContext, transport: Transport, ends: Ends) -> bool {
    let exact = owner(ctx, transport, ends);
    // The remains of an earlier connection between the same ports hide the listener they will make room for.
    let owner = match (exact, transport) {
        (None, Transport::Stream) => {
            owner(ctx, transport, Ends { from: Target { address: ends.to.address, port: 0 }, to: ends.to })
        }
        _ => exact,
    };
    owner.is_some_and(|owner| owner == Owner::Agent as u32 || owner == Owner::Proxy as u32)
}

/// The owner of the socket that would receive what is sent to `target`: 0 for a stranger's, `None` without one.
#[inline(always)]
fn receiver(ctx: &SockAddrContext, transport: Transport, target: Target) -> Option<u32> {
    let nobody = match target.address.as_v4() {
        Some(_) => Address::v4(0),
        None => Address([0; 4]),
    };
    owner(ctx, transport, Ends { from: Target { address: nobody, port: 0 }, to: target })
}

/// The owner of the socket a packet between `ends` reaches: 0 for a stranger's, `None` without one.
#[inline(always)]
fn owner(ctx: &impl EbpfContext, transport: Transport, ends: Ends) -> Option<u32> {
    let Ends { from, to } = ends;
    let (sport, dport) = (from.port.to_be(), to.port.to_be());
    let socket = match to.address.as_v4() {
        Some(daddr) => {
            let mut tuple = TupleV4 { saddr: from.address.0[3], daddr, sport, dport };
            find(ctx, transport, (&raw mut tuple).cast(), size_of::<TupleV4>())
        }
        None => {
            let mut tuple = TupleV6 { saddr: from.address.0, daddr: to.address.0, sport, dport };
            find(ctx, transport, (&raw mut tuple).cast(), size_of::<TupleV6>())
        }
    };
    if socket.is_null() {
        return None;
    }
    // SAFETY: not null, and released right after on every path.
    let owner = unsafe { storage(&OWNERS, socket.cast(), None) }.map_or(0, |owner| *owner);
    // SAFETY: taken above, released once.
    unsafe { bpf_sk_release(socket.cast()) };
    Some(owner)
}

/// Looks for a socket; the size of the tuple tells its family.
#[inline(always)]
fn find(
    ctx: &impl EbpfContext,
    transport: Transport,
    tuple: *mut bpf_sock_tuple,
    size: usize,
) -> *mut bpf_sock {
    let (ctx, size) = (ctx.as_ptr(), size as u32);
    // SAFETY: the callers' tuples live for the call and have the size they say.
    unsafe {
        match transport {
            Transport::Stream => bpf_sk_lookup_tcp(ctx, tuple, size, CURRENT_NETNS, 0),
            Transport::Datagram => bpf_sk_lookup_udp(ctx, tuple, size, CURRENT_NETNS, 0),
        }
    }
}
