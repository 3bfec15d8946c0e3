//! Programs of others on a cgroup: what a service manager, a network plugin or an enemy with root might attach.
//!
//! A few instructions each, loaded by `bpf(2)` itself. Only for cgroups a test made.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};

const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const TYPE_SOCK_ADDR: u32 = 18;
const HELPER_SET_RETVAL: i32 = 187;
/// Where `struct bpf_sock_addr` has the IPv4 address a program asked for.
const USER_IP4: i16 = 4;

/// What a program does with each call.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Lets it be.
    Nothing,
    /// Refuses it.
    Deny,
    /// Says that it succeeded, whatever others said.
    Excuse,
    /// Sends it elsewhere.
    SendTo(Ipv4Addr),
}

/// Which calls a program judges: `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug)]
pub enum Calls {
    /// `connect()` to an IPv4 address.
    Connect4 = 10,
    /// `sendto()` an IPv4 address.
    Sendmsg4 = 14,
}

/// A program attached to a cgroup, until this is dropped.
#[derive(Debug)]
pub struct Foreign {
    _link: OwnedFd,
}

impl Foreign {
    /// Loads a program and attaches it to a cgroup.
    pub fn attach(cgroup: &Path, calls: Calls, act: Act) -> Result<Self> {
        let code = instructions(act);
        let license = c"GPL";
        let mut load = Load {
            kind: TYPE_SOCK_ADDR,
            count: u32::try_from(code.len())?,
            code: code.as_ptr() as u64,
            license: license.as_ptr() as u64,
            attach_type: calls as u32,
            ..Load::default()
        };
        // SAFETY: the code and the license outlive the call, and the structure is the one it wants.
        let program = unsafe { bpf(PROG_LOAD, &mut load) }.with_context(|| format!("cannot load {act:?}"))?;
        let cgroup = File::open(cgroup)?;
        let mut create = [program.as_raw_fd(), cgroup.as_raw_fd(), calls as i32, 0];
        // SAFETY: descriptors and numbers only.
        let link =
            unsafe { bpf(LINK_CREATE, &mut create) }.with_context(|| format!("cannot attach {act:?}"))?;
        Ok(Self { _link: link })
    }
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

/// `struct bpf_insn`: code, destination and source register, offset, number.
#[repr(C)]
struct Instruction(u8, u8, i16, i32);

/// The number a register is set to; registers are in the low half of the second field.
const fn set(register: u8, number: i32) -> Instruction {
    Instruction(0xb7, register, 0, number)
}

fn instructions(act: Act) -> Vec<Instruction> {
    let verdict = |pass: bool| [set(0, pass.into()), Instruction(0x95, 0, 0, 0)];
    let before = match act {
        Act::Nothing | Act::Deny => vec![],
        Act::Excuse => vec![set(1, 0), Instruction(0x85, 0, 0, HELPER_SET_RETVAL)],
        // A word, from register 2 to where register 1, the context, has the address.
        Act::SendTo(address) => {
            let word = i32::from_ne_bytes(address.octets());
            vec![set(2, word), Instruction(0x63, 0x21, USER_IP4, 0)]
        }
    };
    before.into_iter().chain(verdict(!matches!(act, Act::Deny))).collect()
}

/// # Safety
/// `attr` is what `command` expects, and every address in it is valid.
pub(crate) unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` is readable and writable for its size; the caller vouches for the rest.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result).map_err(io::Error::other)?) })
}
