//! Who gets in: a reviewer with a fresh link, and never an agent.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::output;

use crate::browser::PHONE;
use crate::reviewer::{Scene, log_in, play};

/// Prints how connecting to a Unix socket ends.
const CONNECT: &str = "import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print('connected')
except OSError as error:
    print(error.strerror)";

#[test]
fn a_link_logs_in_once() -> Result<()> {
    play(|scene| {
        let link = scene.link()?;
        // Programs that preview links for people open them too.
        scene.browser.visitor(PHONE)?.tab()?.open(&link)?;
        let tab = scene.browser.visitor(PHONE)?.tab()?;
        ensure!(log_in(&tab, &link)? == 303, "not logged in: {}", tab.text("main")?);
        tab.see("#queue", "Nothing is waiting")?;
        let other = scene.browser.visitor(PHONE)?.tab()?;
        let status = log_in(&other, &link)?;
        ensure!(status == 403, "a used link is answered {status}");
        other.see("main", "This link was used before")?;
        let queue = format!("{}/", scene.console()?);
        other.open(&queue)?;
        ensure!(
            other.address()?.contains("/login"),
            "a visitor without a session is at {}",
            other.address()?
        );
        tab.expect_no_complaint()
    })
}

#[test]
fn an_agent_reaches_neither_the_console_nor_a_socket_of_the_daemon() -> Result<()> {
    play(|scene| {
        let console = scene.console()?;
        let port = console.rsplit(':').next().context("a port")?;
        ensure!(http_status(scene, None, &console)? != "000", "the console answers nobody");
        for host in ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"] {
            let address = format!("http://{host}:{port}/");
            let status = http_status(scene, Some("intruder"), &address)?;
            ensure!(status == "000", "{address} answers an agent with {status}");
        }
        for socket in ["control.sock", "gate.sock"] {
            let path = scene.deployment.dir().join("run").join(socket);
            let path = path.to_str().context("a path of UTF-8")?;
            let words = ["/usr/bin/python3", "-c", CONNECT, path];
            let root = output(scene.deployment.place.command(words[0]).args(&words[1..]))?;
            ensure!(root.stdout == b"connected\n", "root cannot reach {socket}: the test shows nothing");
            let agent = output(&mut scene.deployment.agent("intruder", &words))?;
            let said = String::from_utf8_lossy(&agent.stdout);
            ensure!(!said.contains("connected"), "an agent reached {socket}");
        }
        Ok(())
    })
}

/// Status of an address as curl gets it, in the gate or beside it; `000` is no answer at all.
fn http_status(scene: &Scene, agent: Option<&str>, address: &str) -> Result<String> {
    let words = [
        "curl",
        "--silent",
        "--noproxy",
        "*",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        address,
    ];
    let mut command = match agent {
        Some(agent) => scene.deployment.agent(agent, &words),
        None => {
            let mut command = scene.deployment.place.command(words[0]);
            command.args(&words[1..]);
            command
        }
    };
    let told = command.stdin(Stdio::null()).output().context("cannot start curl")?;
    Ok(String::from_utf8(told.stdout)?)
}
