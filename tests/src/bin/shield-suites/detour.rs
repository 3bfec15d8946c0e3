//! The way around: connections a suite makes to its own servers on loopback leave for an address of another host, pass the
//! gate there or not, and are relayed back to loopback.
//!
//! The relay hands on bytes, ends and resets, and looks at nothing.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use shield_tests::deployment::{Deployment, output};
use shield_tests::netns::Netns;

/// What `detour.c` puts in the place of loopback: addresses set aside for examples (RFC 5737, RFC 3849).
const ELSEWHERE: [(&str, &str); 2] = [("ip", "203.0.113.1"), ("ip6", "2001:db8::1")];
const RELAY_PORT: u16 = 7;

const LIBRARY: &str = include_str!("../../../suites/detour.c");

/// What the configuration says of hosts: suites name their servers as they like.
pub(super) fn places() -> String {
    format!(r#"hosts: [{{ host: "*", addresses: ["{}", "{}"] }}], "#, ELSEWHERE[0].1, ELSEWHERE[1].1)
}

/// Compiles what programs are started with to take the detour.
pub(super) fn library(directory: &Path) -> Result<PathBuf> {
    let (source, library) = (directory.join("detour.c"), directory.join("detour.so"));
    std::fs::write(&source, LIBRARY).context("cannot write the detour's source")?;
    let mut compiler = Command::new("cc");
    output(compiler.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).args([&library, &source]))?;
    Ok(library)
}

/// Leads the two addresses from the deployment's namespace to a relay in the origin's, which leads back.
pub(super) fn open(deployment: &Deployment) -> Result<()> {
    let Deployment { place, elsewhere, .. } = deployment;
    let origin = deployment.origin.address.to_string();
    let wire = wire_to(place, &origin)?;
    place.ip(&["-6", "address", "add", "fd99::1/64", "dev", &wire, "nodad"])?;
    elsewhere.ip(&["-6", "address", "add", "fd99::2/64", "dev", "eth0", "nodad"])?;
    place.ip(&["route", "add", ELSEWHERE[0].1, "via", &origin])?;
    place.ip(&["-6", "route", "add", ELSEWHERE[1].1, "via", "fd99::2"])?;
    for (family, address) in ELSEWHERE {
        elsewhere.ip(&["address", "add", address, "dev", "lo"])?;
        let rules = format!(
            "table {family} detour {{ chain back {{ type nat hook prerouting priority -100; \
             {family} daddr {address} tcp dport 1-65535 redirect to :{RELAY_PORT}; }}; }}"
        );
        output(elsewhere.command("nft").arg(rules))?;
    }
    let back = Arc::new(place.as_fd().try_clone_to_owned().context("cannot copy the handle of a namespace")?);
    relay_in(elsewhere, back)
}

/// The interface `address` is reached over.
fn wire_to(place: &Netns, address: &str) -> Result<String> {
    let route = output(place.command("ip").args(["-o", "route", "get", address]))?;
    let route = String::from_utf8(route.stdout)?;
    let wire = route.split_once(" dev ").and_then(|(_, rest)| rest.split_whitespace().next());
    Ok(wire.with_context(|| format!("no interface leads to {address}: {route}"))?.to_owned())
}

/// Relays what is led to the relay's port in `elsewhere`, for as long as this program runs.
fn relay_in(elsewhere: &Netns, back: Arc<OwnedFd>) -> Result<()> {
    let (bound, is_bound) = mpsc::channel();
    elsewhere.enter(move || {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, RELAY_PORT));
        // Whoever opens the detour waits for exactly this message.
        let _ = bound.send(listener.as_ref().map(drop).map_err(io::Error::kind));
        for near in listener.iter().flat_map(TcpListener::incoming).flatten() {
            let back = Arc::clone(&back);
            thread::spawn(move || match return_to(&near, &back) {
                Ok(far) => relay(&near, &far),
                // As near to a refusal as a connection that was accepted can come.
                Err(_) => reset(&near),
            });
        }
    })?;
    let outcome = is_bound.recv().context("the relay's thread died")?;
    outcome.map_err(io::Error::from).context("cannot listen for what is relayed")
}

/// Connects to the port of loopback that was meant, where the suite is.
fn return_to(near: &TcpStream, back: &OwnedFd) -> Result<TcpStream> {
    let meant = if near.local_addr()?.ip().to_canonical().is_ipv4() {
        let port = getsockopt(near, sockopt::OriginalDst)?.sin_port;
        SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_be(port)))
    } else {
        let port = getsockopt(near, sockopt::Ip6tOriginalDst)?.sin6_port;
        SocketAddr::from((Ipv6Addr::LOCALHOST, u16::from_be(port)))
    };
    setns(back, CloneFlags::CLONE_NEWNET)?;
    Ok(TcpStream::connect(meant)?)
}

/// Copies both ways until both sides have ended or one was reset.
fn relay(near: &TcpStream, far: &TcpStream) {
    let broken = thread::scope(|scope| {
        let up = scope.spawn(|| copy(near, far));
        let down = copy(far, near);
        up.join().is_ok_and(|up| up.is_err()) || down.is_err()
    });
    if broken {
        reset(near);
        reset(far);
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    let copied = loop {
        match from.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => match to.write_all(&piece[..read]) {
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            Err(error) => break Err(error),
        }
    };
    // Of a reset, both sides are told at once; whoever is gone is told nothing.
    let _ = to.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    copied
}

/// Makes the coming close of a connection a reset.
fn reset(stream: &TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // On failure the close is an ordinary one.
    let _ = setsockopt(stream, sockopt::Linger, &at_once);
}
