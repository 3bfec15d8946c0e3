//! The backstop: whatever a socket of the agent's managed to send or receive stays on loopback, and what it sends there
//! reaches only the agent's own sockets and those that serve it.
//!
//! The other hooks decide; this one only has to be right when one of them was not asked, or when what they judged has
//! changed since: packets that route themselves, addresses rewritten by a packet filter, device bindings, peers that
//! connect to the agent, listeners that were replaced.

use aya_ebpf::programs::SkBuffContext;
use shield_common::addr::Address;
use shield_common::event::{Aim, Reason};
use shield_common::scope::Transport;

use crate::events::drop_packet;
use crate::loopback::{self, Ends};
use crate::maps::PASS;
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

/// What is needed of the headers of an IP packet.
struct Packet {
    protocol: u8,
    from: Address,
    to: Address,
    /// Where the header of TCP or UDP begins.
    transport: usize,
}

/// A packet leaves a socket: only over the loopback device, only to a loopback address, only to a socket the agent may
/// reach.
#[inline(always)]
pub fn leaving(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = packet(ctx) else { return drop_packet(ctx, Reason::Egress, NOT_IP) };
    if !is_on_loopback(ctx) || !packet.to.is_loopback() {
        return drop_packet(ctx, Reason::Egress, aim(ctx, &packet, packet.to));
    }
    if may_arrive(ctx, &packet) {
        return PASS;
    }
    drop_packet(ctx, Reason::ForeignPacket, aim(ctx, &packet, packet.to))
}

/// A packet reaches a socket: only over the loopback device, only from a loopback address.
#[inline(always)]
pub fn arriving(ctx: &SkBuffContext) -> i32 {
    let Some(packet) = packet(ctx) else { return drop_packet(ctx, Reason::Ingress, NOT_IP) };
    if is_on_loopback(ctx) && packet.from.is_loopback() {
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

/// Whether the packet is on the loopback device.
#[inline(always)]
fn is_on_loopback(ctx: &SkBuffContext) -> bool {
    // SAFETY: a plain read of the context.
    unsafe { (*ctx.skb.skb).ifindex == LOOPBACK_IFINDEX }
}

/// The packet, if it is an IP packet.
#[inline(always)]
fn packet(ctx: &SkBuffContext) -> Option<Packet> {
    // SAFETY: a plain read of the context.
    match unsafe { (*ctx.skb.skb).protocol } {
        ETH_P_IP => {
            let words = usize::from(ctx.load::<u8>(0).ok()? & 0xf);
            Some(Packet {
                protocol: ctx.load(9).ok()?,
                from: Address::v4(ctx.load(12).ok()?),
                to: Address::v4(ctx.load(16).ok()?),
                transport: 4 * words,
            })
        }
        ETH_P_IPV6 => Some(Packet {
            protocol: ctx.load(6).ok()?,
            from: Address(ctx.load(8).ok()?),
            to: Address(ctx.load(24).ok()?),
            transport: 40,
        }),
        _ => None,
    }
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
