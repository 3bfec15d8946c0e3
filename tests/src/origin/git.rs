//! Git repositories over smart HTTP: git's own server program, run for each request as a CGI program.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request::Parts};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Path under which repositories are served.
pub(super) const PREFIX: &str = "/git";

/// Makes a bare repository with one commit, served as `/git/<name>.git`; pushes to it are accepted.
pub fn make_repository(root: &Path, name: &str) -> Result<PathBuf> {
    let bare = root.join(format!("{name}.git"));
    let script = r#"
        set -e
        git init --quiet --bare --initial-branch=main "$1"
        git -C "$1" config http.receivepack true
        tree=$(git -C "$1" hash-object -t tree -w /dev/null)
        commit=$(git -C "$1" commit-tree -m 'Begin' "$tree")
        git -C "$1" update-ref refs/heads/main "$commit"
    "#;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&bare).envs(IDENTITY);
    let output = command.output().context("cannot start git")?;
    if !output.status.success() {
        bail!("cannot make a repository: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(bare)
}

/// Who commits, wherever the tests make git commit.
pub const IDENTITY: [(&str, &str); 6] = [
    ("GIT_AUTHOR_NAME", "Agent"),
    ("GIT_AUTHOR_EMAIL", "agent@acme.internal"),
    ("GIT_COMMITTER_NAME", "Agent"),
    ("GIT_COMMITTER_EMAIL", "agent@acme.internal"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
];

/// Serves one request with `git http-backend`.
pub(super) async fn serve(root: &Path, request: &Parts, body: Bytes) -> Result<Response<Bytes>> {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", request.uri.path().trim_start_matches(PREFIX))
        .env("QUERY_STRING", request.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", field(&request.headers, "content-type"))
        .env("HTTP_CONTENT_ENCODING", field(&request.headers, "content-encoding"))
        .env("GIT_PROTOCOL", field(&request.headers, "git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start git http-backend")?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let writing = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    writing.await??;
    read_cgi(output.stdout)
}

fn read_cgi(output: Vec<u8>) -> Result<Response<Bytes>> {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the CGI headers")?;
    let head = std::str::from_utf8(&output[..end])?;
    let mut response = Response::builder().status(StatusCode::OK);
    for line in head.lines() {
        let (name, value) = line.split_once(':').context("a CGI header without a colon")?;
        let value = value.trim();
        response = if name.eq_ignore_ascii_case("status") {
            response.status(value.split(' ').next().unwrap_or_default())
        } else {
            response.header(name, value)
        };
    }
    Ok(response.body(Bytes::from(output).slice(end + 4..))?)
}

fn field(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
