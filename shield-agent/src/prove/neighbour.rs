//! A process of the agent's user that no gate covers: it has a connected socket, and sends what is in its memory when
//! it is told to.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::prctl;

use super::actor;
use super::facts::{Neighbour, SECRET};
use super::identity::Identity;
use super::netns::Netns;
use super::wire::FAR_V4;

/// The whole life of the neighbour.
pub(super) fn be() -> io::Result<()> {
    // Where the kernel asks, it says that anybody may trace it: that is not what is to be proved.
    // SAFETY: the call takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::c_ulong::MAX, 0, 0, 0) };
    prctl::set_dumpable(true)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((FAR_V4, 9))?;
    let words: &'static mut [u8; SECRET] = Box::leak(Box::new([0; SECRET]));
    let place = &raw mut *words;
    let ourselves =
        Neighbour { pid: std::process::id().cast_signed(), socket: socket.as_raw_fd(), words: place as u64 };
    println!("{}", serde_json::to_string(&ourselves)?);
    let mut line = String::new();
    while io::stdin().lock().read_line(&mut line)? > 0 {
        // SAFETY: the memory is leaked and ours; whoever else writes to it does so while we wait above.
        let said = unsafe { place.read_volatile() };
        if said != [0; SECRET] {
            socket.send(&said)?;
            // SAFETY: as above.
            unsafe { place.write_volatile([0; SECRET]) };
        }
        println!();
        line.clear();
    }
    Ok(())
}

/// The prover's end of it.
#[derive(Debug)]
pub(super) struct Next {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What the agent is told about it.
    pub(super) facts: Neighbour,
}

impl Next {
    /// Starts one in the agent's namespace, in a cgroup outside its gate.
    pub(super) fn start(near: &Netns, outside: &std::path::Path, identity: Identity) -> io::Result<Self> {
        let mut command = near.command(actor::OURSELVES)?;
        actor::entering(&mut command, outside, identity);
        command.arg("--neighbour");
        let mut child = plain(&mut command).spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        Ok(Self { child, stdout, facts: serde_json::from_str(&line)? })
    }

    /// Has it send what somebody wrote into its memory, if anybody did.
    pub(super) fn prompt(&mut self) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(b"\n")?;
        self.stdout.read_line(&mut String::new()).map(drop)
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        // It may be gone already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of the proof: pipes to talk through, nothing of our environment.
pub(super) fn plain(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/")
}
