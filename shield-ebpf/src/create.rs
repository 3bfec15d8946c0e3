//! What kinds of socket an agent can have, and which options it can set on them.

use aya_ebpf::programs::{SockContext, SockoptContext};
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::served::Owner;

use crate::events::{note, refuse};
use crate::maps::{DENY, EPROTONOSUPPORT, OWNERS, PASS, count, storage};

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// A socket is created: TCP and UDP only. Raw, ping, UDP-Lite, MPTCP and SCTP would pass some hook by.
///
/// MPTCP clients fall back to TCP on this error.
#[inline(always)]
pub fn socket(ctx: &SockContext) -> i32 {
    // SAFETY: plain reads of the context.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    match (kind, protocol) {
        (SOCK_STREAM, IPPROTO_TCP) | (SOCK_DGRAM, IPPROTO_UDP) => {}
        _ => return refuse(ctx, Reason::SocketKind, EPROTONOSUPPORT, nowhere(kind, protocol)),
    }
    mark(ctx, Owner::Agent)
}

/// A socket to serve the agent on is created: connections are only sent to listeners with this mark, so that nobody
/// can take the place of a listener that died.
#[inline(always)]
pub fn serving_socket(ctx: &SockContext) -> i32 {
    mark(ctx, Owner::Proxy)
}

#[inline(always)]
fn mark(ctx: &SockContext, owner: Owner) -> i32 {
    let mut owner = owner as u32;
    // SAFETY: in this hook the context is the socket.
    if unsafe { storage(&OWNERS, ctx.sock.cast(), Some(&mut owner)) }.is_none() {
        note(ctx, Reason::NoRecord, nowhere(0, 0));
        return DENY;
    }
    PASS
}

/// What has no destination yet. The level of an option is a protocol's number.
#[inline(always)]
fn nowhere(what: u32, protocol: u32) -> Aim {
    Aim { address: Address([0; 4]), what, port: 0, protocol: protocol as u16 }
}

const SOL_IP: i32 = 0;
const SOL_SOCKET: i32 = 1;
const SOL_IPV6: i32 = 41;

const SO_BINDTODEVICE: i32 = 25;
const SO_BINDTOIFINDEX: i32 = 62;
const IP_OPTIONS: i32 = 4;
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292RTHDR: i32 = 5;
const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDRDSTOPTS: i32 = 55;
const IPV6_RTHDR: i32 = 57;
const IPV6_DSTOPTS: i32 = 59;

/// Tells the kernel to skip its own handler and report success.
const HANDLED: i32 = -1;

/// An option is set: none may send packets elsewhere than the connect hook decided.
#[inline(always)]
pub fn option(ctx: &SockoptContext) -> i32 {
    // SAFETY: plain reads of the context.
    let (level, name) = unsafe { ((*ctx.sockopt).level, (*ctx.sockopt).optname) };
    match (level, name) {
        (SOL_SOCKET, SO_BINDTODEVICE | SO_BINDTOIFINDEX) => {
            // The connection goes over loopback whatever device was asked for, so asking does no harm.
            count(Reason::DeviceOption);
            // SAFETY: a plain write to a writable field of the context.
            unsafe { (*ctx.sockopt).optlen = HANDLED };
            PASS
        }
        (SOL_IP, IP_OPTIONS)
        | (
            SOL_IPV6,
            IPV6_2292HOPOPTS | IPV6_2292DSTOPTS | IPV6_2292RTHDR | IPV6_2292PKTOPTIONS | IPV6_HOPOPTS
            | IPV6_RTHDRDSTOPTS | IPV6_RTHDR | IPV6_DSTOPTS,
        ) => {
            note(ctx, Reason::RoutingOption, nowhere(name.cast_unsigned(), level.cast_unsigned()));
            DENY
        }
        _ => PASS,
    }
}
