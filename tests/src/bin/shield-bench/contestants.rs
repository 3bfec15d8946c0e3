//! Who is measured: nobody in between, the gate, and proxies of this host that end TLS on both sides.

use std::fs;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use shield_tests::deployment::{Deployment, ticks};
use shield_tests::wait;

/// One of them.
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// How it is reached.
pub(super) enum Kind {
    /// Not at all.
    Direct,
    /// By being an agent.
    Gate,
    /// It stands in for the origin on a port of loopback.
    Reverse(u16, Running),
    /// It is asked to CONNECT.
    Connect(u16, Running),
}

/// A proxy's process, ended when dropped.
pub(super) struct Running(Child);

impl Running {
    /// Whether something in its network namespace listens on `port` of an IPv4 address.
    fn listens(&self, port: u16) -> bool {
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.0.id())).unwrap_or_default();
        sockets.contains(&format!(":{port:04X} 00000000:0000 0A"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself has left nothing either.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Contestant {
    pub(super) fn is_gate(&self) -> bool {
        matches!(self.kind, Kind::Gate)
    }

    /// Processes that do its work.
    pub(super) fn pids(&self, deployment: &Deployment) -> Vec<u32> {
        match &self.kind {
            Kind::Direct => vec![],
            Kind::Gate => deployment.daemon.pids(),
            Kind::Reverse(_, running) | Kind::Connect(_, running) => vec![running.0.id()],
        }
    }

    pub(super) fn cpu_ticks(&self, deployment: &Deployment) -> u64 {
        self.pids(deployment).into_iter().map(ticks).sum()
    }

    /// Proportional share of memory, KiB.
    pub(super) fn memory(&self, deployment: &Deployment) -> f64 {
        let of = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
                .unwrap_or_default()
        };
        self.pids(deployment).into_iter().map(of).sum()
    }
}

const MITMDUMP: [&str; 9] = [
    "--quiet",
    "--listen-host=127.0.0.1",
    "--listen-port=9104",
    "--set=confdir=mitmproxy",
    "--set=ssl_verify_upstream_trusted_ca=origin-ca.pem",
    "--set=connection_strategy=lazy",
    "--set=flow_detail=0",
    "--set=stream_large_bodies=1m",
    "--set=http2=true",
];

/// All of them.
pub(super) struct Lineup(Vec<Contestant>);

impl Lineup {
    /// Starts what is installed, on a processor of its own.
    pub(super) fn start(deployment: &Deployment, core: usize) -> Result<Self> {
        let direct = Contestant { name: "direct", kind: Kind::Direct };
        let mut all = vec![direct, Contestant { name: "shield", kind: Kind::Gate }];
        let identity = deployment.dir().join("identity.pem");
        fs::write(&identity, &deployment.origin.identity_pem).context("cannot write the identity")?;
        let start = |command: &mut Command, port| -> Result<Option<Running>> {
            let Ok(child) = command.current_dir(deployment.dir()).stdin(Stdio::null()).spawn() else {
                return Ok(None);
            };
            let running = Running(child);
            wait::until("a proxy to listen", || running.listens(port).then_some(()))?;
            pin(running.0.id(), core)?;
            Ok(Some(running))
        };
        fs::write(deployment.dir().join("nginx.conf"), nginx(deployment))?;
        let config = deployment.dir().join("nginx.conf");
        if let Some(running) = start(deployment.place.command("nginx").arg("-c").arg(config), 9101)? {
            all.push(Contestant { name: "nginx", kind: Kind::Reverse(9101, running) });
        }
        fs::write(deployment.dir().join("haproxy.cfg"), haproxy(deployment))?;
        if let Some(running) = start(deployment.place.command("haproxy").args(["-f", "haproxy.cfg"]), 9102)? {
            all.push(Contestant { name: "haproxy", kind: Kind::Reverse(9102, running) });
        }
        if let Some(program) = std::env::var_os("SHIELD_BENCH_HUDSUCKER") {
            let (certificate, key) = authority()?;
            fs::write(deployment.dir().join("mitm-ca.pem"), certificate)?;
            fs::write(deployment.dir().join("mitm-key.pem"), key)?;
            let words = ["9103", "mitm-ca.pem", "mitm-key.pem", "origin-ca.pem"];
            // Started where it stays, so that it makes as many threads as it has processors.
            let mut command = deployment.place.command("taskset");
            let command = command.args(["-c", &core.to_string()]).arg(program).args(words);
            if let Some(running) = start(command, 9103)? {
                all.push(Contestant { name: "hudsucker", kind: Kind::Connect(9103, running) });
            }
        }
        let mut mitmdump = deployment.place.command("mitmdump");
        if let Some(running) = start(mitmdump.args(MITMDUMP), 9104)? {
            all.push(Contestant { name: "mitmproxy", kind: Kind::Connect(9104, running) });
        }
        Ok(Self(all))
    }

    pub(super) fn all(&self) -> &[Contestant] {
        &self.0
    }
}

/// Keeps all threads of a process on a processor, where there are enough.
pub(super) fn pin(process: u32, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    if std::fs::metadata(format!("/sys/devices/system/cpu/cpu{core}")).is_err() {
        return Ok(());
    }
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("the process is gone")? {
        let thread = thread?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(thread), &cores).context("cannot choose a processor")?;
    }
    Ok(())
}

fn nginx(deployment: &Deployment) -> String {
    let (dir, origin) = (deployment.dir().display(), deployment.address(443));
    format!(
        "daemon off; master_process off; user root; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
worker_rlimit_nofile 20000; events {{ worker_connections 10000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 900s; client_max_body_size 0;
  client_body_temp_path {dir}/nginx-body; proxy_temp_path {dir}/nginx-proxy; fastcgi_temp_path {dir}/nginx-f;
  uwsgi_temp_path {dir}/nginx-u; scgi_temp_path {dir}/nginx-s;
  upstream origin {{ server {origin}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:9101 ssl http2 backlog=8192; http2_max_concurrent_streams 512;
    ssl_certificate {dir}/identity.pem; ssl_certificate_key {dir}/identity.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $http_host; proxy_request_buffering off; proxy_max_temp_file_size 0;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {dir}/origin-ca.pem; proxy_ssl_server_name on;
      proxy_ssl_name api.acme.internal; proxy_ssl_protocols TLSv1.2 TLSv1.3;
    }}
  }}
}}
"
    )
}

fn haproxy(deployment: &Deployment) -> String {
    let (dir, origin) = (deployment.dir().display(), deployment.address(443));
    format!(
        "global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 10s
  timeout client 900s
  timeout server 900s
frontend agents
  bind 127.0.0.1:9102 ssl crt {dir}/identity.pem alpn h2,http/1.1
  default_backend origin
backend origin
  server origin {origin} ssl verify required ca-file {dir}/origin-ca.pem sni str(api.acme.internal) \
         verifyhost api.acme.internal alpn http/1.1
"
    )
}

/// A CA for a proxy that makes certificates: PEM of certificate and key.
fn authority() -> Result<(String, String)> {
    let mut ca = CertificateParams::new([])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    Ok((ca.pem(), ca.key().serialize_pem()))
}
