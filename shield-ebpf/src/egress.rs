//! The backstop: whatever a socket of the agent's managed to send or receive stays on loopback.
//!
//! The other hooks decide; this one only has to be right when one of them was not asked: packets that route
//! themselves, addresses rewritten by a packet filter, device bindings, peers that connect to the agent.

use aya_ebpf::programs::SkBuffContext;
use shield_common::addr::Address;
use shield_common::event::Reason;

use crate::maps::{DENY, PASS, count};

/// The loopback device has this index in every network namespace.
const LOOPBACK_IFINDEX: u32 = 1;
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Where an address is in the network header.
#[derive(Clone, Copy)]
struct Field {
    v4: usize,
    v6: usize,
}

const SOURCE: Field = Field { v4: 12, v6: 8 };
const DESTINATION: Field = Field { v4: 16, v6: 24 };

/// A packet leaves a socket: only over the loopback device, only to a loopback address.
#[inline(always)]
pub fn leaving(ctx: &SkBuffContext) -> i32 {
    if stays(ctx, DESTINATION) {
        PASS
    } else {
        count(Reason::Egress);
        DENY
    }
}

/// A packet reaches a socket: only over the loopback device, only from a loopback address.
#[inline(always)]
pub fn arriving(ctx: &SkBuffContext) -> i32 {
    if stays(ctx, SOURCE) {
        PASS
    } else {
        count(Reason::Ingress);
        DENY
    }
}

#[inline(always)]
fn stays(ctx: &SkBuffContext, end: Field) -> bool {
    // SAFETY: plain reads of the context.
    let (ifindex, protocol) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).protocol) };
    if ifindex != LOOPBACK_IFINDEX {
        return false;
    }
    match protocol {
        ETH_P_IP => ctx.load::<u32>(end.v4).is_ok_and(|word| Address::v4(word).is_loopback()),
        ETH_P_IPV6 => ctx.load::<[u32; 4]>(end.v6).is_ok_and(|words| Address(words).is_loopback()),
        _ => false,
    }
}
