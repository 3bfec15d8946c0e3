//! The compiled hooks: what they are called, where each is attached, which maps they share.
//!
//! `gate.bpf.o` is built by `cargo xtask build-ebpf`; `gate.bpf.json` says from what.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::OnceLock;

use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfLoader};
use shield_common::event::{Pace, REASONS, Told};
use shield_common::guarded::Guarded;
use shield_common::handoff::Tuple;
use shield_common::limits::{EVENTS_BYTES, HANDOFFS_MAX, NETNS_MAX, NETWORKS_MAX, PACES_MAX};
use shield_common::networks::Place;
use shield_common::original::Original;
use shield_common::served::{Asked, Served};

use super::cgroup::AgentCgroups;
use super::error::CaptureError;
use super::pins::Pins;
use super::sys;

#[cfg(not(feature = "ebpf-log"))]
static OBJECT: &[u8] = aya::include_bytes_aligned!("gate.bpf.o");
#[cfg(feature = "ebpf-log")]
static OBJECT: &[u8] = aya::include_bytes_aligned!("gate-log.bpf.o");

/// Which cgroup a hook is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Agent,
    Proxy,
    /// One above the agent's, where one was named.
    Guard,
}

/// A hook of the gate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// The program's name in the object, and its link's in the pin directory.
    pub(super) name: &'static str,
    /// `enum bpf_attach_type`.
    pub(super) attach_type: u32,
    /// Where it goes.
    pub(super) side: Side,
}

const fn agent(name: &'static str, attach_type: u32) -> Hook {
    Hook { name, attach_type, side: Side::Agent }
}

const fn proxy(name: &'static str, attach_type: u32) -> Hook {
    Hook { name, attach_type, side: Side::Proxy }
}

const fn guard(name: &'static str, attach_type: u32) -> Hook {
    Hook { name, attach_type, side: Side::Guard }
}

/// Every hook in the order it is attached: the backstop first, what takes connections last, so that no moment on
/// the way lets more through than the end. The guard comes after the hooks that mark the agent's own sockets.
pub(super) const HOOKS: [Hook; 19] = [
    agent("gate_egress", 1),
    agent("gate_ingress", 0),
    agent("gate_create", SOCK_CREATE),
    agent("gate_setsockopt", 22),
    proxy("gate_serve", SOCK_CREATE),
    proxy("gate_claim", SOCK_OPS),
    agent("gate_file", SOCK_OPS),
    agent("gate_peername4", 29),
    agent("gate_peername6", 30),
    agent("gate_recvmsg4", 19),
    agent("gate_recvmsg6", 20),
    agent("gate_sendmsg4", SENDMSG4),
    agent("gate_sendmsg6", SENDMSG6),
    agent("gate_connect4", CONNECT4),
    agent("gate_connect6", CONNECT6),
    guard("guard_sendmsg4", SENDMSG4),
    guard("guard_sendmsg6", SENDMSG6),
    guard("guard_connect4", CONNECT4),
    guard("guard_connect6", CONNECT6),
];
const SOCK_CREATE: u32 = 2;
const SOCK_OPS: u32 = 3;
const CONNECT4: u32 = 10;
const CONNECT6: u32 = 11;
const SENDMSG4: u32 = 14;
const SENDMSG6: u32 = 15;

/// The hooks of a gate on these cgroups, in their order.
pub(super) fn hooks_on(cgroups: &AgentCgroups) -> impl Iterator<Item = &'static Hook> {
    let guarded = cgroups.guard.is_some();
    HOOKS.iter().filter(move |hook| guarded || hook.side != Side::Guard)
}

/// A map of the gate, and what it must look like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) entries: u32,
}

pub(super) const NETNS: Table =
    Table { name: "NETNS", key: size_of::<u64>(), value: size_of::<Served>(), entries: NETNS_MAX };
pub(super) const ORIGINALS: Table =
    Table { name: "ORIGINALS", key: size_of::<i32>(), value: size_of::<Original>(), entries: 0 };
pub(super) const COUNTERS: Table =
    Table { name: "COUNTERS", key: size_of::<u32>(), value: size_of::<u64>(), entries: REASONS };
pub(super) const HANDOFFS: Table =
    Table { name: "HANDOFFS", key: size_of::<Tuple>(), value: size_of::<Original>(), entries: HANDOFFS_MAX };

pub(super) const EVENTS: Table = Table { name: "EVENTS", key: 0, value: 0, entries: EVENTS_BYTES };
pub(super) const DENIED: Table = networks("DENIED");
pub(super) const DIRECT: Table = networks("DIRECT");

/// A list of networks: a key is the length of its first bits, and them.
const fn networks(name: &'static str) -> Table {
    Table { name, key: size_of::<u32>() + size_of::<Place>(), value: size_of::<u32>(), entries: NETWORKS_MAX }
}
pub(super) const OWNERS: Table =
    Table { name: "OWNERS", key: size_of::<i32>(), value: size_of::<u32>(), entries: 0 };

pub(super) const GUARDED: Table =
    Table { name: "GUARDED", key: size_of::<u32>(), value: size_of::<Guarded>(), entries: 1 };

/// Every map.
pub(super) const TABLES: [Table; 11] = [
    NETNS,
    DENIED,
    DIRECT,
    ORIGINALS,
    COUNTERS,
    HANDOFFS,
    EVENTS,
    Table { name: "PACES", key: size_of::<Told>(), value: size_of::<Pace>(), entries: PACES_MAX },
    Table { name: "ASKED", key: size_of::<i32>(), value: size_of::<Asked>(), entries: 0 },
    OWNERS,
    GUARDED,
];

/// Loads every program and map, attaching nothing.
pub(super) fn load() -> Result<Ebpf, CaptureError> {
    load_by(&mut EbpfLoader::new())
}

/// Loads every program on the maps pinned there. A map that is missing is made and pinned; the shape of one that is not
/// is for the caller to check.
pub(super) fn load_into(pins: &Pins) -> Result<Ebpf, CaptureError> {
    let mut loader = EbpfLoader::new();
    for table in &TABLES {
        loader.map_pin_path(table.name, pins.map(table.name));
    }
    load_by(&mut loader)
}

/// What tells our programs from those of other versions: the digest the kernel makes of each, by hook.
pub(super) fn tags() -> Result<&'static HashMap<&'static str, [u8; 8]>, CaptureError> {
    static TAGS: OnceLock<HashMap<&'static str, [u8; 8]>> = OnceLock::new();
    if let Some(tags) = TAGS.get() {
        return Ok(tags);
    }
    let object = load()?;
    let tag = |hook: &Hook| {
        let fd = object.program(hook.name)?.fd().ok()?;
        Some((hook.name, sys::program_info(fd.as_fd()).ok()?.tag))
    };
    Ok(TAGS.get_or_init(|| HOOKS.iter().filter_map(tag).collect()))
}

fn load_by(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, CaptureError> {
    let refused = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| CaptureError::LoadRefused {
        what: what.to_owned(),
        source,
    };
    let mut object = loader.load(OBJECT).map_err(|error| refused("the hooks", Box::new(error)))?;
    for (name, program) in object.programs_mut() {
        load_program(program).map_err(|error| refused(name, Box::new(error)))?;
    }
    Ok(object)
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Loads each program by itself and says which of them this kernel refuses, and why. Attaches nothing.
pub(super) fn load_each() -> Result<Vec<(&'static str, Option<String>)>, CaptureError> {
    let what = "the maps of the hooks".to_owned();
    let refused = |error| CaptureError::LoadRefused { what, source: Box::new(error) };
    let mut object = EbpfLoader::new().load(OBJECT).map_err(refused)?;
    let load = |hook: &Hook| {
        let program = object.program_mut(hook.name).ok_or(ProgramError::UnexpectedProgramType);
        (hook.name, program.and_then(load_program).err().map(|error| super::error::chain(&error)))
    };
    Ok(HOOKS.iter().map(load).collect())
}
