//! `shield run` at a terminal: the agent has one of its own, and the caller notices no difference.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Settings, output};

use crate::anyone::ann;

/// Somebody at a terminal, whose window is 101 by 37: starts its arguments there, and types.
const PERSON: &str = r#"
import fcntl, os, pty, select, signal, struct, sys, termios, time
arguments = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 37, 101, 0, 0))
    os.execvp(arguments[0], arguments)
seen = b""
def until(text, deadline=20):
    global seen
    end = time.monotonic() + deadline
    while text not in seen:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"waited in vain for {text}: {seen}")
        try: chunk = os.read(terminal, 1000)
        except OSError: chunk = b""
        if not chunk: sys.exit(f"it ended before {text}: {seen}")
        seen += chunk
    before, seen = seen.split(text, 1)
    return before.decode()
def type(text): os.write(terminal, text)
def modes(): return termios.tcgetattr(terminal)
def exit_code():
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"#;

fn at_a_terminal(script: &str, command: &[&str]) -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let run = ann(&deployment, &[&["run", "--"], command].concat());
    let mut person: Command = deployment.by(64_251, &[shield_tests::deployment::GROUP], "/usr/bin/python3");
    person.arg("-c").arg(format!("{PERSON}\n{script}")).arg(run.get_program()).args(run.get_args());
    output(&mut person).with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
    Ok(())
}

#[test]
fn the_agents_terminal_is_one_and_its_own_and_as_large_as_the_callers() -> Result<()> {
    at_a_terminal(
        r#"
TIOCGPTN = 0x80045430
mine = "/dev/pts/%d" % struct.unpack("I", fcntl.ioctl(terminal, TIOCGPTN, bytes(4)))
theirs = until(b"\r\n").strip()
assert theirs.startswith("/dev/pts/") and theirs != mine, (theirs, mine)
assert until(b"\r\n") == "37 101"
type(b"a word\n")
until(b"heard a word")
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
until(b"resized 50 120")
assert exit_code() == 4
"#,
        &[
            "sh",
            "-c",
            r#"trap 'echo resized $(stty size); exit 4' WINCH; tty; stty size; : > /dev/tty; read word; echo heard $word; while :; do sleep 0.05; done"#,
        ],
    )
}

#[test]
fn ctrl_c_interrupts_the_agent_and_not_its_caller() -> Result<()> {
    at_a_terminal(
        r#"
before = modes()
until(b"ready")
type(b"\x03")
until(b"interrupted 1")
type(b"\x03")
until(b"interrupted 2")
assert exit_code() == 5
assert modes() == before, "the terminal is not as it was"
"#,
        &[
            "/usr/bin/python3",
            "-c",
            r#"
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready", flush=True)
for interrupted in (1, 2):
    signal.sigwait([signal.SIGINT])
    print("interrupted", interrupted, flush=True)
sys.exit(5)
"#,
        ],
    )
}

#[test]
fn an_agent_that_reads_no_signal_ends_by_ctrl_c_like_any_program() -> Result<()> {
    at_a_terminal(
        r#"
until(b"ready")
type(b"\x03")
assert exit_code() == 130
"#,
        &["sh", "-c", "echo ready; exec sleep 1000"],
    )
}

/// Stopped by Ctrl-Z, both; continued, both.
#[test]
fn ctrl_z_stops_the_agent_with_its_caller_and_both_continue() -> Result<()> {
    at_a_terminal(
        r#"
before = modes()
until(b"ready")
type(b"\x1a")
assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
assert modes() == before, "the terminal is not the shell's again"
os.kill(pid, signal.SIGCONT)
while modes() == before: pass
type(b"more\n")
until(b"heard more")
assert exit_code() == 0
"#,
        &["sh", "-c", "echo ready; read word; echo heard $word"],
    )
}

#[test]
fn long_output_arrives_whole_before_the_end() -> Result<()> {
    at_a_terminal(
        r#"
until(b"begin")
text = until(b"end")
assert text.count("x") == 300000, text.count("x")
assert exit_code() == 0
"#,
        &["/usr/bin/python3", "-c", "print('begin' + 'x' * 300000 + 'end')"],
    )
}

#[test]
fn what_is_typed_reaches_an_agent_whose_output_goes_elsewhere() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let run = ann(&deployment, &["run", "--", "sh", "-c", "read word; echo $word >&2; cat; exit 6"]);
    let mut person = deployment.by(64_251, &[shield_tests::deployment::GROUP], "/usr/bin/python3");
    let script = r#"
type(b"once\n")
until(b"once\r\nonce\r\n")
# The end of input, as it is typed.
type(b"\x04")
assert exit_code() == 6
"#;
    let quiet = r#"exec "$0" "$@" > /dev/null"#;
    person.arg("-c").arg(format!("{PERSON}\n{script}")).args(["sh", "-c", quiet]);
    person.arg(run.get_program()).args(run.get_args());
    output(&mut person)?;
    ensure!(deployment.holds()?.is_empty());
    Ok(())
}
