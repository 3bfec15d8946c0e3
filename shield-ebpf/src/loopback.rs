//! Connections that stay on this host: allowed only to a listener the agent opened itself.
//!
//! Everything else on loopback belongs to others: consoles, databases, container engines, metadata services.

use core::mem::size_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as TupleV6,
};
use aya_ebpf::helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release};
use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::event::Reason;

use crate::maps::{ECONNREFUSED, EPERM, ORIGINALS, OWN, count, refuse, storage};
use crate::redirect::Target;

/// The network namespace of the socket at hand.
const CURRENT_NETNS: u64 = -1_i64 as u64;

enum Listener {
    Own,
    Foreign,
    Nobody,
}

/// Lets a connection through to the agent's own listener, or ends it.
#[inline(always)]
pub fn judge(ctx: &SockAddrContext, asked: Address, port: u16) -> Result<Target, i32> {
    let address = asked.settled();
    match listener(ctx, address, port) {
        Listener::Own => {
            // SAFETY: the context's own socket. A record of an earlier connection would be told as this one's peer.
            let _ = unsafe { ORIGINALS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
            count(Reason::OwnLoopback);
            Ok(Target { address, port })
        }
        Listener::Foreign => Err(refuse(Reason::ForeignListener, EPERM)),
        Listener::Nobody => Err(refuse(Reason::NoListener, ECONNREFUSED)),
    }
}

/// Who would accept a connection to `port` at `address`.
#[inline(always)]
fn listener(ctx: &SockAddrContext, address: Address, port: u16) -> Listener {
    let socket = match address.as_v4() {
        Some(word) => {
            let mut tuple = TupleV4 { saddr: 0, daddr: word, sport: 0, dport: port.to_be() };
            let (at, size) = ((&raw mut tuple).cast(), size_of::<TupleV4>() as u32);
            // SAFETY: the tuple lives for the call; its size tells the family.
            unsafe { bpf_sk_lookup_tcp(ctx.as_ptr(), at, size, CURRENT_NETNS, 0) }
        }
        None => {
            let mut tuple = TupleV6 { saddr: [0; 4], daddr: address.0, sport: 0, dport: port.to_be() };
            let (at, size) = ((&raw mut tuple).cast(), size_of::<TupleV6>() as u32);
            // SAFETY: the tuple lives for the call; its size tells the family.
            unsafe { bpf_sk_lookup_tcp(ctx.as_ptr(), at, size, CURRENT_NETNS, 0) }
        }
    };
    if socket.is_null() {
        return Listener::Nobody;
    }
    // SAFETY: not null, and released right after on every path.
    let own = unsafe { storage(&OWN, socket.cast(), None) }.is_some();
    // SAFETY: taken above, released once.
    unsafe { bpf_sk_release(socket.cast()) };
    if own { Listener::Own } else { Listener::Foreign }
}
