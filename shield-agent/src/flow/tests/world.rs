//! A worker between a client and an origin, everything in this process.

mod approver;
mod client;
mod origin;
mod policy;
mod resolver;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use nix::sys::socket::{SockaddrStorage, getpeername};
use rustls::pki_types::CertificateDer;
use shield_common::original::Original;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket, UnixStream};

use crate::dns::limits::Limits;
use crate::flow::accept::Originals;
use crate::flow::limits::Limits as FlowLimits;
use crate::flow::policy::host::HostPattern;
use crate::ipc::fds;
use crate::ipc::worker::{FromWorker, HostTrust, PolicyText, ToWorker, WorkerConfig};
use crate::signer::{self, Authority};
use crate::worker::{self, Count, Outside};

pub(super) use approver::{Approver, stored};
pub(super) use client::raw;
pub(super) use origin::{Origin, certificate_for};
pub(super) use policy::{UNREAD, UNREAD_TOO};
pub(super) use resolver::{question, resolver};

/// Longest request body the worker holds here.
pub(super) const MAX_BODY: u64 = 1000;

/// What stands in for the kernel's records: by the client's own address, which the worker sees as its peer.
static RECORDS: LazyLock<Mutex<HashMap<SocketAddr, Original>>> = LazyLock::new(Mutex::default);

struct Table;

impl Originals for Table {
    fn lookup(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Original>> {
        use std::os::fd::AsRawFd;
        let peer: SockaddrStorage = getpeername(socket.as_raw_fd())?;
        let peer = peer.as_sockaddr_in().expect("tests use IPv4");
        Ok(RECORDS.lock().unwrap().get(&SocketAddr::from((peer.ip(), peer.port()))).copied())
    }
}

/// A worker with one gate, for agent `bot`.
pub(super) struct World {
    pub(super) gate: SocketAddr,
    pub(super) dns: SocketAddr,
    pub(super) approver: Approver,
    pub(super) supervisor: UnixStream,
    pub(super) ca: CertificateDer<'static>,
    worker: tokio::task::JoinHandle<Result<(), worker::WorkerError>>,
}

impl World {
    /// A worker that trusts the certificate `root` upstream and records everything at once.
    pub(super) async fn start(root: &CertificateDer<'_>) -> Self {
        Self::with(root, |_| {}).await
    }

    /// The same, with a configuration of the test's own.
    pub(super) async fn with(root: &CertificateDer<'_>, change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(directory.path()).unwrap();
        let ca = authority.certificate().clone();
        let mut config = WorkerConfig {
            ca_certificate: ca.to_vec(),
            upstream_roots: vec![root.to_vec()],
            // No resolver says so here.
            upstream_hosts: vec![at_home("localhost")],
            connect_timeout: Duration::from_secs(5),
            resolvers: vec![],
            names: Limits::default(),
            own_addresses: vec![],
            hold_wait: Duration::from_secs(30),
            max_body: MAX_BODY,
            limits: FlowLimits::default(),
        };
        change(&mut config);
        let (supervisor, theirs) = UnixStream::pair().unwrap();
        let (signing, to_signer) = tokio::io::duplex(1 << 16);
        let (approving, to_approver) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { signer::serve(signing, &authority, 50).await });
        let outside =
            Outside { originals: |_map| Arc::new(Table), compile: policy::compile, lanes: Count::default() };
        let worker = tokio::spawn(worker::run(theirs, to_approver, to_signer, outside));
        let (gate, dns) = introduce(&supervisor, config).await;
        Self { gate, dns, approver: Approver::start(approving), supervisor, ca, worker }
    }

    /// A connection of the agent's, as if it had connected to `original`.
    pub(super) async fn connect(&self, original: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        RECORDS.lock().unwrap().insert(socket.local_addr().unwrap(), record(original));
        socket.connect(self.gate).await.unwrap()
    }

    /// How the worker ended.
    pub(super) async fn ended(self) -> Result<(), worker::WorkerError> {
        self.worker.await.unwrap()
    }
}

/// A host of plain HTTP whose address is this one.
pub(super) fn at_home(host: &str) -> HostTrust {
    HostTrust {
        host: vec![HostPattern::parse(host).unwrap()],
        addresses: vec!["127.0.0.1/32".parse().unwrap()],
        ..HostTrust::default()
    }
}

/// Configures the worker, gives it a policy and one gate; returns the addresses of its listener and its DNS socket.
async fn introduce(supervisor: &UnixStream, config: WorkerConfig) -> (SocketAddr, SocketAddr) {
    let configure = ToWorker::Configure(Box::new(config));
    fds::send(supervisor, &configure, &[]).await.unwrap();
    assert!(matches!(fds::receive(supervisor).await.unwrap(), (FromWorker::Ready, _)));
    fds::send(supervisor, &ToWorker::Policy(PolicyText { files: vec![] }), &[]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dns = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (map, _) = std::io::pipe().unwrap();
    let map = OwnedFd::from(map);
    let add = ToWorker::AddGate { agent: "bot".parse().unwrap(), netns: 1, listeners: 1, dns: 1 };
    fds::send(supervisor, &add, &[listener.as_fd(), dns.as_fd(), map.as_fd()]).await.unwrap();
    let (serving, _) = fds::receive(supervisor).await.unwrap();
    assert!(matches!(serving, FromWorker::Serving { agent } if agent.as_str() == "bot"));
    (listener.local_addr().unwrap(), dns.local_addr().unwrap())
}

fn record(original: SocketAddr) -> Original {
    let SocketAddr::V4(original) = original else { panic!("tests use IPv4") };
    let address: Ipv6Addr = original.ip().to_ipv6_mapped();
    Original {
        address: address.octets(),
        cookie: 1,
        cgroup_id: 1,
        netns_cookie: 1,
        connected_at_ns: u64::MAX / 2,
        port: original.port(),
        family: 2,
        pid: std::process::id(),
        uid: 1001,
        gid: 1001,
        comm: *b"client\0\0\0\0\0\0\0\0\0\0",
    }
}
