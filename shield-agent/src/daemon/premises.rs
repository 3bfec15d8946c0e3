//! Everything the daemon needs before its first role starts: directories, users, sockets, trust, policy text.
//!
//! Each step fails with its own sentence, and none touches the kernel's hooks.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::unistd::Gid;
use rustls::pki_types::CertificateDer;

use super::crew::CrewPlan;
use super::folders::{self, FolderError, Folders};
use super::lock::InstanceLock;
use super::policy_files::{PolicyFiles, PolicyFilesError};
use super::trust::{self, TrustError};
use super::upstream_hosts::{self, UpstreamHostError};
use super::users::{self, RoleUserError, RoleUsers};
use super::{resolvers, socket};
use crate::config::{Config, TlsFiles};
use crate::ipc::gate::{SOCKET, TrustFiles};
use crate::ipc::supervisor::{ApproverConfig, TlsPem};
use crate::ipc::worker::{HostTrust, PolicyText, WorkerConfig};

/// File name of the approver's socket in `run_dir`.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What is there before the roles.
#[derive(Debug)]
pub struct Premises {
    /// The configuration.
    pub config: Config,
    /// Where things are.
    pub folders: Folders,
    /// The policy files.
    pub policy_files: PolicyFiles,
    /// The policy in force.
    pub policy: PolicyText,
    users: RoleUsers,
    roots: Vec<CertificateDer<'static>>,
    hosts: Vec<HostTrust>,
    tls: Option<TlsPem>,
    console: TcpListener,
    control: UnixListener,
    lock: InstanceLock,
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PremisesError {
    /// A role has no user.
    #[error(transparent)]
    Users(#[from] RoleUserError),
    /// A directory is not as it must be.
    #[error(transparent)]
    Folders(#[from] FolderError),
    /// Roots could not be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Files for single upstream hosts cannot be used.
    #[error(transparent)]
    UpstreamHosts(#[from] UpstreamHostError),
    /// Policy files could not be read.
    #[error(transparent)]
    PolicyFiles(#[from] PolicyFilesError),
    /// The console's address is taken or not ours.
    #[error("the console cannot listen on {0}: change console.listen")]
    Console(SocketAddr, #[source] io::Error),
    /// The console's certificate or key.
    #[error("console.tls: {} could not be read", .0.display())]
    ConsoleTls(PathBuf, #[source] io::Error),
    /// A local socket.
    #[error("socket {} could not be bound", .0.display())]
    Socket(PathBuf, #[source] io::Error),
}

impl Premises {
    /// Makes or finds everything. The second result is the bound gate socket.
    pub fn prepare(config: Config, lock: InstanceLock) -> Result<(Self, UnixListener), PremisesError> {
        let users = users::find()?;
        let folders = folders::prepare(&config, &users)?;
        let roots = trust::upstream_roots(&config)?;
        let hosts = upstream_hosts::read(&config.upstream.hosts, &roots)?;
        let (policy_files, policy) = PolicyFiles::read(&config.policies)?;
        let tls = config.console.tls.as_ref().map(read_tls).transpose()?;
        let console = TcpListener::bind(config.console.listen)
            .map_err(|error| PremisesError::Console(config.console.listen, error))?;
        let control = bind(&config.run_dir.join(CONTROL_SOCKET), None)?;
        let gate = bind(&config.run_dir.join(SOCKET), users::group(&config.group)?)?;
        Ok((
            Self { config, folders, policy_files, policy, users, roots, hosts, tls, console, control, lock },
            gate,
        ))
    }

    /// What a crew is started with.
    pub fn crew_plan(&self) -> CrewPlan<'_> {
        CrewPlan {
            users: self.users,
            ca_dir: &self.folders.ca,
            approver: ApproverConfig {
                config: self.config.clone(),
                tls: self.tls.clone(),
                policy: self.policy.clone(),
            },
            console: self.console.as_fd(),
            control: self.control.as_fd(),
            lock: self.lock.as_fd(),
            worker: self.worker_config(),
        }
    }

    fn worker_config(&self) -> WorkerConfig {
        WorkerConfig {
            ca_certificate: Vec::new(),
            upstream_roots: self.roots.iter().map(|root| root.to_vec()).collect(),
            upstream_hosts: self.hosts.clone(),
            connect_timeout: self.config.upstream.connect_timeout,
            resolvers: resolvers::choose(&self.config.dns.upstream),
            names: self.config.dns.limits.clone(),
            own_addresses: vec![self.config.console.listen],
            hold_wait: self.config.hold.wait,
            max_body: self.config.hold.max_body,
            limits: self.config.limits,
        }
    }

    /// The policy files as they are now.
    pub fn read_policy(&mut self) -> Result<PolicyText, PolicyFilesError> {
        self.policy_files.read_again()
    }

    /// Writes what agents are made to trust.
    pub fn write_trust(&self, ca_certificate: &[u8]) -> Result<TrustFiles, TrustError> {
        trust::write(&self.folders.trust, ca_certificate, &self.roots)
    }
}

fn bind(path: &Path, group: Option<Gid>) -> Result<UnixListener, PremisesError> {
    socket::bind(path, group).map_err(|error| PremisesError::Socket(path.to_owned(), error))
}

fn read_tls(files: &TlsFiles) -> Result<TlsPem, PremisesError> {
    Ok(TlsPem { cert: read_for_console(&files.cert)?, key: read_for_console(&files.key)? })
}

fn read_for_console(path: &Path) -> Result<Vec<u8>, PremisesError> {
    fs::read(path).map_err(|error| PremisesError::ConsoleTls(path.to_owned(), error))
}
