//! `shield run` by people who are not root: what they may have, what stays theirs, and what is refused.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::Cgroups;
use shield_tests::deployment::{Deployment, GROUP, Settings, output, tool};
use shield_tests::wait;

/// People no database knows.
const ANN: u32 = 64_251;
const BEN: u32 = 64_252;

/// A member of the group, with another one to see that it stays.
pub(crate) fn ann(deployment: &Deployment, arguments: &[&str]) -> Command {
    let mut command = deployment.by(ANN, &[GROUP, 64_260], tool("shield"));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("SHIELD_CONFIG", deployment.daemon.config());
    command
}

fn ben(deployment: &Deployment, arguments: &[&str]) -> Command {
    let mut command = deployment.by(BEN, &[GROUP], tool("shield"));
    command.args(arguments);
    command
}

fn deployed(test: impl FnOnce(&Deployment) -> Result<()>) -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    test(&deployment).with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn said(output: &Output) -> String {
    format!("{}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_member_of_the_group_runs_an_agent_as_herself_in_her_surroundings() -> Result<()> {
    deployed(|deployment| {
        let home = directory(deployment, "ann's home", 0o700, ANN)?;
        let script = r#"id -u; id -g; id -G | tr ' ' '\n' | sort; pwd; umask; echo "$HOME $MINE $OURS"; ulimit -n; cat"#;
        let mut command =
            ann(deployment, &["run", "--agent", "ann", "--env", "OURS=ours", "--", "sh", "-c", script]);
        command.current_dir(&home).env("HOME", "/somewhere").env("MINE", "mine").stdin(Stdio::piped());
        let limits = || {
            nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
            Ok(nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 77, 99)?)
        };
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, limits) };
        let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        running.stdin.take().context("stdin is piped")?.write_all(b"through a pipe\n")?;
        let ended = running.wait_with_output()?;
        let expected = format!(
            "{ANN}\n{ANN}\n{GROUP}\n{ANN}\n64260\n{}\n0027\n/somewhere mine ours\n77\nthrough a pipe\n",
            home.display()
        );
        ensure!(text(&ended.stdout) == expected, "{}", said(&ended));
        Ok(())
    })
}

#[test]
fn her_agents_requests_pass_the_gate_and_its_exit_code_comes_back() -> Result<()> {
    deployed(|deployment| {
        let curl = ["curl", "--silent", "--show-error", "--write-out", " %{http_code}"];
        let url = "https://crm.acme.internal/read";
        let run = [&["run", "--agent", "ann", "--"][..], &curl, &[url]].concat();
        let ended = output(&mut ann(deployment, &run))?;
        ensure!(text(&ended.stdout).ends_with(" 200"), "{}", said(&ended));
        ensure!(deployment.origin.ledger.of("GET", "/read").len() == 1, "it went another way");

        let run = [
            &["run", "--agent", "ann", "--"][..],
            &curl,
            &["--request", "DELETE", "https://crm.acme.internal/held"],
        ];
        let deleting = ann(deployment, &run.concat()).stdout(Stdio::piped()).spawn()?;
        let hold = deployment.pending("ann")?;
        deployment.decide("deny", &hold, "not now")?;
        let told = text(&deleting.wait_with_output()?.stdout);
        ensure!(told.contains("not now") && told.ends_with(" 403"), "told {told}");

        for (command, code) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -TERM $$"], 143),
            (&["/etc/passwd"], 126),
            (&["no-such"], 127),
        ] {
            let ended = ann(deployment, &[&["run", "--"], command].concat()).output()?;
            ensure!(ended.status.code() == Some(code), "{command:?}: {}", said(&ended));
        }
        Ok(())
    })
}

#[test]
fn who_is_not_in_the_group_is_refused_with_the_remedy() -> Result<()> {
    deployed(|deployment| {
        let mut command = deployment.by(BEN, &[64_260], tool("shield"));
        let refused = command.args(["run", "--", "true"]).output()?;
        ensure!(refused.status.code() == Some(77), "{}", said(&refused));
        ensure!(text(&refused.stderr).contains("usermod -aG shield"), "{}", said(&refused));
        Ok(())
    })
}

#[test]
fn a_member_may_ask_for_agents_of_her_own_and_for_nothing_else() -> Result<()> {
    deployed(|deployment| {
        for asked in [
            &["run", "--user", "root", "--", "true"][..],
            &["run", "--user", "nobody", "--", "true"],
            &["freeze", "ann"],
            &["thaw", "ann"],
            &["detach", "ann"],
            &["policy", "reload"],
            &["attach", "--agent", "x", "--cgroup", "/sys/fs/cgroup"],
        ] {
            let refused = ann(deployment, asked).output()?;
            ensure!(refused.status.code() == Some(77), "{asked:?}: {}", said(&refused));
        }
        // Whatever the command line checks by itself, the daemon does too.
        let mut liar = deployment.by(ANN, &[GROUP], "/usr/bin/python3");
        let question = r#"{"ask":"run","agent":"x","uid":0,"strict":false}"#;
        let refused = output(liar.args(["-c", ASK]).arg(socket(deployment)).arg(question))?;
        ensure!(text(&refused.stdout).contains("forbidden"), "{}", said(&refused));
        Ok(())
    })
}

/// One question, asked by hand.
const ASK: &str = r#"
import socket, sys
asker = socket.socket(socket.AF_UNIX)
asker.connect(sys.argv[1])
asker.sendall(sys.argv[2].encode() + b"\n")
print(asker.recv(65536).decode())
"#;

fn socket(deployment: &Deployment) -> PathBuf {
    deployment.dir().join("run/gate.sock")
}

#[test]
fn a_name_belongs_to_its_first_user_and_others_neither_get_nor_see_it() -> Result<()> {
    deployed(|deployment| {
        let mut waiting =
            Waiting::start(ann(deployment, &["run", "--agent", "bot", "--", "sh", "-c", "echo here; cat"]))?;
        let agents = |mut command: Command| Ok::<_, anyhow::Error>(text(&output(&mut command)?.stdout));
        let list = &["agents", "-o", "jsonl"];
        ensure!(agents(ann(deployment, list))?.contains("\"bot\""), "she does not see her own");
        ensure!(agents(ben(deployment, list))?.is_empty(), "he sees hers");
        ensure!(agents(deployment.shield(list))?.contains("\"bot\""), "root does not see it");
        let taken = ben(deployment, &["run", "--agent", "bot", "--", "true"]).output()?;
        ensure!(taken.status.code() == Some(125), "{}", said(&taken));
        waiting.end()?;
        let owned = ben(deployment, &["run", "--agent", "bot", "--", "true"]).output()?;
        ensure!(text(&owned.stderr).contains("another user"), "{}", said(&owned));
        wait::until("her agent to be gone", || {
            output(&mut ann(deployment, &["run", "--agent", "bot", "--", "true"])).ok()
        })?;
        Ok(())
    })
}

#[test]
fn when_the_caller_is_killed_the_agent_ends_and_its_gate_with_it() -> Result<()> {
    deployed(|deployment| {
        let script = "sleep 1000 & setsid sleep 1000 & echo here; cat";
        let mut waiting =
            Waiting::start(ann(deployment, &["run", "--agent", "bot", "--", "sh", "-c", script]))?;
        let cgroup = agents_cgroup(deployment, "bot")?;
        wait::until("all to be inside", || {
            let inside = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
            (inside.lines().count() == 4).then_some(())
        })?;
        waiting.process.kill()?;
        wait::until("the agent and its gate to be gone", || (!cgroup.exists()).then_some(()))?;
        ensure!(
            output(&mut deployment.shield(&["agents", "-o", "jsonl"]))?.stdout.is_empty(),
            "still listed"
        );
        Ok(())
    })
}

#[test]
fn signals_to_the_caller_reach_the_agent() -> Result<()> {
    deployed(|deployment| {
        let script = "trap 'echo asked to end; exit 9' TERM; echo here; while :; do sleep 0.05; done";
        let mut waiting = Waiting::start(ann(deployment, &["run", "--", "sh", "-c", script]))?;
        let caller = nix::unistd::Pid::from_raw(waiting.process.id().cast_signed());
        nix::sys::signal::kill(caller, nix::sys::signal::Signal::SIGTERM)?;
        ensure!(waiting.hear()? == "asked to end");
        ensure!(waiting.process.wait()?.code() == Some(9));
        Ok(())
    })
}

#[test]
fn nothing_in_an_agents_cgroup_gets_another_gate() -> Result<()> {
    deployed(|deployment| {
        let shield = tool("shield");
        let nested = [shield.to_str().context("a path of ASCII")?, "run", "--", "true"];
        let refused =
            ann(deployment, &[&["run", "--agent", "outer", "--"], &nested[..]].concat()).output()?;
        ensure!(!refused.status.success(), "an agent started an agent: {}", said(&refused));

        // Even one that somebody put there, and that sees the socket.
        let mut waiting = Waiting::start(ann(
            deployment,
            &["run", "--agent", "outer", "--", "sh", "-c", "echo here; cat"],
        ))?;
        let procs = agents_cgroup(deployment, "outer")?.join("cgroup.procs");
        for uid in [0, ANN] {
            let mut enter = deployment.by(uid, &[GROUP], tool("shield"));
            let procs = fs::File::options().write(true).open(&procs)?;
            // SAFETY: between fork and exec the closure makes one system call; it allocates nothing.
            unsafe {
                std::os::unix::process::CommandExt::pre_exec(&mut enter, move || (&procs).write_all(b"0"))
            };
            let refused = enter.args(["run", "--", "true"]).output()?;
            ensure!(refused.status.code() == Some(77), "{uid}: {}", said(&refused));
            ensure!(text(&refused.stderr).contains("an agent cannot ask"), "{uid}: {}", said(&refused));
        }
        waiting.end()
    })
}

/// The daemon has a view of its own of the host, as a service manager gives it: the agent's is its caller's.
#[test]
fn an_agent_lives_in_the_namespaces_of_its_caller() -> Result<()> {
    deployed(|deployment| {
        let shield = tool("shield");
        let script = format!(
            "mount -t tmpfs none /mnt && echo callers > /mnt/file && hostname callers && cd /mnt && exec setpriv \
             --reuid {ANN} --regid {ANN} --groups {GROUP} {} run -- sh -c 'cat file; hostname; ls -d /proc/[0-9]* | wc -l'",
            shield.display()
        );
        let mut command = deployment.place.command("unshare");
        command.args(["--mount", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", &script]);
        let ended = output(command.env("SHIELD_CONFIG", deployment.daemon.config()))?;
        let said = text(&ended.stdout);
        let (names, processes) = said.trim_end().rsplit_once('\n').context("three lines")?;
        ensure!(names == "callers\ncallers" && processes.trim().parse::<u32>()? < 8, "{said}");
        Ok(())
    })
}

#[test]
fn a_caller_in_a_user_namespace_or_a_changed_root_is_refused_with_the_reason() -> Result<()> {
    deployed(|deployment| {
        let shield = tool("shield");
        let mut inside = deployment.by(ANN, &[GROUP], "unshare");
        inside.args(["--user", "--map-root-user"]).arg(&shield).args(["run", "--", "true"]);
        let refused = inside.output()?;
        ensure!(refused.status.code() != Some(0), "{}", said(&refused));

        let root = directory(deployment, "root", 0o755, 0)?;
        let script = r#"mount --rbind / "$0" && exec chroot "$0" "$@""#;
        let mut changed = deployment.place.command("unshare");
        changed
            .args(["--mount", "sh", "-c", script])
            .arg(&root)
            .arg(&shield)
            .args(["run", "--user", "nobody", "--", "true"]);
        let refused = changed.env("SHIELD_CONFIG", deployment.daemon.config()).output()?;
        ensure!(refused.status.code() == Some(125), "{}", said(&refused));
        ensure!(text(&refused.stderr).contains("changed roots"), "{}", said(&refused));
        Ok(())
    })
}

/// The loader of programs writes a file, as whoever runs one, when these reach it.
#[test]
fn what_the_caller_plants_for_the_loader_reaches_no_privileged_process() -> Result<()> {
    deployed(|deployment| {
        let seen = |name: &str, mut command: Command| -> Result<Vec<u32>> {
            let place = directory(deployment, name, 0o777, 0)?;
            command.env("LD_DEBUG", "statistics").env("LD_DEBUG_OUTPUT", place.join("ran"));
            output(&mut command)?;
            let owners = fs::read_dir(&place)?.map(|entry| Ok(entry?.metadata()?.uid()));
            owners.collect()
        };
        let owners = seen("planted", ann(deployment, &["run", "--", "true"]))?;
        ensure!(owners.len() >= 2 && owners.iter().all(|&owner| owner == ANN), "{owners:?}");
        // Root's own caller is a process of root's: it is seen.
        let owners = seen("control", deployment.shield(&["run", "--user", "nobody", "--", "true"]))?;
        ensure!(owners.contains(&0), "the test sees nothing: {owners:?}");
        Ok(())
    })
}

#[test]
fn one_user_cannot_take_every_connection_of_the_daemon() -> Result<()> {
    deployed(|deployment| {
        let script = r#"
import socket, sys
askers = []
for number in range(80):
    asker = socket.socket(socket.AF_UNIX)
    asker.connect(sys.argv[1])
    askers.append(asker)
askers[79].settimeout(20)
print(askers[79].recv(1000).decode(), flush=True)
sys.stdin.read()
"#;
        let mut greedy = deployment.by(ANN, &[GROUP], "/usr/bin/python3");
        greedy.args(["-c", script]).arg(socket(deployment));
        let mut greedy = Waiting::start(greedy)?;
        ensure!(greedy.first.contains("64 agents or questions"), "{}", greedy.first);
        let refused = ann(deployment, &["run", "--", "true"]).output()?;
        ensure!(refused.status.code() == Some(125), "{}", said(&refused));
        output(&mut ben(deployment, &["run", "--", "true"]))?;
        greedy.end()
    })
}

/// A running command, which has said its first line.
pub(crate) struct Waiting {
    pub(crate) process: std::process::Child,
    pub(crate) first: String,
    lines: BufReader<std::process::ChildStdout>,
}

impl Waiting {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stdout.take().context("stdout is piped")?);
        let mut waiting = Self { process, first: String::new(), lines };
        waiting.first = waiting.hear()?;
        Ok(waiting)
    }

    pub(crate) fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "it ended without a word");
        Ok(line.trim_end().to_owned())
    }

    /// Its input ends, and so must it.
    fn end(&mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn agents_cgroup(deployment: &Deployment, agent: &str) -> Result<PathBuf> {
    let config = shield_agent::config::Config::load(deployment.daemon.config())?;
    Ok(Cgroups::find(&config.instance)?.of(&agent.parse()?).agent)
}

fn directory(deployment: &Deployment, name: &str, mode: u32, owner: u32) -> Result<PathBuf> {
    let path: &Path = &deployment.dir().join(name);
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    std::os::unix::fs::chown(path, Some(owner), Some(owner))?;
    Ok(path.to_owned())
}
