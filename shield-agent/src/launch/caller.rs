//! The caller's side of `shield run`: hands its belongings over, passes on signals and keys, and ends as the command
//! ended. It has no privilege, and needs none.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;

use super::signals::{Arrival, Signals};
use super::streams::{Relays, Streams};
use super::terminal::Terminal;
use super::{Launch, LaunchError, NOT_STARTED, trust, user};
use crate::ipc::gate::{AskError, GateClient, GateReply, GateRequest};
use crate::ipc::launch::{self as words, Belongings, News};
use crate::ipc::line::Line;

/// How long the daemon may take to remove what ended with an agent.
const CLEARING: Duration = Duration::from_secs(3);

/// Runs the command as a gated agent and returns its exit code.
pub fn run(launch: &Launch) -> Result<u8, LaunchError> {
    let uid = wanted_user(launch)?;
    let streams = Streams::examine()?;
    let terminal =
        Terminal::open().map_err(LaunchError::setup("making a terminal for", launch.agent.as_str()))?;
    let signals = Signals::hold()?;
    let mut gate = GateClient::connect(&launch.run_dir)?;
    let request = GateRequest::Run { agent: launch.agent.clone(), uid: uid.as_raw(), strict: launch.strict };
    match gate.ask(&request)? {
        GateReply::Prepared(_) => {}
        other => return Err(AskError::unexpected(&other).into()),
    }
    let line =
        gate.into_line().map_err(LaunchError::setup("keeping the connection of", launch.agent.as_str()))?;
    let mut call = Call { line, signals, terminal, verbose: launch.verbose };
    let relays = call.hand_over(launch, streams, uid)?;
    let status = call.until_the_end()?;
    relays.finish();
    call.until_cleared();
    Ok(exit_code(status))
}

fn wanted_user(launch: &Launch) -> Result<Uid, LaunchError> {
    let uid = user::wanted(launch.user.as_deref())?;
    let ourselves = Uid::effective();
    if !ourselves.is_root() && uid != ourselves {
        let reason = "only root may start agents of other users: leave --user out, or use sudo".to_owned();
        return Err(AskError::Forbidden(reason).into());
    }
    if uid.is_root() && launch.strict {
        return Err(LaunchError::StrictRoot);
    }
    if uid.is_root() {
        eprintln!(
            "shield: warning: the agent runs as root of this host, whom no gate can hold for certain; name another user with --user"
        );
    }
    Ok(uid)
}

struct Call {
    line: Line,
    signals: Signals,
    terminal: Option<Terminal>,
    verbose: bool,
}

impl Call {
    fn hand_over(&mut self, launch: &Launch, streams: Streams, uid: Uid) -> Result<Relays, LaunchError> {
        let failed = || LaunchError::setup("handing streams to", launch.agent.as_str());
        let slave = self.terminal.as_mut().and_then(Terminal::take_agents);
        if let Some(slave) = slave.as_ref().filter(|_| Uid::effective().is_root()) {
            // As login does: the user may open its own terminal by name.
            nix::unistd::fchown(slave, Some(uid), None).map_err(|errno| failed()(errno.into()))?;
        }
        let agents = streams.for_the_agent(slave.as_ref()).map_err(failed())?;
        let terminal =
            agents.iter().position(|stream| slave.is_some() && io::IsTerminal::is_terminal(stream));
        let belongings = belongings(launch, terminal.and_then(|index| u8::try_from(index).ok()))?;
        let descriptors: Vec<_> = agents.iter().map(|stream| stream.as_fd()).collect();
        if let Err(error) = self.line.send(&belongings, &descriptors) {
            // A launcher that gave up before it listened has said why.
            return Err(match self.line.receive() {
                Ok((News::NotStarted { code, reason }, _)) => LaunchError::NotStarted { code, reason },
                _ => LaunchError::Line("sending", error),
            });
        }
        streams.relay()
    }

    /// Relays and reports until the command has ended.
    fn until_the_end(&mut self) -> Result<ExitStatus, LaunchError> {
        loop {
            let news = self.wait()?;
            while let Some(arrival) = self.signals.next()? {
                self.pass_on(arrival)?;
            }
            if let Some(terminal) = &mut self.terminal {
                terminal.relay().map_err(LaunchError::setup("relaying", "the terminal"))?;
            }
            if !news {
                continue;
            }
            let (news, _) = self.line.receive().map_err(|error| LaunchError::Line("listening", error))?;
            if let Some(status) = self.hear(news)? {
                return Ok(status);
            }
        }
    }

    /// Waits until there is something to do; whether the launcher has news.
    fn wait(&self) -> Result<bool, LaunchError> {
        let mut awaited = vec![
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.0.as_fd(), PollFlags::POLLIN),
        ];
        awaited.extend(self.terminal.iter().flat_map(Terminal::awaited));
        match poll(&mut awaited, PollTimeout::NONE) {
            Ok(_) => Ok(awaited[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(LaunchError::setup("waiting for", "the agent")(errno.into())),
        }
    }

    fn pass_on(&mut self, Arrival { signal, from_terminal }: Arrival) -> Result<(), LaunchError> {
        match (signal, &mut self.terminal) {
            (Signal::SIGCONT, Some(terminal)) => keys(terminal),
            (Signal::SIGWINCH, Some(terminal)) => {
                terminal.copy_size();
                Ok(())
            }
            (Signal::SIGCONT | Signal::SIGWINCH, None) => Ok(()),
            (signal, _) => {
                let group = from_terminal || signal == Signal::SIGTSTP;
                self.signal(signal, group);
                Ok(())
            }
        }
    }

    /// Waits until the daemon hangs up: then the agent's name is free for the next `shield run`.
    fn until_cleared(&self) {
        // A daemon that is slow to clear up is no reason to keep anybody waiting for an exit code.
        if self.line.set_patience(Some(CLEARING)).is_ok() {
            while self.line.receive::<News>().is_ok() {}
        }
    }

    /// A launcher that is gone will be seen to be.
    fn signal(&self, signal: Signal, group: bool) {
        let _ = self.line.send(&words::Signal { number: signal as i32, group }, &[]);
    }

    fn hear(&mut self, news: News) -> Result<Option<ExitStatus>, LaunchError> {
        match news {
            News::NotStarted { code, reason } => return Err(LaunchError::NotStarted { code, reason }),
            News::Started { warnings, hidden } => {
                warnings.iter().for_each(|warning| eprintln!("shield: warning: {warning}"));
                if self.verbose {
                    hidden.iter().for_each(|socket| eprintln!("shield: hidden from the agent: {socket}"));
                }
                self.terminal.as_mut().map_or(Ok(()), keys)?;
            }
            News::Stopped => {
                self.terminal.iter_mut().for_each(Terminal::restore);
                raise(Signal::SIGSTOP)
                    .map_err(|errno| LaunchError::setup("stopping with", "the agent")(errno.into()))?;
                // Somebody let us continue.
                self.terminal.as_mut().map_or(Ok(()), keys)?;
                self.signal(Signal::SIGCONT, true);
            }
            News::Ended { status } => {
                if let Some(terminal) = self.terminal.take() {
                    terminal.finish().map_err(LaunchError::setup("relaying", "the terminal"))?;
                }
                return Ok(Some(ExitStatus::from_raw(status)));
            }
        }
        Ok(None)
    }
}

fn keys(terminal: &mut Terminal) -> Result<(), LaunchError> {
    terminal.copy_size();
    terminal.pass_keys_on().map_err(LaunchError::setup("taking over", "the terminal"))
}

fn belongings(launch: &Launch, terminal: Option<u8>) -> Result<Belongings, LaunchError> {
    let directory =
        std::env::current_dir().map_err(LaunchError::setup("finding", "the working directory"))?;
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let bytes = |text: &std::ffi::OsStr| text.as_bytes().to_vec();
    // Reading the mask is setting it.
    let mask = umask(Mode::empty());
    umask(mask);
    Ok(Belongings {
        command: launch.command.iter().map(|word| bytes(word)).collect(),
        env: std::env::vars_os().map(|(name, value)| (bytes(&name), bytes(&value))).collect(),
        wishes: launch.env.clone(),
        directory: bytes(directory.as_os_str()),
        umask: mask.bits(),
        roots: trust::named_roots(variable),
        terminal,
        allowed_sockets: real_paths(&launch.allowed_sockets)?
            .iter()
            .map(|path| bytes(path.as_os_str()))
            .collect(),
    })
}

fn real_paths(sockets: &[PathBuf]) -> Result<Vec<PathBuf>, LaunchError> {
    sockets
        .iter()
        .map(|path| path.canonicalize().map_err(LaunchError::setup("finding the socket", path)))
        .collect()
}

/// The exit code a shell would show: the command's own, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_STARTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands_own_or_names_its_signal() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }
}
