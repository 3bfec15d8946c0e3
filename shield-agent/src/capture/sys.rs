//! The one door to the system calls no crate offers: `bpf(2)` on links and pins, and what tells
//! a socket's network namespace.
//!
//! Every `unsafe` of this module is here. Structures mirror `union bpf_attr` of `linux/bpf.h`, as far as used.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

const MAP_LOOKUP_ELEM: libc::c_long = 1;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// The descriptor may only be read through.
const BPF_F_RDONLY: u32 = 1 << 3;
/// Replace only if what is expected runs there.
const BPF_F_REPLACE: u32 = 1 << 2;
/// Everything that runs for a cgroup, what is attached above it too.
const BPF_F_QUERY_EFFECTIVE: u32 = 1;
const LINK_TYPE_CGROUP: u32 = 3;

/// Calls `bpf(2)` with one of the attribute structures below.
///
/// # Safety
/// `attr` is what `command` expects, and every address in it is valid for what the kernel does with it.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is readable and writable for its size; the caller vouches for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Takes ownership of a descriptor `bpf(2)` returned.
fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = RawFd::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[repr(C)]
struct Elem {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Looks up what a socket-storage map keeps for `socket`. `V` must be the map's value type.
pub(super) fn socket_storage<V: aya::Pod>(
    map: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
) -> io::Result<Option<V>> {
    let key = socket.as_raw_fd();
    let mut value = MaybeUninit::<V>::zeroed();
    let mut attr = Elem {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: (&raw const key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the key is a descriptor, as these maps want, and the value has room for the map's value.
    match unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) } {
        // SAFETY: any bytes are a `V`, and the kernel filled them.
        Ok(_) => Ok(Some(unsafe { value.assume_init() })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A record as the kernel wrote it; `None` when it has another size.
pub(super) fn record<V: aya::Pod>(bytes: &[u8]) -> Option<V> {
    // SAFETY: as long as a `V`, and any bytes are one.
    (bytes.len() == size_of::<V>()).then(|| unsafe { bytes.as_ptr().cast::<V>().read_unaligned() })
}

#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins a link or map at `path`.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: object.as_raw_fd().cast_unsigned(), flags: 0 };
    // SAFETY: the path is a string that outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// How a pinned map is opened.
#[derive(Clone, Copy)]
pub(super) enum Open {
    /// To read and write.
    Whole,
    /// To read only: safe to hand to a process that must not write.
    ReadOnly,
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path, how: Open) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = match how {
        Open::Whole => 0,
        Open::ReadOnly => BPF_F_RDONLY,
    };
    let mut attr = Pin { path: path.as_ptr() as u64, fd: 0, flags };
    // SAFETY: the path is a string that outlives the call.
    unsafe { bpf(OBJ_GET, &mut attr) }.and_then(owned)
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches a loaded program to a cgroup, beside whatever is attached there.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
    };
    // SAFETY: descriptors and numbers only.
    unsafe { bpf(LINK_CREATE, &mut attr) }.and_then(owned)
}

#[repr(C)]
struct LinkUpdate {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Has a link run `new` from the next call on, if it runs `old` until then. There is no moment without either.
pub(super) fn update(link: BorrowedFd<'_>, old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link: link.as_raw_fd().cast_unsigned(),
        program: new.as_raw_fd().cast_unsigned(),
        flags: BPF_F_REPLACE,
        old_program: old.as_raw_fd().cast_unsigned(),
    };
    // SAFETY: descriptors and numbers only.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link off its cgroup, whoever else still holds it.
pub(super) fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = link.as_raw_fd().cast_unsigned();
    // SAFETY: a descriptor only.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

/// What a cgroup link is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// Id of the cgroup; 0 when the cgroup is gone and the link hangs in the air.
    pub(super) cgroup_id: u64,
    /// The hook.
    pub(super) attach_type: u32,
    /// Id of the program that runs there.
    pub(super) program: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    cgroup_id: u64,
    attach_type: u32,
    tail: u32,
}

#[repr(C)]
struct GetInfo {
    fd: u32,
    size: u32,
    info: u64,
}

/// What `link` is attached to, or an error when it is not a cgroup link.
pub(super) fn attached(link: BorrowedFd<'_>) -> io::Result<Attached> {
    let mut info = LinkInfo::default();
    let mut attr = GetInfo {
        fd: link.as_raw_fd().cast_unsigned(),
        size: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` has the size it says and outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    if info.kind != LINK_TYPE_CGROUP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a cgroup link"));
    }
    Ok(Attached { cgroup_id: info.cgroup_id, attach_type: info.attach_type, program: info.program })
}

#[repr(C)]
struct ProgramById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Opens a loaded program.
pub(super) fn program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = ProgramById { id, next: 0, flags: 0 };
    // SAFETY: numbers only.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }.and_then(owned)
}

/// What tells one loaded program from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    /// Another one for each load.
    pub(super) id: u32,
    /// Digest of its instructions, the maps it uses left out.
    pub(super) tag: [u8; 8],
    /// Ids of the maps it uses.
    pub(super) maps: Vec<u32>,
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_size: u32,
    translated_size: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    user: u32,
    map_count: u32,
    maps: u64,
}

/// More maps than a program of ours uses.
const MOST_MAPS: usize = 64;

/// Looks at a loaded program.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut maps = [0_u32; MOST_MAPS];
    let mut info = RawProgramInfo {
        map_count: MOST_MAPS as u32,
        maps: maps.as_mut_ptr() as u64,
        ..RawProgramInfo::default()
    };
    let mut attr = GetInfo {
        fd: program.as_raw_fd().cast_unsigned(),
        size: size_of::<RawProgramInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: `info` has the size it says, `maps` room for the ids it promises, and both outlive the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let count = (info.map_count as usize).min(MOST_MAPS);
    Ok(ProgramInfo { id: info.id, tag: info.tag, maps: maps[..count].to_vec() })
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    pad: u32,
    program_flags: u64,
}

/// More programs than anybody attaches to one hook of one cgroup: the kernel allows 64.
const MOST_PROGRAMS: usize = 1024;

/// Ids of the programs a hook of `cgroup` runs: those attached there, or those above it too.
pub(super) fn programs(cgroup: BorrowedFd<'_>, attach_type: u32, whose: Programs) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MOST_PROGRAMS];
    let mut attr = Query {
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: match whose {
            Programs::OfTheCgroup => 0,
            Programs::InEffect => BPF_F_QUERY_EFFECTIVE,
        },
        attach_flags: 0,
        programs: ids.as_mut_ptr() as u64,
        count: MOST_PROGRAMS as u32,
        pad: 0,
        program_flags: 0,
    };
    // SAFETY: `ids` has room for the count it says and outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    ids.truncate(attr.count as usize);
    Ok(ids)
}

/// Which programs are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// Attached to the cgroup itself.
    OfTheCgroup,
    /// Run for its sockets, wherever they are attached.
    InEffect,
}

/// Cookie of the network namespace `socket` lives in.
pub(super) fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    let at = (&raw mut cookie).cast();
    // SAFETY: `cookie` has the size `size` says.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_NETNS_COOKIE, at, &raw mut size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(cookie) }
}

const SO_NETNS_COOKIE: libc::c_int = 71;

/// The network namespace `socket` lives in.
pub(super) fn netns_of(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument and returns a new descriptor.
    let descriptor = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if descriptor < 0 { Err(io::Error::last_os_error()) } else { owned(descriptor.into()) }
}

const SIOCGSKNS: libc::Ioctl = 0x894c;

/// Has a command start in a network namespace; nothing else of ours goes there.
pub(super) fn start_in_netns(command: &mut Command, netns: File) {
    // SAFETY: between fork and exec the closure calls setns(2) only, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || Ok(setns(&netns, CloneFlags::CLONE_NEWNET)?));
    }
}

/// Takes ownership of descriptors that arrived in a control message.
pub(super) fn received(descriptors: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: `recvmsg` just installed them for us; nobody else owns them.
    descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}
