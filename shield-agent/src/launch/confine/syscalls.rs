//! The system calls an agent does without, and those a role of ours does without too. Everything else stays as it is:
//! this filter closes ways past the gate, it is no sandbox of programs.
//!
//! Programs of another processor mode number their calls differently and would pass it by: 32-bit ones are ended, x32
//! ones find no call.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

use super::ConfineError;

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// Families of sockets: TCP and UDP, which the hooks see, local ones, and the kernel's own for routes and addresses,
/// which resolvers ask. The others (packets, virtual machines, cryptography, Bluetooth) are seen by no hook.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Refused with `EPERM`, whatever their arguments.
const FORBIDDEN: &[c_long] = &[
    // The hooks and their maps, and other windows into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    // Files and namespaces that were hidden.
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
];

/// Refused with `ENOSYS`, so that programs turn to ordinary calls: a ring makes calls this filter never sees.
const ABSENT: &[c_long] = &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// What a role of ours refuses itself beyond that: starting programs, and looking into other processes.
const NO_ROLES: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_keyctl,
    libc::SYS_add_key,
];

/// Typing into the terminal the agent shares with the shell that started it, which would run the words outside.
const TYPING: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// System calls of the x32 mode have this bit, and the processor's usual name.
const X32: u32 = 0x4000_0000;

/// The `bpf` command that only looks into a map (`linux/bpf.h`).
const BPF_MAP_LOOKUP_ELEM: u64 = 1;

/// What a role of ours cannot do without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// Sockets.
    pub(crate) sockets: bool,
    /// Looking into the maps it was given.
    pub(crate) lookups: bool,
}

/// Refuses them from now on, to the calling thread and everything it starts.
pub(super) fn refuse() -> Result<(), ConfineError> {
    apply(agents_rules())
}

/// Refuses what no role of ours does, and what this one does not need.
pub(crate) fn refuse_to_a_role(needs: Needs) -> Result<(), ConfineError> {
    apply(roles_rules(needs))
}

fn apply(forbidden: Result<Rules, seccompiler::BackendError>) -> Result<(), ConfineError> {
    for filter in forbidden.and_then(filters).map_err(|error| ConfineError::Syscalls(Box::new(error)))? {
        apply_filter(&filter).map_err(|error| ConfineError::Syscalls(Box::new(error)))?;
    }
    Ok(())
}

fn agents_rules() -> Result<Rules, seccompiler::BackendError> {
    let mut forbidden = whole(FORBIDDEN);
    let typing = TYPING.map(|request| argument(1, SeccompCmpOp::Eq, request).and_then(|is| all([is])));
    forbidden.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    Ok(forbidden)
}

fn roles_rules(needs: Needs) -> Result<Rules, seccompiler::BackendError> {
    let mut forbidden = agents_rules()?;
    forbidden.append(&mut whole(NO_ROLES));
    if !needs.sockets {
        forbidden.append(&mut whole(&[libc::SYS_socket, libc::SYS_connect, libc::SYS_bind]));
    }
    if needs.lookups {
        let other = argument(0, SeccompCmpOp::Ne, BPF_MAP_LOOKUP_ELEM)?;
        forbidden.insert(libc::SYS_bpf, vec![all([other])?]);
    }
    Ok(forbidden)
}

/// One program for each answer, because a program knows one.
fn filters(forbidden: Rules) -> Result<[BpfProgram; 3], seccompiler::BackendError> {
    Ok([
        compile(families()?, libc::EAFNOSUPPORT)?,
        compile(forbidden, libc::EPERM)?,
        compile(whole(ABSENT), libc::ENOSYS)?,
    ])
}

fn families() -> Result<Rules, seccompiler::BackendError> {
    let is = |op, family: i32| argument(0, op, family as u64);
    let [unix, v4, v6, netlink] = FAMILIES.map(|family| is(SeccompCmpOp::Ne, family));
    let other = all([unix?, v4?, v6?, netlink?])?;
    let routes = argument(2, SeccompCmpOp::Ne, libc::NETLINK_ROUTE as u64)?;
    let not_routes = all([is(SeccompCmpOp::Eq, libc::AF_NETLINK)?, routes])?;
    let rules = vec![other, not_routes];
    Ok([(libc::SYS_socket, rules.clone()), (libc::SYS_socketpair, rules)].into())
}

/// Calls that are refused whatever their arguments.
fn whole(calls: &[c_long]) -> Rules {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into())
}

/// The kernel looks at the low half of these arguments, whatever is in the other.
fn argument(index: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)
}

fn compile(rules: Rules, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, TargetArch::try_from(ARCH)?)?;
    let program = BpfProgram::try_from(filter)?;
    Ok(if cfg!(target_arch = "x86_64") { [&without_x32()[..], &program].concat() } else { program })
}

/// Answers calls of the x32 mode as a kernel that has none; other calls go on to what follows.
fn without_x32() -> [sock_filter; 3] {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        // The number is the first word of what a filter is given.
        sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_for_this_processor() {
        let needs = Needs { sockets: false, lookups: true };
        for rules in [agents_rules(), roles_rules(needs)] {
            assert!(filters(rules.unwrap()).unwrap().iter().all(|filter| filter.len() > 10));
        }
    }

    #[test]
    fn no_call_is_refused_in_two_ways() {
        let mut calls: Vec<_> = FORBIDDEN.iter().chain(ABSENT).chain(NO_ROLES).collect();
        calls.sort();
        calls.dedup();
        assert_eq!(calls.len(), FORBIDDEN.len() + ABSENT.len() + NO_ROLES.len());
    }
}
