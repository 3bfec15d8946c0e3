//! The hand-off: a connection's record goes from the agent's socket to the accepted one.
//!
//! Filed before the first packet leaves and claimed while the handshake ends, so the four-tuple cannot have been
//! used by anyone else in between. A connection nobody filed claims nothing, and the worker closes it.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE, bpf_sock_ops,
};
use aya_ebpf::programs::SockOpsContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::handoff::Tuple;

use crate::events::note_unclaimed;
use crate::maps::{HANDOFFS, ORIGINALS, count, netns_cookie, storage};

/// The answer of every call: this hook decides nothing.
const DONE: u32 = 1;
/// Replace what an abandoned connection may have left.
const ANY: u64 = 0;

const IPPROTO_TCP: u16 = 6;

/// On the agent's sockets: files the record of a connection that is about to start, and takes back that of one that
/// ended before it was claimed: whoever uses its port next must not find it.
#[inline(always)]
pub fn file(ctx: &SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => start(ctx),
        // The second argument is the state the connection enters.
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => {
            let _ = HANDOFFS.remove(outgoing(ctx));
        }
        _ => {}
    }
    DONE
}

#[inline(always)]
fn start(ctx: &SockOpsContext) {
    // SAFETY: a plain read of the context.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return;
    }
    // SAFETY: checked above. Connections to the agent's own listeners have no record and need none.
    let Some(original) = (unsafe { storage(&ORIGINALS, socket.cast(), None) }) else { return };
    let flags = ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
    // A record that cannot be filed, or could not be taken back, is missing when it is looked for: the connection is
    // closed.
    if ctx.set_cb_flags(flags.cast_signed()).is_ok() {
        let _ = HANDOFFS.insert(outgoing(ctx), &*original, ANY);
    }
}

/// The connection of an agent's socket.
#[inline(always)]
fn outgoing(ctx: &SockOpsContext) -> Tuple {
    let (local, remote) = ends(ctx.ops);
    Tuple {
        netns_cookie: netns_cookie(ctx),
        client: local.0,
        server: remote.0,
        client_port: local.1,
        server_port: remote.1,
    }
}

/// On the listeners' accepted sockets: claims the record of a connection that was just established.
#[inline(always)]
pub fn claim(ctx: &SockOpsContext) -> u32 {
    if ctx.op() != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        return DONE;
    }
    // SAFETY: a plain read of the context.
    let socket = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if socket.is_null() {
        return DONE;
    }
    let (local, remote) = ends(ctx.ops);
    let tuple = Tuple {
        netns_cookie: netns_cookie(ctx),
        client: remote.0,
        server: local.0,
        client_port: remote.1,
        server_port: local.1,
    };
    // SAFETY: only this connection has this tuple, and it is claimed once.
    let Some(filed) = (unsafe { HANDOFFS.get(tuple) }) else {
        // Whoever connects has another port each time.
        let aim = Aim { address: remote.0, what: 0, port: 0, protocol: IPPROTO_TCP };
        note_unclaimed(tuple.netns_cookie, aim);
        return DONE;
    };
    let mut original = *filed;
    // SAFETY: checked above.
    if unsafe { storage(&ORIGINALS, socket.cast(), Some(&mut original)) }.is_none() {
        count(Reason::NoRecord);
    }
    let _ = HANDOFFS.remove(tuple);
    DONE
}

/// The local and the remote end. IPv4 sockets carry their addresses v4-mapped too.
#[inline(always)]
fn ends(ops: *mut bpf_sock_ops) -> ((Address, u32), (Address, u32)) {
    // SAFETY: plain reads of the context, a word at a time as the verifier demands. The remote port is 16 bits in
    // network order in the high half of a big-endian word, the local one a number.
    unsafe {
        let local = [
            (&raw const (*ops).local_ip6[0]).read_volatile(),
            (&raw const (*ops).local_ip6[1]).read_volatile(),
            (&raw const (*ops).local_ip6[2]).read_volatile(),
            (&raw const (*ops).local_ip6[3]).read_volatile(),
        ];
        let remote = [
            (&raw const (*ops).remote_ip6[0]).read_volatile(),
            (&raw const (*ops).remote_ip6[1]).read_volatile(),
            (&raw const (*ops).remote_ip6[2]).read_volatile(),
            (&raw const (*ops).remote_ip6[3]).read_volatile(),
        ];
        let local_port = (&raw const (*ops).local_port).read_volatile();
        let remote_port = u32::from_be((&raw const (*ops).remote_port).read_volatile());
        ((Address(local), local_port), (Address(remote), remote_port))
    }
}
