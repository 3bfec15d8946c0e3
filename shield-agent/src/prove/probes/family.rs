//! Families of sockets no hook of a cgroup is asked about. Getting one is the whole attempt: nothing is ever sent.

use super::Attempt;
use super::socket::open;
use crate::prove::facts::Facts;

pub(in crate::prove) fn xdp(_: &Facts) -> Attempt {
    open(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop)
}

pub(in crate::prove) fn vsock(_: &Facts) -> Attempt {
    open(libc::AF_VSOCK, libc::SOCK_STREAM, 0).map(drop)
}

pub(in crate::prove) fn alg(_: &Facts) -> Attempt {
    open(libc::AF_ALG, libc::SOCK_SEQPACKET, 0).map(drop)
}

pub(in crate::prove) fn netlink(_: &Facts) -> Attempt {
    open(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER).map(drop)
}
