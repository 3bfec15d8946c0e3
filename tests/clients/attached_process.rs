//! A process that already runs, moved behind a gate: what it had open ends, what it does next is held, and it goes back
//! to where it came from when it is detached.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_agent::daemon::cgroup;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;
use shield_tests::world::python;

use super::attached::Cgroup;
use super::attached_kinds::{agents, attach, place_of};

/// Connects and has a child, and does what it is told a line at a time: asks on the old connection or on a new one, or
/// has a thread do it.
const WORKER: &str = r#"
import errno, http.client, os, signal, socket, sys, threading
open(sys.argv[2] + "/cgroup.procs", "w").write(str(os.getpid()))
child = os.fork()
if child == 0:
    signal.pause()
listener = socket.create_server(("127.0.0.1", 0))
def connect():
    connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)
    connection.connect()
    return connection
def ask(connection, method, path):
    try:
        connection.auto_open = 0
        connection.request(method, path, headers={"Host": "crm.acme.internal"})
        answer = connection.getresponse()
        answer.read()
        print(answer.status, flush=True)
    except OSError as error:
        print(errno.errorcode.get(error.errno, repr(error)), flush=True)
old = connect()
print(child, flush=True)
for line in sys.stdin:
    who, method, path = line.split()
    if who == "old":
        ask(old, method, path)
    elif who == "new":
        ask(connect(), method, path)
    else:
        threading.Thread(target=lambda: ask(connect(), method, path)).start()
os.kill(child, signal.SIGKILL)
"#;

#[test]
fn a_running_process_is_gated_with_its_child_and_goes_home_when_it_is_detached() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let home = Cgroup::new()?;
    let mut worker = Worker::start(&deployment, &home)?;
    let outcome = come_and_go(&deployment, &home, &mut worker);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn come_and_go(deployment: &Deployment, home: &Cgroup, worker: &mut Worker) -> Result<()> {
    ensure!(worker.tell("old DELETE /freely")? == "200", "not free at first");
    let pid = worker.process.id();
    let (_, said) = attach(deployment, &["--pid", &pid.to_string()])?;
    ensure!(said.contains("ended: 1"), "no connection was ended: {said}");
    for words in ["1 network sockets", "neither seccomp nor Landlock", "SSL_CERT_FILE"] {
        ensure!(said.contains(words), "{words:?} is not said: {said}");
    }
    let place = place_of(deployment)?;
    for member in [pid, worker.child] {
        ensure!(cgroup::of_process(member) == Some(place.clone()), "{member} is outside");
    }
    ensure!(worker.tell("old GET /on-the-old-one")? == "ECONNABORTED", "the old connection lives");
    ensure!(worker.tell("new GET /read")? == "200", "a read does not pass");
    worker.say("thread DELETE /held")?;
    deployment.decide("deny", &deployment.pending("one")?, "not now")?;
    ensure!(worker.hear()? == "403", "a thread's delete was not denied");
    ensure!(deployment.origin.ledger.of("DELETE", "/held").is_empty(), "a delete arrived unapproved");
    ensure!(deployment.origin.ledger.of("GET", "/on-the-old-one").is_empty(), "the old one was heard");

    let again =
        deployment.shield(&["attach", "--agent", "two", "--pid", &worker.child.to_string()]).output()?;
    ensure!(String::from_utf8_lossy(&again.stderr).contains("gated already, as agent one"), "{again:?}");
    output(&mut deployment.shield(&["detach", "one"]))?;
    for member in [pid, worker.child] {
        ensure!(cgroup::of_process(member) == Some(home.0.clone()), "{member} is not home");
    }
    ensure!(!place.exists(), "its cgroup is left over");
    ensure!(worker.tell("new DELETE /free-again")? == "200", "still gated");
    Ok(())
}

#[test]
fn a_process_whose_home_is_gone_goes_to_what_was_above_it() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let above = Cgroup::new()?;
    let home = Cgroup(above.0.join("home"));
    fs::create_dir(&home.0)?;
    let worker = Worker::start(&deployment, &home)?;
    attach(&deployment, &["--pid", &worker.process.id().to_string()])?;
    fs::remove_dir(&home.0)?;
    output(&mut deployment.shield(&["detach", "one"]))?;
    ensure!(cgroup::of_process(worker.process.id()) == Some(above.0.clone()), "it is somewhere else");
    Ok(())
}

#[test]
fn a_gate_ends_with_the_process_it_was_made_for() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let home = Cgroup::new()?;
    let worker = Worker::start(&deployment, &home)?;
    attach(&deployment, &["--pid", &worker.process.id().to_string()])?;
    let place: PathBuf = place_of(&deployment)?;
    drop(worker);
    wait::until("the gate to be gone", || agents(&deployment).ok()?.is_empty().then_some(()))?;
    wait::until("its cgroup to be gone", || (!place.exists()).then_some(()))
}

struct Worker {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
    child: u32,
}

impl Worker {
    fn start(deployment: &Deployment, home: &Cgroup) -> Result<Self> {
        let mut command = deployment.place.command(python());
        command.args(["-c", WORKER]).arg(deployment.origin.address.to_string()).arg(&home.0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(process.stdout.take().context("piped")?);
        let mut worker = Self { process, said, child: 0 };
        worker.child = worker.hear()?.parse()?;
        Ok(worker)
    }

    fn tell(&mut self, words: &str) -> Result<String> {
        self.say(words)?;
        self.hear()
    }

    fn say(&mut self, words: &str) -> Result<()> {
        Ok(writeln!(self.process.stdin.as_mut().context("piped")?, "{words}")?)
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
