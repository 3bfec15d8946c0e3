//! Servers no request may go to: keys and signatures of the past, protocols and suites of the past, and what is no TLS
//! at all. Made and served by OpenSSL, which still can what we refuse.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::world::{Origin, World};

#[tokio::test]
async fn a_good_server_passes_so_that_a_refusal_means_something() {
    if !present() {
        return;
    }
    for protocol in ["-tls1_2", "-tls1_3"] {
        let server = Server::start(&["rsa:2048", "-sha256"], &[protocol]);
        let (status, told) = ask(&server.root(), server.address).await;
        assert_eq!(status, 200, "{protocol}: {told}");
    }
}

#[tokio::test]
async fn keys_and_signatures_of_the_past_are_refused() {
    if !present() {
        return;
    }
    let weak = ["-tls1_2", "-cipher", "DEFAULT@SECLEVEL=0"];
    for (what, key_and_signature, reason) in [
        ("signed with SHA-1", ["rsa:2048", "-sha1"], "signed in an outdated way"),
        ("signed with MD5", ["rsa:2048", "-md5"], "signed in an outdated way"),
        ("an RSA key of 1024 bits", ["rsa:1024", "-sha256"], "signature"),
    ] {
        let server = Server::start(&key_and_signature, &weak);
        refused(what, &server.root(), server.address, reason).await;
    }
}

#[tokio::test]
async fn protocols_and_suites_of_the_past_are_refused() {
    if !present() {
        return;
    }
    let outdated = "offers only outdated TLS";
    let none_in_common = "the server refused it (HandshakeFailure)";
    for (arguments, reason) in [
        (&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"][..], outdated),
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], outdated),
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256"], none_in_common),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"], none_in_common),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA384"], none_in_common),
        (&["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], none_in_common),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-NULL-SHA@SECLEVEL=0"], none_in_common),
        (&["-tls1_2", "-cipher", "NULL-SHA256@SECLEVEL=0"], none_in_common),
        (&["-tls1_2", "-cipher", "AECDH-AES128-SHA@SECLEVEL=0"], none_in_common),
        (&["-tls1_2", "-cipher", "ADH-AES128-GCM-SHA256@SECLEVEL=0"], none_in_common),
    ] {
        let server = Server::start(&["rsa:2048", "-sha256"], arguments);
        refused(&arguments.join(" "), &server.root(), server.address, reason).await;
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_refused() {
    let plain = Origin::http().await;
    refused("plain HTTP", &plain.root, plain.address, "not TLS").await;
    assert!(plain.is_quiet().await, "the request was sent in the clear");

    // An alert: the server does not know the name.
    let unrecognized_name = b"\x15\x03\x03\x00\x02\x02\x70";
    for (what, said, reason) in [
        ("closes", &b""[..], "the server closed it"),
        ("greets", b"220 mail.example ESMTP\r\n", "not TLS"),
        ("does not know the name", unrecognized_name, "UnrecognisedName"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            // Read first: closing with unread bytes would reset the connection.
            socket.readable().await.unwrap();
            let _ = socket.try_read(&mut [0; 4096]);
            socket.write_all(said).await.unwrap();
        };
        tokio::join!(server, refused(what, &plain.root, address, reason));
    }
}

/// Asks a worker that trusts `root` for something at `address`.
async fn ask(root: &CertificateDer<'_>, address: SocketAddr) -> (u16, String) {
    let world = World::start(root).await;
    let host = format!("localhost:{}", address.port());
    let got = world.https(address).await.send("GET", &host, "/", "").await;
    (got.status, got.text().to_owned())
}

/// A server that received the request would have answered it.
async fn refused(what: &str, root: &CertificateDer<'_>, address: SocketAddr, reason: &str) {
    let (status, told) = ask(root, address).await;
    assert_eq!(status, 502, "{what}: {told}");
    assert!(told.contains("the TLS connection to localhost failed"), "{what}: {told}");
    assert!(told.contains(reason) && told.contains("NOT been executed"), "{what}: {told}");
}

fn present() -> bool {
    let there = Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: this host has no openssl; install the package openssl");
    }
    there
}

/// `openssl s_server`, which answers every request with a page of its own.
struct Server {
    process: Child,
    address: SocketAddr,
    files: TempDir,
}

impl Server {
    /// Serves as `localhost` with a key of a kind, and a certificate a trusted root signed.
    fn start(key_and_signature: &[&str; 2], arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().unwrap();
        make_certificates(files.path(), key_and_signature);
        let mut server = Command::new("openssl");
        server.current_dir(&files).args(["s_server", "-www", "-accept", "127.0.0.1:0"]);
        server.args(["-cert", "leaf.pem", "-key", "leaf.key"]).args(arguments);
        server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = server.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let accepting =
            said.lines().find_map(|line| line.unwrap().strip_prefix("ACCEPT ").map(str::to_owned));
        let address = accepting.expect("it serves").parse().unwrap();
        Self { process, address, files }
    }

    fn root(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.files.path().join("root.pem")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn make_certificates(directory: &Path, [key, signature]: &[&str; 2]) {
    let request = ["req", "-x509", "-nodes", "-days", "2"];
    let root =
        ["-newkey", "rsa:2048", "-sha256", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem"];
    let names = ["-subj", "/CN=leaf", "-addext", "subjectAltName=DNS:localhost"];
    let no_authority = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let signed = ["-CA", "root.pem", "-CAkey", "root.key", "-newkey", key, signature];
    let files = ["-keyout", "leaf.key", "-out", "leaf.pem"];
    for arguments in [&root[..], &[&names[..], &no_authority, &signed, &files].concat()] {
        let mut openssl = Command::new("openssl");
        let made = openssl.current_dir(directory).args(request).args(arguments).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}
