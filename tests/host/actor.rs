//! What the kernel tests need another process for.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, SockaddrLike as _, setsockopt, sockopt};
use shield_agent::capture::{self, AgentCgroups, Gate, listeners};
use shield_agent::launch::{self, Launch};
use shield_tests::world::{AGENT, NOBODY};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["check"] => check(),
        ["listeners"] => Ok(listeners::helper_main()?),
        ["own", instance, agent, proxy] => own(instance, agent.into(), proxy.into()),
        ["enter", cgroup, ref command @ ..] => enter(cgroup.as_ref(), Inherited::Closed, command),
        ["enter-without-closing", cgroup, ref command @ ..] => {
            enter(cgroup.as_ref(), Inherited::Kept, command)
        }
        ["ring", "own-thread"] => ring(&mut IoUring::new(RING)?),
        ["ring", "kernel-thread"] => ring(&mut IoUring::builder().setup_sqpoll(RING_IDLE_MS).build(RING)?),
        ["launcher"] => Ok(launch::launcher::main()?),
        ["run", run_dir, ref command @ ..] => launch(run_dir.into(), command),
        ["rain"] => rain(),
        ["storm", threads, connections] => storm(threads.parse()?, connections.parse()?),
        _ => bail!("unknown act {words:?}"),
    }
}

/// Says what this host lacks.
fn check() -> Result<()> {
    if let Err(error) = capture::check_host() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    Ok(())
}

/// Attaches a gate, says so, and waits to be killed.
fn own(instance: &str, agent: PathBuf, proxy: PathBuf) -> Result<()> {
    let _gate = Gate::attach(instance, &"agent".parse()?, &AgentCgroups { agent, proxy, guard: None })?;
    println!("attached");
    loop {
        thread::park();
    }
}

/// `shield run` as nobody: ends as the command ended.
fn launch(run_dir: PathBuf, command: &[&str]) -> Result<()> {
    let launch = Launch {
        run_dir,
        agent: AGENT.parse()?,
        user: Some(NOBODY.to_string()),
        strict: false,
        env: Vec::new(),
        allowed_sockets: std::env::var_os("ALLOWED_SOCKET").map(PathBuf::from).into_iter().collect(),
        verbose: true,
        command: command.iter().map(Into::into).collect(),
    };
    std::process::exit(launch::run(&launch)?.into());
}

/// What becomes of descriptors from before.
enum Inherited {
    Closed,
    Kept,
}

/// The least a way into a gated cgroup has to do: go there, close what was inherited, become the command.
fn enter(cgroup: &Path, inherited: Inherited, command: &[&str]) -> Result<()> {
    capture::cgroup::enter(cgroup)?;
    if let Inherited::Closed = inherited {
        // SAFETY: marks descriptors close-on-exec; this process uses none of them.
        let marked = unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
        ensure!(marked == 0, "cannot close inherited descriptors");
    }
    let (program, arguments) = command.split_first().context("no command")?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Entries of a ring.
const RING: u32 = 8;
/// How long the kernel's thread looks for entries before it sleeps.
const RING_IDLE_MS: u32 = 1000;

/// Reaches out by a ring's operations alone, and says how each attempt ended.
fn ring(ring: &mut IoUring) -> Result<()> {
    let address = SockaddrIn::new(1, 2, 3, 4, 443);
    let (at, size) = (address.as_ptr(), address.len());
    let mut talk = || -> std::io::Result<String> {
        let socket =
            types::Fd(perform(ring, &opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build())?);
        perform(ring, &opcode::Connect::new(socket, at, size).build())?;
        let mut heard = [0; 100];
        let size = perform(ring, &opcode::Recv::new(socket, heard.as_mut_ptr(), 100).build())?;
        Ok(String::from_utf8_lossy(&heard[..size as usize]).into_owned())
    };
    let outcome = |result: std::io::Result<String>| {
        result.unwrap_or_else(|error| format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap_or(0))))
    };
    println!("{}", outcome(talk()));
    let mut datagram = |by_connecting: bool| -> std::io::Result<String> {
        let socket =
            types::Fd(perform(ring, &opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).build())?);
        if by_connecting {
            perform(ring, &opcode::Connect::new(socket, at, size).build())?;
        }
        let send = opcode::Send::new(socket, b"secret".as_ptr(), 6).dest_addr(at).dest_addr_len(size);
        perform(ring, &send.build()).map(|_| "sent".to_owned())
    };
    println!("{}", outcome(datagram(true)));
    println!("{}", outcome(datagram(false)));
    let lite = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE).build();
    println!("{}", outcome(perform(ring, &lite).map(|_| "made".to_owned())));
    Ok(())
}

/// Has the kernel do one operation, and gives its result.
fn perform(ring: &mut IoUring, operation: &squeue::Entry) -> std::io::Result<i32> {
    // SAFETY: what the operation points at outlives this function, which waits for it.
    unsafe { ring.submission().push(operation) }.map_err(std::io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(std::io::ErrorKind::UnexpectedEof)?;
    if done.result() < 0 { Err(std::io::Error::from_raw_os_error(-done.result())) } else { Ok(done.result()) }
}

/// Connects from many threads, each time to another address, sends that address and resets the connection.
fn storm(threads: u8, connections: u32) -> Result<()> {
    let storms = (0..threads).map(|number| {
        thread::spawn(move || (0..connections).try_for_each(|connection| strike(number, connection)))
    });
    let storms: Vec<_> = storms.collect();
    storms.into_iter().try_for_each(|storm| storm.join().expect("a storm does not panic"))
}

/// Connects, as [`strike`] does, until its input ends; says how many connections were made and what the others met.
fn rain() -> Result<()> {
    let mut ended = [libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 }];
    // SAFETY: one valid entry, looked at without waiting.
    let mut falls = || unsafe { libc::poll(ended.as_mut_ptr(), 1, 0) } == 0;
    let (mut made, mut failures) = (0, Vec::new());
    while falls() {
        match strike(0, made) {
            Ok(()) => made += 1,
            Err(error) => failures.push(format!("{error:#}")),
        }
        if made == 1 {
            println!("rains");
        }
    }
    println!("{made} {failures:?}");
    Ok(())
}

fn strike(thread: u8, connection: u32) -> Result<()> {
    let [_, a, b, c] = connection.to_be_bytes();
    let (address, port) = (Ipv4Addr::new(20 + thread, a, b, c), 1024 + (connection % 60_000) as u16);
    let mut stream = TcpStream::connect(SocketAddr::new(IpAddr::V4(address), port))
        .with_context(|| format!("cannot connect to {address}:{port}"))?;
    let mut named = address.octets().to_vec();
    named.extend(port.to_be_bytes());
    stream.write_all(&named)?;
    let reset = libc::linger { l_onoff: 1, l_linger: 0 };
    Ok(setsockopt(&stream.as_fd(), sockopt::Linger, &reset)?)
}
