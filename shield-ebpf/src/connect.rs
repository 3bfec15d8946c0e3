//! `connect()`, TCP and UDP: read where it goes, judge it, rewrite it or refuse it.
//!
//! Also MSG_FASTOPEN, TCP_FASTOPEN_CONNECT and io_uring, which the kernel leads through the same hook.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::scope::{self, Refusal, Scope, Transport};

use crate::events::{aim, note, refuse};
use crate::maps::{DENY, ECONNREFUSED, EPROTONOSUPPORT, Networks, ORIGINALS, PASS, served};
use crate::redirect::{self, Target};
use crate::{datagram, guard, loopback};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// An IPv4 socket connects.
#[inline(always)]
pub fn v4(ctx: &SockAddrContext) -> i32 {
    let (asked, port) = asked_v4(ctx.sock_addr);
    match judge(ctx, asked, port, AF_INET) {
        Ok(Some(target)) => redirect::write_v4(ctx.sock_addr, target),
        Ok(None) => PASS,
        Err(denied) => denied,
    }
}

/// An IPv6 socket connects, perhaps to a v4-mapped address.
#[inline(always)]
pub fn v6(ctx: &SockAddrContext) -> i32 {
    let (asked, port) = asked_v6(ctx.sock_addr);
    match judge(ctx, asked, port, AF_INET6) {
        Ok(Some(target)) => redirect::write_v6(ctx.sock_addr, target),
        Ok(None) => PASS,
        Err(denied) => denied,
    }
}

/// Where to go instead, `None` to go on as asked, or the verdict that ends the call.
#[inline(always)]
fn judge(ctx: &SockAddrContext, asked: Address, port: u16, family: u16) -> Result<Option<Target>, i32> {
    guard::own(ctx, asked, port)?;
    // SAFETY: plain reads of the context.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    let aim = aim(ctx, asked, port);
    let transport = match (kind, protocol) {
        (SOCK_STREAM, IPPROTO_TCP) => Transport::Stream,
        (SOCK_DGRAM, IPPROTO_UDP) => Transport::Datagram,
        _ => return Err(refuse(ctx, Reason::SocketKind, EPROTONOSUPPORT, Aim { what: kind, ..aim })),
    };
    match scope::of(transport, asked, port, &Networks) {
        Scope::Take => take(ctx, aim, family).map(Some),
        Scope::Dns => datagram::ask(ctx, aim, datagram::Reach::EitherFamily).map(Some),
        Scope::Loopback => loopback::judge(ctx, aim).map(Some),
        Scope::Direct => {
            // SAFETY: the context's own socket. A record of an earlier connection would be told as this one's peer.
            let _ = unsafe { ORIGINALS.delete((*ctx.sock_addr).__bindgen_anon_1.sk) };
            note(ctx, Reason::Direct, aim);
            Ok(None)
        }
        Scope::Refuse(why) => Err(refuse(ctx, reason(why), ECONNREFUSED, aim)),
    }
}

#[inline(always)]
fn reason(why: Refusal) -> Reason {
    match why {
        Refusal::Datagram => Reason::Datagram,
        Refusal::Destination => Reason::Destination,
        Refusal::DeniedNetwork => Reason::DeniedNetwork,
        Refusal::Metadata => Reason::Metadata,
    }
}

/// Files where the connection was going and sends it to the agent's listener.
#[inline(always)]
fn take(ctx: &SockAddrContext, aim: Aim, family: u16) -> Result<Target, i32> {
    let Some(served) = served(ctx) else {
        return Err(refuse(ctx, Reason::UnservedNetns, ECONNREFUSED, aim));
    };
    let target = Target { address: redirect::loopback_for(served, aim.address), port: served.port };
    let target = loopback::to_proxy(ctx, Transport::Stream, target, aim)?;
    if !redirect::file(ctx, aim.address, aim.port, family) {
        note(ctx, Reason::NoRecord, aim);
        return Err(DENY);
    }
    note(ctx, Reason::Taken, aim);
    Ok(target)
}

/// The IPv4 destination of the call.
#[inline(always)]
pub fn asked_v4(call: *mut bpf_sock_addr) -> (Address, u16) {
    // SAFETY: plain reads of the context; the port is 16 bits in network order in the low half of a word.
    unsafe { (Address::v4((*call).user_ip4), u16::from_be((*call).user_port as u16)) }
}

/// The IPv6 destination of the call.
#[inline(always)]
pub fn asked_v6(call: *mut bpf_sock_addr) -> (Address, u16) {
    // SAFETY: plain reads of the context, a word at a time as the verifier demands.
    unsafe {
        let words = [
            (&raw const (*call).user_ip6[0]).read_volatile(),
            (&raw const (*call).user_ip6[1]).read_volatile(),
            (&raw const (*call).user_ip6[2]).read_volatile(),
            (&raw const (*call).user_ip6[3]).read_volatile(),
        ];
        (Address(words), u16::from_be((*call).user_port as u16))
    }
}
