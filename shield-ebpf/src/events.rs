//! Telling user space what was redirected and refused, at most once a second for the same thing.
//!
//! Told after the verdict is certain and never asked about it: what cannot be told is counted, and nothing else changes.

use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_AVAIL_DATA;
use aya_ebpf::helpers::bpf_get_current_comm;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_socket_uid, bpf_ktime_get_ns,
    bpf_ringbuf_query,
};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext};
use shield_common::addr::Address;
use shield_common::event::{Aim, Event, NO_UID, Pace, Reason, Sort, Told};
use shield_common::limits::{COMM_LEN, EVENTS_BYTES};

use crate::maps::{DENY, EVENTS, PACES, count, deny, netns_cookie};

/// Only for what has no entry yet.
const NEW: u64 = 1;

/// Where a call goes.
#[inline(always)]
pub fn aim(ctx: &SockAddrContext, address: Address, port: u16) -> Aim {
    // SAFETY: a plain read of the context.
    let protocol = unsafe { (*ctx.sock_addr).protocol } as u16;
    Aim { address, what: 0, port, protocol }
}

/// Refuses a call with an error code the program will understand.
#[inline(always)]
pub fn refuse(ctx: &impl EbpfContext, reason: Reason, errno: i32, aim: Aim) -> i32 {
    note(ctx, reason, aim);
    deny(errno)
}

/// Counts and tells what became of a call.
#[inline(always)]
pub fn note(ctx: &impl EbpfContext, reason: Reason, aim: Aim) {
    count(reason);
    let told = Told { aim, reason: reason as u32 };
    #[cfg(feature = "log")]
    log(&told);
    tell_call(&told, netns_cookie(ctx));
}

/// Counts and tells that a packet was dropped.
#[inline(always)]
pub fn drop_packet(ctx: &SkBuffContext, reason: Reason, aim: Aim) -> i32 {
    count(reason);
    // SAFETY: the helper reads the context the program was called with.
    let uid = unsafe { bpf_get_socket_uid(ctx.as_ptr().cast()) };
    let told = Told { aim, reason: reason as u32 };
    #[cfg(feature = "log")]
    log(&told);
    tell_packet(&told, 0, uid);
    DENY
}

/// Counts and tells that a connection nobody filed reached a listener.
#[inline(always)]
pub fn note_unclaimed(netns_cookie: u64, aim: Aim) {
    count(Reason::Unclaimed);
    tell_packet(&Told { aim, reason: Reason::Unclaimed as u32 }, netns_cookie, NO_UID);
}

#[inline(never)]
fn tell_call(told: &Told, netns_cookie: u64) {
    // SAFETY: these helpers read the current task and the clock.
    let (task, user, now) =
        unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid(), bpf_ktime_get_ns()) };
    let Some(suppressed) = due(told, now) else { return };
    put(
        told,
        &Event {
            netns_cookie,
            at_ns: now,
            suppressed,
            aim: told.aim,
            reason: told.reason,
            called: 1,
            pid: (task >> 32) as u32,
            uid: user as u32,
            comm: bpf_get_current_comm().unwrap_or([0; COMM_LEN]),
        },
    );
}

#[inline(never)]
fn tell_packet(told: &Told, netns_cookie: u64, uid: u32) {
    // SAFETY: the helper reads the clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(suppressed) = due(told, now) else { return };
    put(
        told,
        &Event {
            netns_cookie,
            at_ns: now,
            suppressed,
            aim: told.aim,
            reason: told.reason,
            called: 0,
            pid: 0,
            uid,
            comm: [0; COMM_LEN],
        },
    );
}

/// Every time, where telling is at most once a second: for who works on the hooks. Not inlined into what tells: the two
/// together need more of the stack than a program has.
#[cfg(feature = "log")]
#[inline(never)]
fn log(told: &Told) {
    let aim = told.aim;
    aya_log_ebpf::debug!(
        &(),
        "reason {} what {} protocol {} to {:i} port {}",
        told.reason,
        aim.what,
        aim.protocol,
        aim.address.bytes(),
        aim.port
    );
}

/// Whether this is to be told now, and how often it happened untold since the last time.
///
/// Two processors at the same moment may both tell it, or lose a count: neither matters to anybody.
#[inline(always)]
fn due(told: &Told, now: u64) -> Option<u64> {
    let Some(pace) = PACES.get_ptr_mut(told) else {
        // Somebody else may have been first, and tells it.
        return PACES.insert(told, Pace { at_ns: now, suppressed: 0 }, NEW).is_ok().then_some(0);
    };
    // SAFETY: an entry of the map. One that is evicted meanwhile is another's: a count is lost or an event told early.
    let pace = unsafe { &mut *pace };
    if Pace::holds(pace.at_ns, now) {
        pace.suppressed = pace.suppressed.wrapping_add(1);
        return None;
    }
    let suppressed = pace.suppressed;
    *pace = Pace { at_ns: now, suppressed: 0 };
    Some(suppressed)
}

/// Puts an event into the ring, or remembers for the next of its kind that it happened.
#[inline(always)]
fn put(told: &Told, event: &Event) {
    // Connections are many, and may come in a flood: half of the ring is for refusals alone.
    let crowded = is_redirect(told.reason) && waiting() > u64::from(EVENTS_BYTES / 2);
    let entry = if crowded { None } else { EVENTS.reserve(0) };
    let Some(mut entry) = entry else {
        count(Reason::RingFull);
        if let Some(pace) = PACES.get_ptr_mut(told) {
            // SAFETY: as in `due`.
            unsafe { (*pace).suppressed = event.suppressed.wrapping_add(1) };
        }
        return;
    };
    entry.write(*event);
    entry.submit(0);
}

#[inline(always)]
fn is_redirect(reason: u32) -> bool {
    Reason::of(reason).is_some_and(|reason| reason.sort() == Sort::Redirected)
}

/// Bytes in the ring that nobody has read.
#[inline(always)]
fn waiting() -> u64 {
    // SAFETY: the helper reads the map's positions.
    unsafe { bpf_ringbuf_query(ptr::from_ref(&EVENTS).cast_mut().cast(), BPF_RB_AVAIL_DATA.into()) }
}
