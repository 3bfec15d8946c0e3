//! The guard, on a cgroup above the agent's: sockets from elsewhere in the agent's hands.
//!
//! A hook runs for the cgroup a socket was made in, not for the one of the process that uses it. The gate's own hooks
//! come first and mark every socket they run for; what reaches the guard without their mark was made outside. It never
//! judges a process that is not the agent's, and never sees what is sent over a connection that was made before.

use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;
use aya_ebpf::programs::SockAddrContext;
use shield_common::addr::Address;
use shield_common::event::Reason;
use shield_common::served::Owner;

use crate::connect::{asked_v4, asked_v6};
use crate::events::{aim, note, refuse};
use crate::maps::{DENY, EPERM, GUARDED, OWNERS, PASS, storage};

/// Some process uses an IPv4 destination.
#[inline(always)]
pub fn v4(ctx: &SockAddrContext) -> i32 {
    if is_ours() { judge(ctx, asked_v4(ctx.sock_addr)) } else { PASS }
}

/// Some process uses an IPv6 destination.
#[inline(always)]
pub fn v6(ctx: &SockAddrContext) -> i32 {
    if is_ours() { judge(ctx, asked_v6(ctx.sock_addr)) } else { PASS }
}

/// Whether the calling process is the agent's.
#[inline(always)]
fn is_ours() -> bool {
    // The one entry of an array is always there; without it nobody could be told from the agent.
    let Some(agent) = GUARDED.get(0) else { return true };
    // SAFETY: the helper reads the current task.
    let above = unsafe { bpf_get_current_ancestor_cgroup_id(agent.level.cast_signed()) };
    above == agent.cgroup_id
}

#[inline(always)]
fn judge(ctx: &SockAddrContext, (asked, port): (Address, u16)) -> i32 {
    // SAFETY: the context's own socket, which is never null in this hook.
    let owner = unsafe { storage(&OWNERS, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), None) };
    match owner {
        Some(owner) if *owner == Owner::Agent as u32 => PASS,
        _ => refuse(ctx, Reason::ForeignSocket, EPERM, aim(ctx, asked, port)),
    }
}

/// Marks a socket one of the gate's own hooks runs for: those made before the gate and those that were accepted have no
/// mark of their creation. The verdict on the call when there is no memory for it.
#[inline(always)]
pub fn own(ctx: &SockAddrContext, asked: Address, port: u16) -> Result<(), i32> {
    let mut owner = Owner::Agent as u32;
    // SAFETY: as above.
    let mark = unsafe { storage(&OWNERS, (*ctx.sock_addr).__bindgen_anon_1.sk.cast(), Some(&mut owner)) };
    if mark.is_none() {
        note(ctx, Reason::NoRecord, aim(ctx, asked, port));
        return Err(DENY);
    }
    Ok(())
}
