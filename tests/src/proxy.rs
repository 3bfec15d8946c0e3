//! A proxy in ten lines, in place of the worker: accepts, looks the original up, greets, and says what it saw.
//!
//! Like the worker it closes a connection nobody filed.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{Shutdown, shutdown};
use shield_agent::capture::{Listeners, originals};
use shield_common::limits::{PROBE_ADDRESS, PROBE_GREETING, PROBE_PORT};
use shield_common::original::Original;
use shield_common::served::Served;

use crate::wait::PATIENCE;
use crate::world::AGENT;

/// What the proxy says to every connection that was filed; to one for [`HTTP`], in that language.
pub const GREETING: &str = "proxied";
/// The port where programs expect to be spoken to in HTTP.
pub const HTTP: u16 = 80;
/// What the proxy's DNS sockets put before a question to answer it.
pub const ANSWER: &str = "answer to ";
const GLANCE: Duration = Duration::from_millis(50);

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Where it was going and who opened it; `None` when nobody filed it.
    pub original: Option<Original>,
    /// What it sent before it ended or waited.
    pub sent: Vec<u8>,
}

/// A running proxy; dropping it closes its sockets, as death would.
pub struct Proxy {
    /// Its ports.
    pub served: Served,
    /// The namespace it serves.
    pub netns_cookie: u64,
    arrivals: Receiver<Arrival>,
    stop: Arc<AtomicBool>,
    listeners: Vec<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Serves an agent's sockets.
    pub fn start(opened: Listeners, originals: OwnedFd) -> Result<Self> {
        let (tell, arrivals) = channel();
        let (stop, originals) = (Arc::new(AtomicBool::new(false)), Arc::new(originals));
        let (mut listeners, mut threads) = (Vec::new(), Vec::new());
        for listener in opened.tcp {
            listeners.push(listener.try_clone()?);
            let listener = TcpListener::from(listener);
            listener.set_nonblocking(false)?;
            let (originals, tell) = (originals.clone(), tell.clone());
            threads.push(std::thread::spawn(move || accept(&listener, &originals, &tell)));
        }
        for socket in opened.dns {
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(GLANCE))?;
            let stop = stop.clone();
            threads.push(std::thread::spawn(move || answer(&socket, &stop)));
        }
        Ok(Self {
            served: opened.served,
            netns_cookie: opened.netns_cookie,
            arrivals,
            stop,
            listeners,
            threads,
        })
    }

    /// The next connection that was accepted and has ended.
    pub fn arrival(&self) -> Result<Arrival> {
        self.arrivals.recv_timeout(PATIENCE).context("no connection arrived at the proxy")
    }

    /// The record of the next connection.
    pub fn original(&self) -> Result<Original> {
        self.arrival()?.original.context("the connection has no record")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes the thread that waits in accept.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, originals: &Arc<OwnedFd>, tell: &Sender<Arrival>) {
    while let Ok((stream, _)) = listener.accept() {
        let (originals, tell) = (originals.clone(), tell.clone());
        std::thread::spawn(move || {
            // The test may be over.
            let _ = tell.send(serve(stream, &originals));
        });
    }
}

fn serve(mut stream: TcpStream, originals: &OwnedFd) -> Arrival {
    let original = originals::lookup(originals.as_fd(), stream.as_fd()).expect("the map can be read");
    let mut sent = Vec::new();
    if let Some(original) = &original {
        // The agent may have gone already.
        let _ = stream.write_all(greeting(original).as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.read_to_end(&mut sent);
    }
    Arrival { original, sent }
}

fn greeting(original: &Original) -> String {
    let asked = Ipv6Addr::from(original.address).to_canonical();
    match (asked, original.port) {
        (IpAddr::V4(PROBE_ADDRESS), PROBE_PORT) => format!("{PROBE_GREETING}{AGENT}\n"),
        (_, HTTP) => {
            let length = GREETING.len();
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{GREETING}")
        }
        _ => GREETING.to_owned(),
    }
}

fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut question = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        let Ok((size, asker)) = socket.recv_from(&mut question) else { continue };
        let answer = [ANSWER.as_bytes(), &question[..size]].concat();
        let _ = socket.send_to(&answer, asker);
    }
}
