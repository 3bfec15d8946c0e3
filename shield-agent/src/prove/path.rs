//! The ways out that are tried: one row each. How a row is tried is in [`super::probes`]; what it would prove, and what
//! is deliberately not promised about it, is here.

use super::facts::Facts;
use super::identity::{Identity, Mode};
use super::probes::{
    Attempt, cgroup, device, family, hook, local, loopback, option, process, raw, ring, tcp, udp,
};

/// A way out.
#[derive(Debug)]
pub struct Path {
    /// Its name, stable.
    pub id: &'static str,
    /// What it is one of.
    pub group: Group,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Tries it, as the agent.
    pub(super) attempt: fn(&Facts) -> Attempt,
    /// What shows that the attempt can succeed.
    pub(super) control: Control,
    /// What shows that it did.
    pub(super) oracle: Oracle,
    /// What the prover does meanwhile.
    pub(super) aid: Aid,
    /// Whether the gate may be another one after it.
    pub(super) spoils: bool,
    /// Where it is not promised.
    excuses: &'static [Excuse],
}

/// Kinds of ways out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Packets the agent writes itself, and families no hook sees.
    Raw,
    /// Options that send a packet elsewhere.
    Routes,
    /// This host's own services, and callers from outside.
    Host,
    /// Devices and namespaces.
    Roads,
    /// Leaving the gate, or taking it apart.
    Gate,
    /// Others who might act for the agent.
    Others,
}

impl Group {
    /// As people read it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Raw => "Raw packets and other families",
            Self::Routes => "Routes of the packet's own",
            Self::Host => "On this host",
            Self::Roads => "Other roads",
            Self::Gate => "Leaving the gate, taking it apart",
            Self::Others => "Others who might act for the agent",
        }
    }
}

/// Which attempt has to succeed before a failed one means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// The same without a gate: by the same user, else by root with every capability.
    Ungated,
    /// The same inside the gate by root with every capability: it is about leaving the gate.
    Almighty,
}

/// What shows that a way is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    /// A frame at the far end of the wire.
    Wire,
    /// A descriptor the agent should not have: what it could send would take no wire of ours.
    Descriptor,
}

/// What the prover does during an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aid {
    Nothing,
    /// Calls the agent from the far end.
    Call,
    /// Has the neighbour send what it was made to say.
    Prompt,
}

#[derive(Debug)]
struct Excuse {
    modes: &'static [Mode],
    who: &'static [Identity],
    why: &'static str,
}

const fn path(group: Group, id: &'static str, title: &'static str, attempt: fn(&Facts) -> Attempt) -> Path {
    Path {
        id,
        group,
        title,
        attempt,
        control: Control::Ungated,
        oracle: Oracle::Wire,
        aid: Aid::Nothing,
        spoils: false,
        excuses: &[],
    }
}

impl Path {
    const fn leaving(mut self) -> Self {
        self.control = Control::Almighty;
        self
    }

    const fn by_descriptor(mut self) -> Self {
        self.oracle = Oracle::Descriptor;
        self
    }

    const fn aided(mut self, aid: Aid) -> Self {
        self.aid = aid;
        self
    }

    const fn spoiling(mut self) -> Self {
        self.spoils = true;
        self
    }

    const fn excused(mut self, excuses: &'static [Excuse]) -> Self {
        self.excuses = excuses;
        self
    }

    /// Why this is not promised, if it is not.
    pub fn not_promised(&self, mode: Mode, who: Identity) -> Option<&'static str> {
        let fits = |excuse: &&Excuse| excuse.modes.contains(&mode) && excuse.who.contains(&who);
        self.excuses.iter().find(fits).map(|excuse| excuse.why)
    }
}

const EVERYBODY: &[Identity] = &Identity::JUDGED;

const NO_HOOK_SEES_IT: &[Excuse] = &[Excuse {
    modes: &[Mode::Attach],
    who: EVERYBODY,
    why: "no hook of a cgroup sees sockets of this family; `shield run` takes them away",
}];
const ROOT_OWNS_THE_GATE: &[Excuse] = &[Excuse {
    modes: &[Mode::Attach],
    who: &[Identity::Root],
    why: "cgroups and pins are files of root's: attach agents that run as users, or start them with `shield run`",
}];
const SOCKETS_ARE_NOT_HIDDEN: &[Excuse] = &[Excuse {
    modes: &[Mode::Attach],
    who: EVERYBODY,
    why: "an attached cgroup keeps its view of files and sockets; `shield run` hides those that are there",
}];
const DEPUTIES_ELSEWHERE: &[Excuse] = &[Excuse {
    modes: &Mode::ALL,
    who: EVERYBODY,
    why: "a program outside that begins to listen where the agent may reach it, after the agent was started, acts for it \
          or hands it a socket: give the agent a user of its own",
}];
const OPENED_BEFORE: &[Excuse] = &[Excuse {
    modes: &[Mode::Attach],
    who: EVERYBODY,
    why: "sockets opened before the gate keep working: `shield attach` lists them; restart the service to close them",
}];
const NEIGHBOURS_IN_REACH: &[Excuse] = &[Excuse {
    modes: &[Mode::Attach],
    who: EVERYBODY,
    why: "processes of the agent's user outside its cgroup stay in its reach; `shield run` puts them out of it",
}];

use Group::{Gate, Host, Others, Raw, Roads, Routes, Tcp, Udp};

/// Every way, in the order it is shown.
pub const PATHS: &[Path] = &[
    path(Tcp, "tcp4", "TCP over IPv4", tcp::v4),
    path(Tcp, "tcp6", "TCP over IPv6", tcp::v6),
    path(Tcp, "tcp-mapped", "TCP to a v4-mapped address", tcp::mapped),
    path(Tcp, "tcp-bound", "TCP from its own address", tcp::bound),
    path(Tcp, "tfo-send", "TCP fast open, sendto", tcp::fast_open_send),
    path(Tcp, "tfo-connect", "TCP fast open, connect", tcp::fast_open_connect),
    path(Tcp, "mptcp", "Multipath TCP", tcp::multipath),
    path(Tcp, "uring-tcp", "io_uring: TCP", ring::connect),
    path(Tcp, "uring-sqpoll", "io_uring by a kernel thread", ring::connect_by_kernel_thread),
    path(Udp, "udp4", "UDP over IPv4, connected", udp::connected_v4),
    path(Udp, "udp4-sendto", "UDP over IPv4, sendto", udp::sent_v4),
    path(Udp, "udp6", "UDP over IPv6, connected", udp::connected_v6),
    path(Udp, "udp6-sendto", "UDP over IPv6, sendto", udp::sent_v6),
    path(Udp, "udp-mapped", "UDP to a v4-mapped address", udp::sent_mapped),
    path(Udp, "udp-many", "UDP, sendmmsg", udp::sent_many),
    path(Udp, "udp-unspec", "UDP, family unspecified", udp::sent_unspecified),
    path(Udp, "udp-dns", "DNS, whoever is asked", udp::name_asked),
    path(Udp, "udp-multicast", "UDP multicast", udp::multicast),
    path(Udp, "udp-broadcast", "UDP broadcast", udp::broadcast),
    path(Udp, "udplite", "UDP-Lite, connected", udp::lite_connected),
    path(Udp, "udplite-sendto", "UDP-Lite, sendto", udp::lite_sent),
    path(Udp, "uring-udp", "io_uring: UDP", ring::send),
    path(Raw, "icmp", "Raw ICMP", raw::icmp),
    path(Raw, "ip-hdrincl", "Raw IP, own headers", raw::own_headers),
    path(Raw, "ping", "Ping socket", raw::ping),
    path(Raw, "packet", "Packet socket", raw::packet),
    path(Raw, "packet-bypass", "Packet socket, no queue", raw::packet_past_the_queues),
    path(Raw, "xdp", "XDP socket", family::xdp).by_descriptor().excused(NO_HOOK_SEES_IT),
    path(Raw, "vsock", "Hypervisor socket", family::vsock).by_descriptor().excused(NO_HOOK_SEES_IT),
    path(Raw, "alg", "Crypto socket", family::alg).by_descriptor().excused(NO_HOOK_SEES_IT),
    path(Raw, "netlink", "Netlink of packet filters", family::netlink)
        .by_descriptor()
        .excused(NO_HOOK_SEES_IT),
    path(Routes, "lsrr", "IPv4 source route, option", option::source_route),
    path(Routes, "lsrr-cmsg", "IPv4 source route, message", option::source_route_of_a_message),
    path(Routes, "srh", "IPv6 segment route", option::segment_route),
    path(Routes, "bind-device", "TCP bound to a device", option::bound_to_device),
    path(Routes, "pktinfo", "UDP, device of a message", option::device_of_a_message),
    path(Host, "inbound", "A caller from outside", tcp::listen).aided(Aid::Call),
    path(Host, "loopback", "A stranger on loopback", loopback::stranger),
    path(Host, "own-address", "A stranger on own address", loopback::own_address),
    path(Host, "gate-port", "The gate's own port", loopback::gate),
    path(Roads, "tun", "A tunnel of its own", device::tunnel),
    path(Roads, "nft-dnat", "A packet filter's rewrite", device::rewrite),
    path(Roads, "setns", "Another network namespace", device::enter_elsewhere),
    path(Gate, "cgroup-procs", "Leaving: cgroup.procs", cgroup::procs).leaving().excused(ROOT_OWNS_THE_GATE),
    path(Gate, "cgroup-threads", "Leaving: cgroup.threads", cgroup::threads)
        .leaving()
        .excused(ROOT_OWNS_THE_GATE),
    path(Gate, "cgroup-clone", "Leaving: clone3 elsewhere", cgroup::clone_elsewhere)
        .leaving()
        .excused(ROOT_OWNS_THE_GATE),
    path(Gate, "cgroup-mount", "Leaving: a new mount", cgroup::new_mount).leaving(),
    path(Gate, "cgroup-proc", "Leaving: another's /proc", cgroup::through_proc).leaving(),
    path(Gate, "unpin", "Removing the hooks' pins", hook::unpin)
        .leaving()
        .spoiling()
        .excused(ROOT_OWNS_THE_GATE),
    path(Gate, "detach", "Detaching pinned hooks", hook::detach_pinned)
        .leaving()
        .spoiling()
        .excused(ROOT_OWNS_THE_GATE),
    path(Gate, "detach-id", "Detaching hooks by id", hook::detach_by_id).leaving().spoiling(),
    path(Others, "unix-run", "Local socket in /run", local::run).excused(SOCKETS_ARE_NOT_HIDDEN),
    path(Others, "unix-tmp", "Local socket in /tmp", local::tmp).excused(SOCKETS_ARE_NOT_HIDDEN),
    path(Others, "unix-later", "Local socket named later", local::later).excused(DEPUTIES_ELSEWHERE),
    path(Others, "unix-unnamed", "Local socket, unnamed", local::unnamed).excused(SOCKETS_ARE_NOT_HIDDEN),
    path(Others, "fd-passed", "A socket handed over", local::given).excused(DEPUTIES_ELSEWHERE),
    path(Others, "fd-inherited", "A socket inherited", local::inherited).excused(OPENED_BEFORE),
    path(Others, "pidfd", "A neighbour's socket", process::steal_socket).excused(NEIGHBOURS_IN_REACH),
    path(Others, "ptrace", "Tracing a neighbour", process::trace)
        .aided(Aid::Prompt)
        .excused(NEIGHBOURS_IN_REACH),
    path(Others, "proc-mem", "A neighbour's memory", process::write_memory)
        .aided(Aid::Prompt)
        .excused(NEIGHBOURS_IN_REACH),
];

/// The way called `id`.
pub(super) fn find(id: &str) -> Option<&'static Path> {
    PATHS.iter().find(|path| path.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_titles_fit_their_column() {
        for path in PATHS {
            assert_eq!(PATHS.iter().filter(|other| other.id == path.id).count(), 1, "{}", path.id);
            assert!(path.title.chars().count() <= 27, "{}", path.title);
        }
        assert!(PATHS.len() * Identity::JUDGED.len() >= 40);
    }
}
