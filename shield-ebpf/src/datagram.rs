//! UDP: names are asked of our DNS sockets, everything else is refused at once.
//!
//! Refused with ECONNREFUSED and never dropped: QUIC clients then turn to TCP without waiting.

use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::limits::NAMESERVERS;
use shield_common::scope::{self, DNS_PORT, Scope, Transport};
use shield_common::served::Asked;

use crate::connect::{asked_v4, asked_v6};
use crate::events::{aim, note, refuse};
use crate::guard;
use crate::loopback;
use crate::maps::{ASKED, DENY, ECONNREFUSED, EPROTONOSUPPORT, Networks, PASS, served, storage};
use crate::redirect::{Target, loopback_for, write_v4, write_v6};

const IPPROTO_UDP: u16 = 17;

/// Which loopback addresses the kernel will take in place of an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `connect()`: v4-mapped as well.
    EitherFamily,
    /// `sendmsg()`: the family asked for only.
    SameFamily,
}

/// An IPv4 datagram is sent: also by an IPv6 socket to a v4-mapped address.
#[inline(always)]
pub fn send_v4(ctx: &SockAddrContext) -> i32 {
    let (asked, port) = asked_v4(ctx.sock_addr);
    match judge(ctx, asked, port) {
        Ok(target) => write_v4(ctx.sock_addr, target),
        Err(denied) => denied,
    }
}

/// An IPv6 datagram is sent.
#[inline(always)]
pub fn send_v6(ctx: &SockAddrContext) -> i32 {
    let (asked, port) = asked_v6(ctx.sock_addr);
    match judge(ctx, asked, port) {
        Ok(target) => write_v6(ctx.sock_addr, target),
        Err(denied) => denied,
    }
}

#[inline(always)]
fn judge(ctx: &SockAddrContext, asked: Address, port: u16) -> Result<Target, i32> {
    guard::own(ctx, asked, port)?;
    let aim = aim(ctx, asked, port);
    if aim.protocol != IPPROTO_UDP {
        return Err(refuse(ctx, Reason::SocketKind, EPROTONOSUPPORT, aim));
    }
    // An IPv6 socket connected to a v4-mapped address sends here with the address we gave it.
    if nameserver(ctx, asked, port).is_some() {
        return loopback::to_proxy(ctx, Transport::Datagram, Target { address: asked, port }, aim);
    }
    match scope::of(Transport::Datagram, asked, port, &Networks) {
        Scope::Dns => ask(ctx, aim, Reach::SameFamily),
        Scope::Take | Scope::Loopback | Scope::Direct | Scope::Refuse(_) => {
            Err(refuse(ctx, Reason::Datagram, ECONNREFUSED, aim))
        }
    }
}

/// Sends a question for a server to the DNS socket that stands for it, and remembers which that is.
#[inline(always)]
pub fn ask(ctx: &SockAddrContext, aim: Aim, reach: Reach) -> Result<Target, i32> {
    let server = aim.address;
    let Some(served) = served(ctx) else {
        return Err(refuse(ctx, Reason::UnservedNetns, ECONNREFUSED, aim));
    };
    if reach == Reach::SameFamily && server.as_v4().is_none() && served.v6 != 1 {
        return Err(refuse(ctx, Reason::NoV6Loopback, ECONNREFUSED, aim));
    }
    let mut nobody = Asked::NOBODY;
    // SAFETY: the context's own socket, which is never null in this hook.
    let asked = unsafe { storage(&ASKED, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), Some(&mut nobody)) };
    let Some(asked) = asked else {
        note(ctx, Reason::NoRecord, aim);
        return Err(DENY);
    };
    let place = asked.place(server.settled()) & (NAMESERVERS - 1);
    let target = Target { address: loopback_for(served, server), port: served.dns[place] };
    let target = loopback::to_proxy(ctx, Transport::Datagram, target, aim)?;
    note(ctx, Reason::NameAsked, aim);
    Ok(target)
}

/// A datagram is received on an IPv4 socket.
#[inline(always)]
pub fn receive_v4(ctx: &SockAddrContext) -> i32 {
    let (source, port) = asked_v4(ctx.sock_addr);
    match nameserver(ctx, source, port) {
        Some(server) => write_v4(ctx.sock_addr, server),
        None => PASS,
    }
}

/// A datagram is received on an IPv6 socket.
#[inline(always)]
pub fn receive_v6(ctx: &SockAddrContext) -> i32 {
    let (source, port) = asked_v6(ctx.sock_addr);
    match nameserver(ctx, source, port) {
        Some(server) => write_v6(ctx.sock_addr, server),
        None => PASS,
    }
}

/// The nameserver the program asked, when `port` at `source` is the DNS socket that stands for it.
///
/// Not cosmetic: resolvers drop an answer that does not come from where they sent the question.
#[inline(always)]
pub fn nameserver(ctx: &SockAddrContext, source: Address, port: u16) -> Option<Target> {
    if !source.is_loopback() {
        return None;
    }
    let served = served(ctx)?;
    // SAFETY: the context's own socket, which is never null in this hook.
    let asked = unsafe { storage(&ASKED, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), None) }?;
    for place in 0..NAMESERVERS {
        let server = asked.servers[place];
        if served.dns[place] == port && server.0 != [0; 4] {
            return Some(Target { address: server, port: DNS_PORT });
        }
    }
    None
}
