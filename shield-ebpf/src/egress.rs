//! The backstop: whatever a socket of the agent's managed to send or receive stays on loopback, and what it sends there
//! reaches only the agent's own sockets and those that serve it. Connections to direct networks are the one exception.
//!
//! The other hooks decide; this one only has to be right when one of them was not asked, or when what they judged has
//! changed since: packets that route themselves, addresses rewritten by a packet filter, device bindings, peers that
//! connect to the agent, listeners that were replaced.

use aya_ebpf::programs::SkBuffContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::scope::{self, Scope, Transport};

use crate::events::drop_packet;
use crate::loopback::{self, Ends};
use crate::maps::{Networks, PASS};
use crate::redirect::Target;

/// The loopback device has this index in every network namespace.
const LOOPBACK_IFINDEX: u32 = 1;
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;

const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// Where the flags are in a TCP header, and the two that tell who opens a connection.
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// In IPv4's fragment word: that more fragments follow, or where this one belongs.
const MORE_OR_OFFSET: u16 = 0x3fff;

/// What is needed of the headers of an IP packet.
struct Packet {
    /// Whether it is on the loopback device.
    local: bool,
    /// Whether nothing stands between the addresses and a whole header of TCP or UDP: no options, no fragment.
    plain: bool,
    protocol: u8,
    from: Address,
    to: Address,
    /// Where the header of TCP or UDP begins.
    transport: usize,
}

/// A packet leaves a socket: only over the loopback device, only to a loopback address, only to a socket the agent may
/// reach; or it belongs to a connection to a direct network.
#[inline(always)]
pub fn leaving(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = headers(ctx) else { return drop_packet(ctx, Reason::Egress, NOT_IP) };
    if !packet.local && is_direct(ctx, &packet, Far::Destination) {
        return PASS;
    }
    if !packet.local || !packet.to.is_loopback() {
        return drop_packet(ctx, Reason::Egress, aim(ctx, &packet, packet.to));
    }
    if may_arrive(ctx, &packet) {
        return PASS;
    }
    drop_packet(ctx, Reason::ForeignPacket, aim(ctx, &packet, packet.to))
}

/// A packet reaches a socket: only over the loopback device, only from a loopback address; or it belongs to a connection
/// to a direct network.
#[inline(always)]
pub fn arriving(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = headers(ctx) else { return drop_packet(ctx, Reason::Ingress, NOT_IP) };
    let passes =
        if packet.local { packet.from.is_loopback() } else { is_direct(ctx, &packet, Far::Source) };
    if passes {
        return PASS;
    }
    drop_packet(ctx, Reason::Ingress, aim(ctx, &packet, packet.from))
}

/// Of a packet that says nothing we understand.
const NOT_IP: Aim = Aim { address: Address([0; 4]), what: 0, port: 0, protocol: 0 };

/// What a packet was for: the other end's address, and the port it is sent to.
#[inline(always)]
fn aim(ctx: &SkBuffContext, packet: &Packet, address: Address) -> Aim {
    let port = match packet.protocol {
        IPPROTO_TCP | IPPROTO_UDP => ctx.load::<u16>(packet.transport + 2).map_or(0, u16::from_be),
        _ => 0,
    };
    Aim { address, what: 0, port, protocol: u16::from(packet.protocol) }
}

/// The headers of an IP packet.
#[inline(always)]
fn headers(ctx: &SkBuffContext) -> Option<Packet> {
    // SAFETY: plain reads of the context.
    let (ifindex, protocol) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).protocol) };
    let local = ifindex == LOOPBACK_IFINDEX;
    match protocol {
        ETH_P_IP => {
            let words = usize::from(ctx.load::<u8>(0).ok()? & 0xf);
            let fragment = u16::from_be(ctx.load(6).ok()?) & MORE_OR_OFFSET;
            Some(Packet {
                local,
                plain: words == 5 && fragment == 0,
                protocol: ctx.load(9).ok()?,
                from: Address::v4(ctx.load(12).ok()?),
                to: Address::v4(ctx.load(16).ok()?),
                transport: 4 * words,
            })
        }
        // The protocol is that of the next header, so only a plain one is TCP's.
        ETH_P_IPV6 => Some(Packet {
            local,
            plain: true,
            protocol: ctx.load(6).ok()?,
            from: Address(ctx.load(8).ok()?),
            to: Address(ctx.load(24).ok()?),
            transport: 40,
        }),
        _ => None,
    }
}

/// Which end of a packet is the one out there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Far {
    Source,
    Destination,
}

/// Whether a packet belongs to a TCP connection the agent opened to a direct network. Networks never open one to it.
#[inline(always)]
fn is_direct(ctx: &SkBuffContext, packet: &Packet, far: Far) -> bool {
    if !packet.plain || packet.protocol != IPPROTO_TCP {
        return false;
    }
    let (address, offset, foreign) = match far {
        Far::Source => (packet.from, 0, SYN),
        Far::Destination => (packet.to, 2, SYN | ACK),
    };
    let (Ok(port), Ok(flags)) =
        (ctx.load::<u16>(packet.transport + offset), ctx.load::<u8>(packet.transport + TCP_FLAGS))
    else {
        return false;
    };
    flags & (SYN | ACK) != foreign
        && scope::of(Transport::Stream, address, u16::from_be(port), &Networks) == Scope::Direct
}

/// Whether a packet to loopback continues a connection, or reaches a socket the agent may reach.
#[inline(always)]
fn may_arrive(ctx: &SkBuffContext, packet: &Packet) -> bool {
    let transport = match packet.protocol {
        IPPROTO_TCP => match ctx.load::<u8>(packet.transport + TCP_FLAGS) {
            Ok(flags) if flags & (SYN | ACK) == SYN => Transport::Stream,
            // It belongs to a connection whose first packet was judged.
            Ok(_) => return true,
            Err(_) => return false,
        },
        IPPROTO_UDP => Transport::Datagram,
        _ => return false,
    };
    let (Ok(from), Ok(to)) = (ctx.load::<u16>(packet.transport), ctx.load::<u16>(packet.transport + 2))
    else {
        return false;
    };
    let from = Target { address: packet.from, port: u16::from_be(from) };
    let to = Target { address: packet.to, port: u16::from_be(to) };
    loopback::welcomes(ctx, transport, Ends { from, to })
}
