//! Launchers: a process of its own for each agent, so that the supervisor never meets what a caller sends.
//!
//! The supervisor starts one, gives it its order and the connection to the caller, and notices its end. Launchers
//! outlive the supervisor, because agents do.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::process::Stdio;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::peer::Peer;
use super::roles::OURSELVES;
use crate::ipc::launch::Order;
use crate::launch::launcher;
use crate::role::RoleKind;

/// Has an agent launched for `peer`, at the other end of `connection`, and waits until its launcher is gone.
pub async fn attend(order: &Order, peer: &Peer, netns: &File, connection: UnixStream) {
    let agent = &order.agent;
    match hire(order, peer, netns, connection) {
        Ok(mut launcher) => match launcher.wait().await {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!(%agent, "the launcher ended ({status})"),
            Err(error) => tracing::warn!(%agent, "the launcher was lost: {error}"),
        },
        // The caller learns it from the hang-up.
        Err(error) => tracing::error!(%agent, "the launcher could not be started: {error}"),
    }
}

fn hire(order: &Order, peer: &Peer, netns: &File, connection: UnixStream) -> io::Result<Child> {
    let caller = peer.process()?;
    let connection = connection.into_std()?;
    let (line, theirs) = launcher::order_line()?;
    let mut command = Command::new(OURSELVES);
    command.arg0("shield").args(["role", RoleKind::Launcher.name()]).env_clear().current_dir("/");
    let child = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let descriptors = [connection.as_fd(), caller.as_fd(), netns.as_fd()];
    // An order is far smaller than a socket's buffer: this does not wait.
    line.send(order, &descriptors).map_err(io::Error::other)?;
    Ok(child)
}
