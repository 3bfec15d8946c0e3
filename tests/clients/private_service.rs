//! A service with a CA of its own that wants to see a client certificate: agents reach it, knowing of neither.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::wait;

/// Serves whom its CA vouches for, and says who that is.
const NGINX: &str = r#"
user root;
pid nginx.pid;
error_log error.log;
events {}
http {
  access_log access.log;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {
    listen 8443 ssl;
    ssl_certificate server.pem;
    ssl_certificate_key server.key;
    ssl_client_certificate ca.pem;
    ssl_verify_client on;
    location / { default_type text/plain; return 200 "$request_method by $ssl_client_s_dn"; }
  }
}
"#;

#[test]
fn agents_reach_a_service_that_wants_a_certificate_and_no_other_host_gets_its_trust() -> Result<()> {
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        eprintln!("skipped: this host has no nginx; install the package nginx-light");
        return Ok(());
    }
    let files = tempfile::tempdir()?;
    make_files(files.path())?;
    let place = files.path().display();
    let upstream = format!(
        "hosts: [{{ host: vault.acme.internal, roots: {place}/ca.pem, \
         identity: {{ cert: {place}/bot.pem, key: {place}/bot.key }} }}],"
    );
    let deployment = Deployment::start(Settings { upstream, ..Settings::default() })?;
    let outcome = Nginx::start(&deployment, files.path()).and_then(|_nginx| ask(&deployment, files.path()));
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn ask(deployment: &Deployment, files: &Path) -> Result<()> {
    let get = |name: &str| {
        let url = format!("https://{name}.acme.internal:8443/secret");
        let ended = output(
            &mut deployment.agent("bot", &["curl", "--silent", "--write-out", " %{http_code}", &url]),
        )?;
        anyhow::Ok(String::from_utf8(ended.stdout)?)
    };
    let told = get("vault")?;
    ensure!(told == "GET by CN=bot 200", "told {told}");
    let told = get("crm")?;
    ensure!(told.ends_with(" 502") && told.contains("not signed by a trusted authority"), "told {told}");
    let requests = fs::read_to_string(files.join("access.log"))?;
    ensure!(requests.lines().count() == 1, "it received {requests}");
    Ok(())
}

/// The service's CA and certificate, the gate's certificate, and what nginx is told.
fn make_files(place: &Path) -> Result<()> {
    let mut params = CertificateParams::new(vec![])?;
    params.distinguished_name.push(DnType::CommonName, "a private CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(place.join("ca.pem"), ca.pem())?;
    let names = ["vault.acme.internal", "crm.acme.internal"].map(str::to_owned).to_vec();
    for (file, names, subject) in [("server", names, "service"), ("bot", vec![], "bot")] {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        fs::write(place.join(format!("{file}.pem")), params.signed_by(&key, &ca)?.pem())?;
        let key_file = place.join(format!("{file}.key"));
        fs::write(&key_file, key.serialize_pem())?;
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    }
    Ok(fs::write(place.join("nginx.conf"), NGINX)?)
}

struct Nginx(Child);

impl Nginx {
    /// Starts it where the origin is; its workers end with it.
    fn start(deployment: &Deployment, place: &Path) -> Result<Self> {
        let mut nginx = deployment.elsewhere.command("nginx");
        nginx.arg("-p").arg(place).arg("-c").arg(place.join("nginx.conf"));
        nginx.args(["-e", "error.log", "-g", "daemon off; master_process off;"]);
        let nginx = Self(nginx.spawn().context("cannot start nginx")?);
        wait::until("nginx to listen", || place.join("nginx.pid").exists().then_some(()))?;
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
