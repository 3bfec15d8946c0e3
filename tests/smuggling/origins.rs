//! Real servers, each of which writes down what it received as it understood it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shield_tests::deployment::{Deployment, programs};
use shield_tests::origin::ledger::hex;
use shield_tests::speech::Protocol;
use shield_tests::wait;

/// Configurations, with `DIR`, `ADDRESS`, `PORT1` (HTTP/1.1) and `PORT2` (HTTP/2) to be filled in.
const FILES: [(&str, &str); 7] = [
    ("nginx.conf", include_str!("origins/nginx.conf")),
    ("haproxy.cfg", include_str!("origins/haproxy.cfg")),
    ("apache.conf", include_str!("origins/apache.conf")),
    ("lighttpd.conf", include_str!("origins/lighttpd.conf")),
    ("origins.py", include_str!("origins.py")),
    ("origin.mjs", include_str!("origin.mjs")),
    ("seen.py", include_str!("seen.py")),
];
const MODULES: &str = "/usr/lib/apache2/modules";

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    Hyper,
    Nginx,
    Apache,
    Haproxy,
    Lighttpd,
    Node,
    PythonStandard,
    Aiohttp,
    Uvicorn,
    Gunicorn,
    Hypercorn,
}

/// A server at one of its ports.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) server: Server,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    log: PathBuf,
}

/// A request as a server's application received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) length: u64,
    /// SHA-256 of the body.
    pub(crate) sha256: String,
    /// Fields in order, where the server tells.
    pub(crate) headers: Option<Vec<(String, Vec<u8>)>>,
}

/// Everything a server wrote down.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// What its application received.
    pub(crate) received: Vec<Received>,
    /// How often it answered what without its application, where it keeps a log of that.
    pub(crate) refused: BTreeMap<i64, usize>,
    /// What it could not read.
    pub(crate) unreadable: Vec<String>,
}

/// The running servers.
pub(crate) struct Origins {
    pub(crate) all: Vec<Origin>,
    running: Vec<Child>,
}

impl Server {
    /// All of them, with how they are started and what they speak.
    const ALL: [(Self, &'static [Protocol]); 11] = [
        (Self::Hyper, &[Protocol::H1, Protocol::H2]),
        (Self::Nginx, &[Protocol::H1, Protocol::H2]),
        (Self::Apache, &[Protocol::H1, Protocol::H2]),
        (Self::Haproxy, &[Protocol::H1, Protocol::H2]),
        (Self::Lighttpd, &[Protocol::H1]),
        (Self::Node, &[Protocol::H1, Protocol::H2]),
        (Self::PythonStandard, &[Protocol::H1]),
        (Self::Aiohttp, &[Protocol::H1]),
        (Self::Uvicorn, &[Protocol::H1]),
        (Self::Gunicorn, &[Protocol::H1]),
        (Self::Hypercorn, &[Protocol::H2]),
    ];

    /// The status its application answers with.
    pub(crate) fn seen(self) -> u16 {
        if self == Self::Hyper { 200 } else { 203 }
    }

    /// Whether it says of a request with an empty query that it has none.
    pub(crate) fn drops_empty_query(self) -> bool {
        matches!(self, Self::Uvicorn | Self::Hypercorn)
    }

    /// Whether it puts the cookie behind all other fields, as Python's h2 does.
    pub(crate) fn moves_cookies(self, protocol: Protocol) -> bool {
        (self, protocol) == (Self::Hypercorn, Protocol::H2)
    }

    /// Whether its application gets what came of a body that broke off, as if it were whole.
    pub(crate) fn takes_broken_bodies(self) -> bool {
        matches!(self, Self::Apache | Self::Haproxy)
    }

    /// Starts it at `port` and, where its configuration has two, the one after it.
    fn start(self, place: &Place<'_>, origins: &[Origin]) -> Result<Vec<Child>> {
        let port = origins[0].port;
        let file = |name: &str| place.file(name);
        let node = |origin: &Origin| {
            let kind = if origin.protocol == Protocol::H2 { "h2" } else { "h1" };
            place.run("node", &[&file("origin.mjs"), kind], origin)
        };
        match self {
            Self::Hyper => Ok(vec![]),
            Self::Nginx => place.configured("nginx", port, "nginx.conf", &["-c"], None),
            Self::Apache => {
                place.configured("apache2", port, "apache.conf", &["-D", "FOREGROUND", "-f"], None)
            }
            Self::Haproxy => {
                place.configured("haproxy", port, "haproxy.cfg", &["-db", "-f"], Some(&origins[0].log))
            }
            Self::Lighttpd => place.configured("lighttpd", port, "lighttpd.conf", &["-D", "-f"], None),
            Self::Node => origins.iter().map(node).collect(),
            Self::PythonStandard => place.python("http.server", &origins[0]),
            Self::Aiohttp => place.python("aiohttp", &origins[0]),
            Self::Uvicorn => place.python("uvicorn", &origins[0]),
            Self::Gunicorn => place.python("gunicorn", &origins[0]),
            Self::Hypercorn => place.python("hypercorn", &origins[0]),
        }
    }
}

/// Where they are started.
struct Place<'a> {
    deployment: &'a Deployment,
    dir: PathBuf,
}

impl Origins {
    /// Starts every server of this host beside the deployment's origin, and waits until all can be connected to.
    pub(crate) fn start(deployment: &Deployment) -> Result<Self> {
        let place = Place { deployment, dir: deployment.dir().join("origins") };
        place.prepare()?;
        let mut started = Self { all: vec![], running: vec![] };
        for (number, (server, protocols)) in (0..).zip(Server::ALL) {
            let origin = |(second, protocol): (u16, &Protocol)| Origin {
                server,
                protocol: *protocol,
                port: match (server, protocol) {
                    (Server::Hyper, Protocol::H1) => 80,
                    (Server::Hyper, Protocol::H2) => 443,
                    _ => 8100 + 2 * number + second,
                },
                log: place.dir.join(log_name(server, second)),
            };
            let origins: Vec<Origin> = (0..).zip(protocols).map(origin).collect();
            started.running.extend(server.start(&place, &origins)?);
            started.all.extend(origins);
        }
        for origin in &started.all {
            let address = SocketAddr::from((deployment.origin.address, origin.port));
            let connected = deployment.elsewhere.enter(move || {
                wait::within(wait::PATIENCE, || {
                    TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()
                })
            })?;
            let connected = connected.join().ok().flatten();
            ensure!(connected.is_some(), "{origin:?} does not listen: {}", started.said(&place.dir));
        }
        Ok(started)
    }

    fn said(&self, dir: &Path) -> String {
        let files = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        let errors = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "err"));
        errors.filter_map(|file| fs::read_to_string(file.path()).ok()).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        for running in &mut self.running {
            let pid = nix::unistd::Pid::from_raw(running.id().cast_signed());
            // Those with children of their own end these when they are told to end.
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            if wait::within(Duration::from_secs(5), || running.try_wait().ok().flatten()).is_none() {
                let _ = running.kill();
                let _ = running.wait();
            }
        }
    }
}

fn log_name(server: Server, second: u16) -> String {
    match server {
        // Both of its ports are told apart by what it writes.
        Server::Haproxy => "haproxy.log".into(),
        _ => format!("{}-{}.log", format!("{server:?}").to_lowercase(), second + 1),
    }
}

impl Place<'_> {
    fn address(&self) -> Ipv4Addr {
        self.deployment.origin.address
    }

    fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Files all may read, logs all may write.
    fn prepare(&self) -> Result<()> {
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        fs::create_dir(&self.dir)?;
        mode(&self.dir, 0o777)?;
        fs::write(self.dir.join("identity.pem"), &self.deployment.origin.identity_pem)?;
        for (name, text) in FILES {
            fs::write(self.dir.join(name), text)?;
        }
        mode(&self.dir.join("seen.py"), 0o755)?;
        for (server, protocols) in Server::ALL {
            for second in 0..u16::try_from(protocols.len())? {
                let log = self.dir.join(log_name(server, second));
                fs::write(&log, "")?;
                mode(&log, 0o666)?;
            }
        }
        Ok(())
    }

    fn configured(
        &self,
        program: &str,
        port: u16,
        file: &str,
        flags: &[&str],
        out: Option<&Path>,
    ) -> Result<Vec<Child>> {
        let path = self.dir.join(file);
        let text = fs::read_to_string(&path)?
            .replace("DIR", &self.dir.display().to_string())
            .replace("ADDRESS", &self.address().to_string())
            .replace("MODULES", MODULES)
            .replace("PORT1", &port.to_string())
            .replace("PORT2", &(port + 1).to_string());
        fs::write(&path, text)?;
        let mut command = self.deployment.elsewhere.command(program);
        command.args(flags).arg(&path);
        Ok(vec![self.spawn(command, program, out)?])
    }

    fn python(&self, kind: &str, origin: &Origin) -> Result<Vec<Child>> {
        let python = programs()?.join("../needs/python/bin/python");
        let python = python.to_str().context("a path that is no text")?;
        Ok(vec![self.run(python, &[&self.file("origins.py"), kind], origin)?])
    }

    fn run(&self, program: &str, words: &[&str], origin: &Origin) -> Result<Child> {
        let mut command = self.deployment.elsewhere.command(program);
        command.args(words).arg(self.address().to_string()).arg(origin.port.to_string());
        command.arg(self.dir.join("identity.pem")).arg(&origin.log);
        self.spawn(command, &format!("{:?}-{}", origin.server, origin.port), None)
    }

    fn spawn(&self, mut command: Command, name: &str, out: Option<&Path>) -> Result<Child> {
        let said = fs::File::create(self.dir.join(format!("{name}.err")))?;
        let out = match out {
            Some(out) => fs::File::options().append(true).open(out)?.into(),
            None => Stdio::from(said.try_clone()?),
        };
        command.stdin(Stdio::null()).stdout(out).stderr(said).current_dir(&self.dir);
        command.spawn().with_context(|| format!("cannot start {name}: cargo xtask installs it"))
    }
}

/// A line of a server's log.
#[derive(Deserialize)]
struct Line {
    port: Option<u16>,
    method: Option<String>,
    target: Option<String>,
    host: Option<String>,
    length: Option<Number>,
    sha256: Option<String>,
    body: Option<String>,
    headers: Option<Vec<(String, String)>>,
    status: Option<Number>,
    unreadable: Option<String>,
}

/// Some write numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

impl Number {
    fn get(&self) -> Result<i64> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => text.parse().with_context(|| format!("`{text}` is no number")),
        }
    }
}

impl Origin {
    /// What it wrote down so far.
    pub(crate) fn account(&self, deployment: &Deployment) -> Result<Account> {
        if self.server == Server::Hyper {
            return Ok(self.ledger(deployment));
        }
        let text = fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let text = String::from_utf8_lossy(&text);
        let mut account = Account::default();
        // The last one may be under way.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let Ok(line) = serde_json::from_str::<Line>(line) else {
                ensure!(!line.starts_with('{'), "{:?} wrote {line}", self.server);
                continue;
            };
            let ours = line.port.is_none_or(|port| (port == 2) == (self.protocol == Protocol::H2));
            if ours {
                account.add(line, self.server.seen())?;
            }
        }
        Ok(account)
    }

    fn ledger(&self, deployment: &Deployment) -> Account {
        let h2 = self.protocol == Protocol::H2;
        let mut receipts = deployment.origin.ledger.all();
        receipts.retain(|receipt| (receipt.version == http::Version::HTTP_2) == h2 && receipt.body.is_some());
        let received = receipts.into_iter().map(|receipt| Received {
            sha256: receipt.sha256(),
            length: receipt.body.as_ref().map_or(0, |body| body.len() as u64),
            headers: Some(receipt.headers.into_iter().map(|(name, value)| (name, value.into())).collect()),
            method: receipt.method,
            target: receipt.target,
            host: receipt.host,
        });
        Account { received: received.collect(), ..Account::default() }
    }
}

impl Account {
    fn add(&mut self, line: Line, seen: u16) -> Result<()> {
        if let Some(why) = line.unreadable {
            self.unreadable.push(why);
            return Ok(());
        }
        let status = line.status.map(|status| status.get()).transpose()?;
        if let Some(status) = status.filter(|status| *status != i64::from(seen)) {
            *self.refused.entry(status).or_default() += 1;
            return Ok(());
        }
        let (Some(method), Some(target)) = (line.method, line.target) else { return Ok(()) };
        let length = match (line.length, &line.body) {
            (Some(length), _) => length.get()?.try_into()?,
            (None, body) => body.as_ref().map_or(0, |body| body.len() as u64),
        };
        let sha256 = line.sha256.unwrap_or_else(|| hex(&Sha256::digest(line.body.unwrap_or_default())));
        // One character stands for one byte.
        let bytes = |text: String| text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
        let headers = line.headers;
        self.received.push(Received {
            method,
            target,
            host: line.host.unwrap_or_default(),
            length,
            sha256,
            headers: headers.map(|all| all.into_iter().map(|(name, value)| (name, bytes(value))).collect()),
        });
        Ok(())
    }
}
