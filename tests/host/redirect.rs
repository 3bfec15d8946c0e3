//! Connections are taken, and both ends are told the truth.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;

use anyhow::Result;
use shield_common::original::Original;
use shield_tests::world::{NOBODY, World};

use crate::world;

fn destination(original: &Original) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(original.address).to_canonical(), original.port)
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
    assert_eq!(said, format!("{} ('1.2.3.4', 443) proxied", original.pid));
    assert_eq!(destination(&original), SocketAddr::new(IpAddr::V4(Ipv4Addr::new(1, 2, 3, 4)), 443));
    assert_eq!((original.uid, original.gid, original.family), (NOBODY, NOBODY, 2));
    assert_eq!(original.cgroup_id, std::fs::metadata(&world.cgroups.agent)?.ino());
    assert_eq!(original.netns_cookie, proxy.netns_cookie);
    assert!(original.comm.starts_with(b"python3"), "{:?}", original.comm);
    assert!(original.cookie != 0 && original.connected_at_ns != 0);
    world.assert_silent()
}

const TO_IPV6: &str = r#"
connection = socket.create_connection(("2001:db8::1", 8443))
say(connection.getpeername()[:2], connection.getsockname()[0], connection.recv(100).decode())
"#;

fn ipv6_connection(mut world: World, v6: bool, from: &str) -> Result<()> {
    let proxy = world.serve_as(|opened| opened.served.v6 = v6.into())?;
    assert_eq!(world.run(TO_IPV6)?, format!("('2001:db8::1', 8443) {from} proxied"));
    let original = proxy.original()?;
    assert_eq!(destination(&original), "[2001:db8::1]:8443".parse()?);
    assert_eq!(original.family, 10);
    world.assert_silent()
}

// Case 2.
#[test]
fn an_ipv6_connection_is_taken_over_ipv6_loopback_where_that_works() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    ipv6_connection(world, true, "::1")
}

// Case 2.
#[test]
fn an_ipv6_connection_is_taken_over_ipv4_loopback_where_ipv6_has_none() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    ipv6_connection(world, false, "::ffff:127.0.0.1")
}

// Case 3.
#[test]
fn a_v4_mapped_connection_is_taken_and_its_peer_stays_mapped() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let said = world.run(
        r#"
connection = tcp(socket.AF_INET6)
connection.connect(("::ffff:1.2.3.4", 443))
say(connection.getpeername()[:2], connection.recv(100).decode())
"#,
    )?;
    assert_eq!(said, "('::ffff:1.2.3.4', 443) proxied");
    assert_eq!(destination(&proxy.original()?), "1.2.3.4:443".parse()?);
    world.assert_silent()
}

const V6ONLY: &str = r#"
connection = tcp(socket.AF_INET6)
connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
began = time.monotonic()
say(outcome(lambda: connection.connect(("2001:db8::1", 443))), time.monotonic() - began < 1)
"#;

// Case 4.
#[test]
fn a_socket_that_insists_on_ipv6_is_taken_where_ipv6_loopback_works_and_fails_at_once_elsewhere() -> Result<()>
{
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    assert_eq!(world.run(V6ONLY)?, "ok True");
    assert_eq!(destination(&proxy.original()?), "[2001:db8::1]:443".parse()?);
    let _proxy = world.serve_as(|opened| opened.served.v6 = 0)?;
    assert_eq!(world.run(V6ONLY)?, "ENETUNREACH True");
    world.assert_silent()
}

// Case 5.
#[test]
fn without_ipv6_loopback_nothing_for_it_is_routed_out_of_the_host() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    world.agent_netns.ip(&["-6", "address", "flush", "dev", "lo"])?;
    let proxy = world.serve()?;
    assert_eq!(proxy.served.v6, 0);
    assert_eq!(world.run(TO_IPV6)?, "('2001:db8::1', 8443) ::ffff:127.0.0.1 proxied");
    world.assert_silent()
}

// Case 7.
#[test]
fn a_socket_that_is_disconnected_and_used_again_has_a_new_destination() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let said = world.run(
        r#"
libc = ctypes.CDLL(None, use_errno=True)
connection = tcp()
connection.connect(("1.1.1.1", 443))
first = connection.getpeername()[0]
unspecified = struct.pack("H14x", socket.AF_UNSPEC)
assert libc.connect(connection.fileno(), unspecified, len(unspecified)) == 0
connection.connect(("2.2.2.2", 80))
say(first, connection.getpeername())
"#,
    )?;
    assert_eq!(said, "1.1.1.1 ('2.2.2.2', 80)");
    let mut seen = [destination(&proxy.original()?), destination(&proxy.original()?)];
    seen.sort();
    assert_eq!(seen, ["1.1.1.1:443".parse()?, "2.2.2.2:80".parse()?]);
    world.assert_silent()
}

// Case 8.
#[test]
fn a_socket_bound_to_an_address_of_the_host_is_taken() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let said = world.run(
        r#"
connection = tcp()
connection.bind(("10.99.0.1", 0))
connection.connect(("1.2.3.4", 443))
say(connection.getsockname()[0], connection.recv(100).decode())
"#,
    )?;
    assert_eq!(said, "10.99.0.1 proxied");
    assert_eq!(destination(&proxy.original()?), "1.2.3.4:443".parse()?);
    world.assert_silent()
}

// Case 12.
#[test]
fn binding_to_a_device_succeeds_and_changes_nothing() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let said = world.run(
        r#"
SO_BINDTOIFINDEX = 62
connection = tcp()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
connection.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, socket.if_nametoindex("eth0"))
connection.connect(("1.2.3.4", 443))
say(connection.recv(100).decode())
"#,
    )?;
    assert_eq!(said, "proxied");
    assert_eq!(destination(&proxy.original()?), "1.2.3.4:443".parse()?);
    world.assert_silent()
}

// Case 23.
#[test]
fn tcp_fast_open_is_taken_with_its_first_bytes() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    world.run(
        r#"
MSG_FASTOPEN, TCP_FASTOPEN_CONNECT = 0x20000000, 30
socket.setdefaulttimeout(None)
connection = tcp()
connection.sendto(b"hello", MSG_FASTOPEN, ("1.2.3.4", 443))
connection.shutdown(socket.SHUT_WR)
connection.recv(100)
connection = tcp()
connection.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
connection.connect(("5.6.7.8", 443))
connection.sendall(b"hello")
connection.shutdown(socket.SHUT_WR)
connection.recv(100)
"#,
    )?;
    for expected in ["1.2.3.4:443", "5.6.7.8:443"] {
        let arrival = proxy.arrival()?;
        assert_eq!(arrival.original.as_ref().map(destination), Some(expected.parse()?));
        assert_eq!(arrival.sent, b"hello");
    }
    world.assert_silent()
}
