//! Real HTTP clients, unmodified, that all tell the same thing: the body they got, then the status.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::deployment::{Deployment, output, programs};

/// A program agents use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// curl, HTTP/1.1.
    CurlH1,
    /// curl, HTTP/2.
    CurlH2,
    /// Python's `requests`.
    Requests,
    /// Python's `httpx`.
    Httpx,
    /// Python's own `urllib`.
    Urllib,
    /// Node's `fetch`.
    Node,
    /// Java's `HttpClient`.
    Java,
}

/// What a client is asked to do.
#[derive(Clone, Debug)]
pub struct Errand {
    /// Method.
    pub method: &'static str,
    /// Absolute URL.
    pub url: String,
    /// Body; empty for none.
    pub body: String,
}

/// What a client told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Status of the answer.
    pub status: u16,
    /// Body of the answer.
    pub body: String,
}

/// The client programs, in a directory agents can read.
#[derive(Debug)]
pub struct Clients {
    directory: PathBuf,
}

const SCRIPTS: [(&str, &str); 3] = [
    ("client.py", include_str!("../clients/client.py")),
    ("client.mjs", include_str!("../clients/client.mjs")),
    ("Client.java", include_str!("../clients/Client.java")),
];

impl Clients {
    /// Puts the programs, and the Python packages they import, into `deployment`.
    pub fn install(deployment: &Deployment) -> Result<Self> {
        let directory = deployment.dir().join("clients");
        fs::create_dir(&directory).context("cannot make a directory for clients")?;
        for (name, text) in SCRIPTS {
            fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let packages = python_packages()?;
        output(Command::new("cp").arg("-r").arg(packages).arg(directory.join("python")))?;
        Ok(Self { directory })
    }

    /// Starts `client` on its errand as the gated agent `agent`.
    pub fn start(
        &self,
        deployment: &Deployment,
        agent: &str,
        client: Client,
        errand: &Errand,
    ) -> Result<Running> {
        Running::start(&mut self.agent(deployment, agent, &self.command_line(client, errand)))
    }

    /// A command line that will run as a gated agent, with the Python packages at hand.
    pub fn agent(
        &self,
        deployment: &Deployment,
        agent: &str,
        command: &[impl AsRef<std::ffi::OsStr>],
    ) -> Command {
        let mut command = deployment.agent(agent, command);
        command.env("PYTHONPATH", self.place("python")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Where a file of theirs is, or may be put.
    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn command_line(&self, client: Client, errand: &Errand) -> Vec<String> {
        let script = |name: &str| self.directory.join(name).display().to_string();
        let program = match client {
            Client::CurlH1 => return curl("--http1.1", errand),
            Client::CurlH2 => return curl("--http2", errand),
            Client::Requests => vec![python(), script("client.py"), "requests".into()],
            Client::Httpx => vec![python(), script("client.py"), "httpx".into()],
            Client::Urllib => vec![python(), script("client.py"), "urllib".into()],
            Client::Node => vec!["node".into(), script("client.mjs")],
            Client::Java => vec!["java".into(), script("Client.java")],
        };
        [program, vec![errand.method.into(), errand.url.clone(), errand.body.clone()]].concat()
    }
}

impl Client {
    /// Whether this host has the program; all but Java are installed before tests run.
    pub fn present(self) -> bool {
        let available = |program: &str| {
            let mut version = Command::new(program);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        self != Self::Java || (available("java") && available("javac"))
    }
}

/// A client on its errand.
#[derive(Debug)]
pub struct Running(std::process::Child);

impl Running {
    /// Starts a command that tells what clients tell.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map(Self).context("cannot start shield")
    }

    /// Waits for the client to end, and gives what it told.
    pub fn told(self) -> Result<Told> {
        let output = self.0.wait_with_output().context("cannot wait for a client")?;
        read(&output).with_context(|| {
            let words = [&output.stdout[..], &output.stderr[..]].concat();
            format!("{}: {}", output.status, String::from_utf8_lossy(&words).trim())
        })
    }
}

fn read(output: &Output) -> Result<Told> {
    if !output.status.success() {
        bail!("the client failed");
    }
    let text = std::str::from_utf8(&output.stdout)?;
    let (body, status) = text.trim_end().rsplit_once('\n').context("the client told no status")?;
    Ok(Told { status: status.parse()?, body: body.to_owned() })
}

/// curl's command line for an errand.
pub fn curl(version: &str, errand: &Errand) -> Vec<String> {
    let mut words = vec!["curl", "--silent", "--show-error", version, "--write-out", "\n%{http_code}\n"];
    words.extend(["--request", errand.method, &errand.url]);
    if !errand.body.is_empty() {
        words.extend(["--data-binary", &errand.body]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// The system's Python where there is one: a user's may lie in a home an agent cannot enter.
pub fn python() -> String {
    let system = "/usr/bin/python3";
    if Path::new(system).exists() { system } else { "python3" }.into()
}

fn python_packages() -> Result<PathBuf> {
    let environment = programs()?.join("../needs/python/lib");
    let versions = fs::read_dir(&environment).with_context(|| {
        format!("no Python packages in {}: cargo xtask installs them", environment.display())
    })?;
    let version = versions.filter_map(Result::ok).next().context("an empty Python environment")?;
    Ok(version.path().join("site-packages"))
}
