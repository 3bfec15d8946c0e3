//! The maps, and the few ways the programs touch them. One set per agent, so that one agent's load or mistakes
//! cannot reach another's records.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::btf_maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage};
use aya_ebpf::helpers::generated::{bpf_get_netns_cookie, bpf_set_retval, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use shield_common::event::{Event, Pace, REASONS, Reason, Told};
use shield_common::guarded::Guarded;
use shield_common::handoff::Tuple;
use shield_common::limits::{EVENTS_BYTES, HANDOFFS_MAX, NETNS_MAX, NETWORKS_MAX, PACES_MAX};
use shield_common::networks::{Lists, PORT_BITS, Place};
use shield_common::original::Original;
use shield_common::served::{Asked, Served};

/// Network namespace cookie → how the agent is served there. No entry: it is not.
#[btf_map]
static NETNS: HashMap<u64, Served, { NETNS_MAX as usize }> = HashMap::new();

/// Socket → where it was going: on the agent's sockets, then on the accepted ones.
#[btf_map]
pub static ORIGINALS: SkStorage<Original> = SkStorage::new();

/// Records between the two ends of a handshake.
#[btf_map]
pub static HANDOFFS: LruHashMap<Tuple, Original, { HANDOFFS_MAX as usize }> = LruHashMap::new();

/// UDP socket → the nameservers it asked.
#[btf_map]
pub static ASKED: SkStorage<Asked> = SkStorage::new();

/// Socket → who created it, an `Owner`: on the agent's sockets and on those that serve it.
#[btf_map]
pub static OWNERS: SkStorage<u32> = SkStorage::new();

/// The agent's cgroup, for the guard.
#[btf_map]
pub static GUARDED: Array<Guarded, 1> = Array::new();

/// What was redirected and refused, until user space has read it.
#[btf_map]
pub static EVENTS: RingBuf<Event, { EVENTS_BYTES as usize }> = RingBuf::new();

/// When what is in the ring was put there.
#[btf_map]
pub static PACES: LruHashMap<Told, Pace, { PACES_MAX as usize }> = LruHashMap::new();

/// Networks the agent does not reach: first bits of a `Place` → 1.
#[btf_map]
static DENIED: LpmTrie<Place, u32, { NETWORKS_MAX as usize }> = LpmTrie::new();

/// Networks the agent reaches without the gate: first bits of a `Place` → 1.
#[btf_map]
static DIRECT: LpmTrie<Place, u32, { NETWORKS_MAX as usize }> = LpmTrie::new();

/// The lists of networks, as user space filled them.
pub struct Networks;

impl Lists for Networks {
    #[inline(always)]
    fn denies(&self, place: Place) -> bool {
        DENIED.get(&Key::new(WHOLE, place)).is_some()
    }

    #[inline(always)]
    fn directs(&self, place: Place) -> bool {
        DIRECT.get(&Key::new(WHOLE, place)).is_some()
    }
}

/// Every bit of a `Place`.
const WHOLE: u32 = PORT_BITS + 128;

#[btf_map]
static COUNTERS: PerCpuArray<u64, { REASONS as usize }> = PerCpuArray::new();

/// How the agent is served in the network namespace the socket of `ctx` is in.
#[inline(always)]
pub fn served(ctx: &impl EbpfContext) -> Option<&'static Served> {
    let cookie = netns_cookie(ctx);
    // SAFETY: entries are replaced as a whole by user space; a reader sees the old or the new ports, both ours.
    unsafe { NETNS.get(cookie) }
}

/// Cookie of the network namespace the socket of `ctx` is in.
#[inline(always)]
pub fn netns_cookie(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the helper reads the context the program was called with.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

/// The record `map` keeps for `socket`; with `first`, one is made from it when there is none.
///
/// # Safety
/// `socket` is a socket pointer the verifier knows, not null.
#[inline(always)]
pub unsafe fn storage<T>(
    map: &'static SkStorage<T>,
    socket: *mut c_void,
    first: Option<&mut T>,
) -> Option<&'static mut T> {
    let flags = if first.is_some() { BPF_SK_STORAGE_GET_F_CREATE.into() } else { 0 };
    let first = first.map_or(ptr::null_mut(), ptr::from_mut).cast();
    // SAFETY: the caller vouches for `socket`; the map and the initial value live for the call.
    let record = unsafe { bpf_sk_storage_get(ptr::from_ref(map).cast_mut().cast(), socket, first, flags) };
    // SAFETY: null or a record of this map, which lives as long as its socket.
    unsafe { record.cast::<T>().as_mut() }
}

/// Adds one to a counter. Losing a count is harmless, so failure is ignored.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(counter) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: a slot of this CPU's own array; a program that interrupts us may cost one count.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}

/// The verdict of most hooks that lets the call go on.
pub const PASS: i32 = 1;
/// The verdict of most hooks that ends the call, with EPERM unless `deny` chose better.
pub const DENY: i32 = 0;

/// Ends a call with an error code the program will understand.
#[inline(always)]
pub fn deny(errno: i32) -> i32 {
    // SAFETY: sets this call's return value only. Should it fail, the caller sees EPERM: still refused.
    unsafe { bpf_set_retval(-errno) };
    DENY
}

/// Refused at once, as by a host where nobody listens: clients know what to do.
pub const ECONNREFUSED: i32 = 111;
/// There is no such kind of socket here.
pub const EPROTONOSUPPORT: i32 = 93;
/// Not this one.
pub const EPERM: i32 = 1;
