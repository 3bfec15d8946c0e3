//! Two namespaces joined by a wire: the agent's, and everything else there is. What comes out at the far end is a
//! packet that left.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use super::netns::Netns;

/// The agent's address.
pub(super) const NEAR_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The other end of the wire.
pub(super) const FAR_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const NEAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);

/// Name of the interface at either end.
pub(super) const DEVICE: &str = "eth0";

/// The agent's hardware address: frames that come from it came from this world's agent.
pub(super) const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0x99, 1];
/// The far end's: what comes from it are answers.
pub(super) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0x99, 2];

/// The agent's namespace, and the far one, which answers for every address there is.
pub(super) fn lay() -> io::Result<(Netns, Netns)> {
    let (near, far) = (Netns::new()?, Netns::new()?);
    let place = format!("/proc/{}/fd/{}", std::process::id(), far.as_fd().as_raw_fd());
    let (near_mac, far_mac) = (mac(NEAR_MAC), mac(FAR_MAC));
    // Neighbours are told, so that no packet waits for one to be found: what leaves, leaves at once.
    near.ip(&format!(
        "link set lo up
         link add {DEVICE} address {near_mac} type veth peer name {DEVICE} address {far_mac} netns {place}
         address add {NEAR_V4}/24 dev {DEVICE}
         address add {NEAR_V6}/64 dev {DEVICE} nodad
         link set {DEVICE} up\n"
    ))?;
    far.ip(&format!(
        "link set lo up
         address add {FAR_V4}/24 dev {DEVICE}
         address add {FAR_V6}/64 dev {DEVICE} nodad
         link set {DEVICE} up
         route add local 0.0.0.0/0 dev lo
         route add local ::/0 dev lo
         neighbour replace {NEAR_V4} lladdr {near_mac} nud permanent dev {DEVICE}
         neighbour replace {NEAR_V6} lladdr {near_mac} nud permanent dev {DEVICE}\n"
    ))?;
    near.ip(&format!(
        "neighbour replace {FAR_V4} lladdr {far_mac} nud permanent dev {DEVICE}
         neighbour replace {FAR_V6} lladdr {far_mac} nud permanent dev {DEVICE}
         route add default via {FAR_V4}
         route add default via {FAR_V6}\n"
    ))?;
    near.let_everybody_ping()?;
    near.enter(|| {
        fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0")?;
        fs::write(format!("/proc/sys/net/ipv4/conf/{DEVICE}/rp_filter"), "0")
    })?;
    Ok((near, far))
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
