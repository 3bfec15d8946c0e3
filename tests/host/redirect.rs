//! Connections are taken, and both ends are told the truth.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;

use anyhow::Result;
use shield_common::original::Original;
use shield_tests::world::NOBODY;

use crate::world;

fn destination(original: &Original) -> (IpAddr, u16) {
    (Ipv6Addr::from(original.address).to_canonical(), original.port)
}

// Case 1.
#[test]
fn an_ipv4_connection_arrives_at_the_proxy_with_its_destination_and_its_caller() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let said = world.run(
        r#"
connection = socket.create_connection(("1.2.3.4", 443))
say(os.getpid(), connection.getpeername(), connection.recv(100).decode())
"#,
    )?;
    let original = proxy.original()?;
    let pid = original.pid;
    assert_eq!(said, format!("{pid} ('1.2.3.4', 443) proxied"));
    assert_eq!(destination(&original), (IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)), 443));
    assert_eq!((original.uid, original.gid, original.family), (NOBODY, NOBODY, 2));
    assert_eq!(original.cgroup_id, std::fs::metadata(&world.cgroups.agent)?.ino());
    assert_eq!(original.netns_cookie, proxy.netns_cookie);
    assert!(original.comm.starts_with(b"python3"), "{:?}", original.comm);
    assert!(original.cookie != 0 && original.connected_at_ns != 0);
    world.assert_silent()
}
