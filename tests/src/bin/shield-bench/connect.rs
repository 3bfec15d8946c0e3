//! What the hooks cost a connection: socket, connect and close to a listener on loopback, with and without a gate.
//!
//! First in turns and unmeasured by the kernel, for the ratio; then once more with the kernel's own measure of each
//! hook, which would slow the first; and last what the hook of a guard costs somebody who is no agent. Load and listeners
//! share one processor.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use shield_tests::deployment::tool;
use shield_tests::hooks::{Hook, Measuring, Runs};
use shield_tests::netns::Netns;
use shield_tests::world::World;

use super::table::Table;

/// Its name among the metrics.
pub(super) const NAME: &str = "connect";
/// The word that has this program be the load.
pub(super) const LOAD: &str = "load-of-connect";

const DIRECT: &str = "direct";
const GATE: &str = "shield";
/// Connections in one turn; turns in one round.
const CONNECTIONS: usize = 1000;
const TURNS: usize = 10;
/// Where the gated load believes to connect to: nobody is there.
const DESTINATION: &str = "1.2.3.4:443";

/// The gated and the ungated place.
pub(super) struct Bench {
    world: World,
    gated: Listening,
    ungated: Listening,
    elsewhere: Netns,
    guarded: World,
    beside: Listening,
}

/// Somebody who accepts and closes until this is dropped.
struct Listening {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    pub(super) fn start() -> Result<Self> {
        let mut world = World::new(&tool("actor"))?.context("this host cannot have a gate")?;
        let mut opened = world.listeners()?;
        opened.served.v6 = 0;
        world.gate.serve_netns(opened.netns_cookie, opened.served)?;
        let gated = Listening::start(TcpListener::from(opened.tcp.remove(0)))?;
        let elsewhere = Netns::new()?;
        let listener = elsewhere.enter(|| TcpListener::bind("127.0.0.1:0"))?;
        let ungated = Listening::start(listener.join().expect("binding does not panic")?)?;
        let guarded = World::guarded(&tool("actor"))?.context("this host cannot have a gate")?;
        let listener = guarded.agent_netns.enter(|| TcpListener::bind("127.0.0.1:0"))?;
        let beside = Listening::start(listener.join().expect("binding does not panic")?)?;
        Ok(Self { world, gated, ungated, elsewhere, guarded, beside })
    }

    /// One round.
    pub(super) fn measure(&self, table: &mut Table) -> Result<()> {
        for _ in 0..TURNS {
            let (direct, gate) = (self.direct()?, self.through_the_gate()?);
            table.add("connection on loopback: µs", DIRECT, direct);
            table.add("connection on loopback: µs", GATE, gate);
            table.add("  times direct", GATE, gate / direct);
        }
        let hooks = Hook::pinned_in(self.world.gate.links_dir())?;
        let measuring = Measuring::start()?;
        let before: Vec<Runs> = hooks.iter().map(Hook::runs).collect::<Result<_>>()?;
        self.through_the_gate()?;
        let after: Vec<Runs> = hooks.iter().map(Hook::runs).collect::<Result<_>>()?;
        drop(measuring);
        let mut all = 0.0;
        for (hook, (before, after)) in hooks.iter().zip(before.iter().zip(&after)) {
            let (runs, time) = (after.count - before.count, after.nanoseconds - before.nanoseconds);
            if runs == 0 {
                continue;
            }
            let per_connection = runs as f64 / CONNECTIONS as f64;
            all += time as f64 / CONNECTIONS as f64;
            table.add(&format!("  {}: ns per run", hook.name), GATE, time as f64 / runs as f64);
            table.add(&format!("  {}: runs", hook.name), GATE, per_connection);
        }
        ensure!(all > 0.0, "no hook ran");
        table.add("  all hooks: µs per connection", GATE, all / 1000.0);
        self.measure_guard(table)
    }

    /// What a guard costs a connection of somebody below it who is no agent.
    fn measure_guard(&self, table: &mut Table) -> Result<()> {
        let hooks = Hook::pinned_in(self.guarded.gate.links_dir())?;
        let hook = hooks.iter().find(|hook| hook.name == "guard_connect4").context("there is no guard")?;
        let address = self.beside.listener.local_addr()?;
        let command = self.guarded.program(std::env::current_exe()?, self.guarded.above()?, None)?;
        let _measuring = Measuring::start()?;
        let before = hook.runs()?;
        run(command, &address.to_string())?;
        let after = hook.runs()?;
        let runs = after.count - before.count;
        ensure!(runs >= CONNECTIONS as u64, "the guard saw {runs} connections");
        let time = (after.nanoseconds - before.nanoseconds) as f64;
        table.add("  guard_connect4, for no agent: ns per run", GATE, time / runs as f64);
        Ok(())
    }

    fn through_the_gate(&self) -> Result<f64> {
        // Which user it is matters to no hook.
        let command = self.world.program(std::env::current_exe()?, &self.world.cgroups.agent, None)?;
        run(command, DESTINATION)
    }

    fn direct(&self) -> Result<f64> {
        let address = self.ungated.listener.local_addr()?;
        run(self.elsewhere.command(std::env::current_exe()?), &address.to_string())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        [&mut self.gated, &mut self.ungated, &mut self.beside].into_iter().for_each(Listening::stop);
    }
}

impl Listening {
    fn start(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(false)?;
        let ours = listener.try_clone()?;
        let thread = std::thread::spawn(move || while ours.accept().is_ok() {});
        Ok(Self { listener, thread: Some(thread) })
    }

    fn stop(&mut self) {
        use std::os::fd::AsRawFd as _;
        // Wakes the thread, which then ends.
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Median time of a connection, µs.
fn run(mut command: Command, destination: &str) -> Result<f64> {
    let output = command.args([LOAD, destination]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.trim().parse().with_context(|| format!("the load: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The load: connects again and again, and prints the median time of a connection in µs.
pub(super) fn load(destination: &str) -> Result<()> {
    let destination: SocketAddr = destination.parse()?;
    let mut times = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let began = Instant::now();
        let stream = TcpStream::connect(destination).context("cannot connect")?;
        // Closed by a reset, so that no port stays taken for a minute.
        setsockopt(&stream.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        drop(stream);
        times.push(began.elapsed().as_nanos() as f64 / 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(writeln!(std::io::stdout(), "{}", times[CONNECTIONS / 2])?)
}
