//! Programs that listen on a local socket outside the gate and would act for the agent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Result, ensure};
use shield_tests::launcher::Launcher;
use shield_tests::proxy::Proxy;
use shield_tests::world::{NOBODY, World};
use tempfile::TempDir;

use crate::world;

fn launched() -> Result<Option<(World, Proxy, Launcher)>> {
    let Some(mut world) = world()? else { return Ok(None) };
    let proxy = world.serve()?;
    let launcher = Launcher::start(&world)?;
    Ok(Some((world, proxy, launcher)))
}

/// A directory of the agent's user, where sockets are found.
fn home(parent: &str) -> Result<TempDir> {
    let home = tempfile::Builder::new().prefix("shield-home-").tempdir_in(parent)?;
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY))?;
    Ok(home)
}

/// Something of the host's that anybody may talk to.
fn deputy(place: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(place)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o777))?;
    Ok(listener)
}

/// By every path there is.
const REACH: &str = r#"
directory, name = os.path.split(SOCKET)
os.chdir(directory)
link = "/run/user/%d/link" % os.getuid() if LAUNCHED else directory + "/link"
os.symlink(SOCKET, link)
held = os.open(directory, os.O_RDONLY)
handle = os.open(SOCKET, os.O_PATH)
def connect(path): socket.socket(socket.AF_UNIX).connect(path)
paths = [SOCKET, name, "../" + os.path.basename(directory) + "/" + name, link, f"/proc/self/fd/{held}/{name}",
    f"/proc/self/fd/{handle}", f"/proc/self/cwd/{name}", f"/proc/self/root{SOCKET}"]
say(" ".join(outcome(lambda: connect(path)) for path in paths))
"#;

#[test]
fn a_socket_in_tmp_or_at_home_is_out_of_a_launched_agents_reach_by_any_path() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    for parent in ["/tmp", "/var/tmp"] {
        let home = home(parent)?;
        let place = home.path().join("docker.sock");
        let _listening = deputy(&place)?;
        let script = |launched| format!("SOCKET, LAUNCHED = {place:?}, {launched}\n{REACH}");
        assert_eq!(launcher.run(&world, &script("True"))?, ["EACCES"; 8].join(" "));
        assert_eq!(world.run(&script("False"))?, ["ok"; 8].join(" "), "nothing was proved");
    }
    Ok(())
}

#[test]
fn a_socket_that_was_renamed_after_it_was_bound_is_hidden_too_and_datagrams_as_well() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let home = home("/tmp")?;
    let (bound, renamed, datagrams) =
        (home.path().join("control.random"), home.path().join("control"), home.path().join("datagrams"));
    let _listening = deputy(&bound)?;
    fs::rename(&bound, &renamed)?;
    let _receiving = std::os::unix::net::UnixDatagram::bind(&datagrams)?;
    fs::set_permissions(&datagrams, fs::Permissions::from_mode(0o777))?;
    let script = format!(
        r#"
say(outcome(lambda: socket.socket(socket.AF_UNIX).connect({renamed:?})))
say(outcome(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", {datagrams:?}) and None))
"#
    );
    assert_eq!(launcher.run(&world, &script)?, "EACCES\nEACCES");
    assert_eq!(world.run(&script)?, "ok\nok", "nothing was proved");
    Ok(())
}

#[test]
fn an_allowed_socket_stays_and_the_others_are_named_when_asked() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let home = home("/tmp")?;
    let (allowed, other) = (home.path().join("allowed"), home.path().join("other"));
    let _listening = (deputy(&allowed)?, deputy(&other)?);
    let mut command = launcher.command(&world, "/usr/bin/python3");
    command
        .env("ALLOWED_SOCKET", &allowed)
        .arg("-c")
        .arg(format!("import socket\nsocket.socket(socket.AF_UNIX).connect({allowed:?})\nprint('reached')"));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.stdout == b"reached\n", "{said}");
    ensure!(said.contains(&format!("hidden from the agent: {}", other.display())), "{said}");
    ensure!(!said.contains(&format!("hidden from the agent: {}", allowed.display())), "{said}");
    Ok(())
}

/// What the agent makes itself is its own.
#[test]
fn an_agent_uses_sockets_it_made_itself() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let home = home("/tmp")?;
    let place = home.path().join("own");
    let said = launcher.run(
        &world,
        &format!(
            r#"
listening = socket.socket(socket.AF_UNIX)
listening.bind({place:?})
listening.listen()
say(outcome(lambda: socket.socket(socket.AF_UNIX).connect({place:?})))
"#
        ),
    )?;
    assert_eq!(said, "ok");
    Ok(())
}

/// A real one: a terminal multiplexer runs commands for whoever may talk to it.
#[test]
fn a_launched_agent_has_no_tmux_of_its_user_run_commands_outside() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let home = home("/tmp")?;
    let (socket, marker) = (home.path().join("tmux"), home.path().join("marker"));
    let outside = world.cgroups.agent.parent().expect("a cgroup has one above it").to_owned();
    let tmux = |verb: &[&str]| -> Result<bool> {
        let mut tmux = world.program("tmux", &outside, Some(NOBODY))?;
        tmux.env("TERM", "xterm").env("SHELL", "/bin/sh").arg("-S").arg(&socket).args(verb);
        Ok(tmux.status()?.success())
    };
    ensure!(tmux(&["new-session", "-d", "sleep 1000"])?, "tmux does not start");
    let ask = format!("tmux -S {} run-shell 'touch {}'", socket.display(), marker.display());
    let launch = |mut command: std::process::Command| command.args(["-c", &ask]).status();
    ensure!(!launch(launcher.command(&world, "sh"))?.success() && !marker.exists(), "tmux obeyed");
    let obeyed = launch(world.agent("sh")?)?.success() && marker.exists();
    ensure!(tmux(&["kill-server"])? && obeyed, "nothing was proved: tmux obeys nobody");
    Ok(())
}
