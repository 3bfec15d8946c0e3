//! The launcher: root, one for each agent, started by the supervisor. It makes the caller's command an agent, passes
//! signals on and says how it ended.
//!
//! It outlives the supervisor, because its agent does. When the caller is gone the agent is ended. It never writes to a
//! stream or opens a path the caller named: that is left to the process that has become the caller.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::borrowed::{Borrowed, Cage};
use super::child::{self, Plan};
use super::signals::FORWARDED;
use super::trust::TrustContent;
use super::{LaunchError, NOT_STARTED, deputies, streams, user};
use crate::ipc::frame::FrameError;
use crate::ipc::launch::{self as words, Belongings, News, Order};
use crate::ipc::line::Line;
use crate::report::Chain;

/// How long a caller may take to hand its belongings over.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line for the order, and the end of it that a process which calls [`main`] gets as its standard input.
pub fn order_line() -> io::Result<(Line, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((Line::new(ours)?, theirs.into()))
}

/// A launcher's whole life. Its standard input is the supervisor's order. The process must have one thread.
pub fn main() -> Result<(), LaunchError> {
    let inherited =
        io::stdin().as_fd().try_clone_to_owned().map_err(LaunchError::setup("reading", "the order"))?;
    let order = Line::new(UnixStream::from(inherited)).map_err(LaunchError::setup("reading", "the order"))?;
    let (order, descriptors) =
        order.receive::<Order>().map_err(|error| LaunchError::Line("no order", error))?;
    let [connection, caller, netns] = <[OwnedFd; 3]>::try_from(descriptors)
        .map_err(|_| LaunchError::Line("no order", FrameError::Closed))?;
    let line = Line::new(connection.into()).map_err(LaunchError::setup("keeping", "the connection"))?;
    let news = match serve(&order, &line, caller, netns) {
        Ok(news) => news,
        Err(error) => Some(not_started(&error)),
    };
    // A caller that is gone needs no news.
    news.map_or(Ok(()), |news| line.send(&news, &[])).or(Ok(()))
}

pub(super) fn not_started(error: &LaunchError) -> News {
    News::NotStarted { code: error.exit_code(), reason: Chain(error).to_string() }
}

/// Starts the agent and attends to it; what is to be said at its end, if the caller is still there.
fn serve(order: &Order, line: &Line, caller: OwnedFd, netns: OwnedFd) -> Result<Option<News>, LaunchError> {
    // Everything of the host's is read before the caller's view of it is entered.
    let user = user::meant(&order.whom)?;
    let mut trust = TrustContent::read(&order.prepared.trust)
        .map_err(LaunchError::setup("reading the trust files for", order.agent.as_str()))?;
    let cage = Cage::open(&order.prepared.cgroup)?;
    let borrowed = Borrowed::examine(order.caller, caller)?;
    let deputies = deputies::listening();
    let (belongings, streams) = receive(line)?;
    trust.add(&belongings.roots);
    let arrivals = hold_signals()?;
    setsid()
        .map_err(|errno| LaunchError::setup("beginning a session for", order.agent.as_str())(errno.into()))?;
    let terminal = belongings.terminal.and_then(|index| streams.get(usize::from(index)));
    if let Some(terminal) = terminal {
        // SAFETY: the call takes plain numbers. Without force, a terminal of another session is refused.
        Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
            .map_err(|errno| LaunchError::setup("taking", "the agent's terminal")(errno.into()))?;
    }
    borrowed.follow()?;
    let (mut heard, words) =
        io::pipe().map_err(LaunchError::setup("making a pipe for", order.agent.as_str()))?;
    // SAFETY: this process has one thread, so the child may use everything the parent could.
    let child = match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            drop(heard);
            let plan = Plan { order, user, trust, cage, borrowed, deputies, belongings, streams, netns };
            child::become_agent(plan, words)
        }
        Ok(ForkResult::Parent { child }) => child,
        Err(errno) => {
            return Err(LaunchError::setup("starting a process for", order.agent.as_str())(errno.into()));
        }
    };
    drop((words, streams, netns, borrowed));
    let mut text = String::new();
    heard.read_to_string(&mut text).map_err(LaunchError::setup("listening to", order.agent.as_str()))?;
    match last_word(&text) {
        News::Started { warnings, hidden } => {
            let started = News::Started { warnings, hidden };
            // A caller that is gone is noticed next.
            let _ = line.send(&started, &[]);
            attend(line, child, &arrivals, &cage)
        }
        news => Ok(Some(news)),
    }
}

fn receive(line: &Line) -> Result<(Belongings, [OwnedFd; 3]), LaunchError> {
    let failed = || LaunchError::setup("waiting for", "the caller");
    line.set_patience(Some(PATIENCE)).map_err(failed())?;
    let received =
        line.receive().map_err(|error| LaunchError::Line("waiting for what the agent gets", error));
    line.set_patience(None).map_err(failed())?;
    let (belongings, descriptors) = received?;
    Ok((belongings, streams::accept(descriptors)?))
}

/// Nothing interrupts the launcher: a terminal that hangs up, least of all.
fn hold_signals() -> Result<SignalFd, LaunchError> {
    let failed = |errno: Errno| LaunchError::setup("holding back", "signals")(errno.into());
    SigSet::all().thread_block().map_err(failed)?;
    let children = SigSet::from_iter([Signal::SIGCHLD]);
    SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// What the child said before it became the command, or ended.
fn last_word(text: &str) -> News {
    let died = || News::NotStarted {
        code: NOT_STARTED,
        reason: "the process that was to become the agent ended without a word".to_owned(),
    };
    text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_else(died)
}

/// Until the command or its caller has ended.
fn attend(line: &Line, child: Pid, arrivals: &SignalFd, cage: &Cage) -> Result<Option<News>, LaunchError> {
    let failed = |errno: Errno| LaunchError::setup("waiting for", "the agent")(errno.into());
    loop {
        let mut awaited =
            [PollFd::new(line.as_fd(), PollFlags::POLLIN), PollFd::new(arrivals.as_fd(), PollFlags::POLLIN)];
        poll(&mut awaited, PollTimeout::NONE).map_err(failed)?;
        let asked = awaited[0].any().unwrap_or(true);
        while arrivals.read_signal().map_err(failed)?.is_some() {}
        match waitpid(child, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)).map_err(failed)? {
            WaitStatus::Exited(_, code) => return Ok(Some(News::Ended { status: code << 8 })),
            WaitStatus::Signaled(_, signal, _) => return Ok(Some(News::Ended { status: signal as i32 })),
            // A caller that is gone is noticed below.
            WaitStatus::Stopped(..) => drop(line.send(&News::Stopped, &[])),
            _ => {}
        }
        if asked && !take_signal(line, child) {
            // Whatever the agent was doing, nobody waits for it any more.
            cage.kill().map_err(LaunchError::setup("ending", "an agent without a caller"))?;
            return Ok(None);
        }
    }
}

/// Passes one signal on; whether the caller is still there.
fn take_signal(line: &Line, child: Pid) -> bool {
    let Ok((words::Signal { number, group }, _)) = line.receive() else { return false };
    let known = Signal::try_from(number).ok();
    let passed = known.filter(|signal| FORWARDED.contains(signal) || *signal == Signal::SIGCONT);
    if let Some(signal) = passed {
        // It may have ended meanwhile; the next round finds out. It is our child, so its number is still its own.
        let _: Result<(), Errno> = if group { killpg(child, signal) } else { kill(child, signal) };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_silence_is_a_failure() {
        let started = News::Started { warnings: vec![], hidden: vec![] };
        let missing = News::NotStarted { code: 127, reason: "no such command".into() };
        let said = |news: &News| serde_json::to_string(news).unwrap() + "\n";
        assert_eq!(last_word(&said(&started)), started);
        assert_eq!(last_word(&(said(&started) + &said(&missing))), missing);
        assert!(matches!(last_word(""), News::NotStarted { code: NOT_STARTED, .. }));
    }
}
