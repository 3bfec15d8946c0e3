//! What this machine lacks for a task: said first, with the reason, then installed.
//!
//! Nothing is installed outside the system's package manager, rustup and `target/`.

mod list;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::list as need;
use crate::build_ebpf::NIGHTLY;
use crate::project;
use crate::run::{self, command, loud};

/// Something a task needs.
struct Need {
    /// What it is.
    what: &'static str,
    /// What for.
    why: &'static str,
    /// Whether it is there already.
    present: fn() -> bool,
    /// How it gets here.
    from: Source,
}

enum Source {
    /// Packages of the system's package manager.
    Packages(&'static [&'static str]),
    /// Steps of our own.
    Steps(fn() -> Result<()>),
}

/// Installs what `cargo xtask demo` lacks.
pub(crate) fn for_demo(with_browser: bool) -> Result<()> {
    let mut needs =
        vec![need::GIT, need::COMPILER, need::IP, need::CURL, need::NODE, need::PYTHON, need::PYTHON_CLIENTS];
    if with_browser {
        needs.extend([need::NPM, need::CHROMIUM, need::PLAYWRIGHT]);
    }
    install(&needs)
}

/// Installs what `cargo xtask test` lacks.
pub(crate) fn for_test() -> Result<()> {
    let everything = [
        need::GIT,
        need::COMPILER,
        need::RUST_COMPONENTS,
        need::IP,
        need::NFT,
        need::TMUX,
        need::CURL,
        need::DIG,
        need::MUSL,
        need::NODE,
        need::NGINX,
        need::HAPROXY,
        need::APACHE,
        need::LIGHTTPD,
        need::PYTHON,
        need::PYTHON_CLIENTS,
        need::REDIS,
        need::POSTGRESQL,
        need::NPM,
        need::CHROMIUM,
        need::PLAYWRIGHT,
        need::BPF_TOOLCHAIN,
        need::BPF_LINKER,
        need::OPENSSL,
        need::GNUTLS,
        need::NSS,
        need::GO,
        need::BUN,
        need::TESTSSL,
    ];
    install(&everything)
}

/// Installs what `cargo xtask bench` measures beside the gate.
pub(crate) fn for_bench() -> Result<()> {
    install(&[
        need::GIT,
        need::COMPILER,
        need::IP,
        need::PYTHON,
        need::NGINX,
        need::HAPROXY,
        need::MITMPROXY,
        need::HUDSUCKER,
    ])
}

/// Installs what `cargo xtask soak` lacks.
pub(crate) fn for_soak() -> Result<()> {
    install(&[need::GIT, need::COMPILER, need::IP, need::CURL])
}

/// Installs what `cargo xtask suites` compares with and without the gate.
pub(crate) fn for_suites() -> Result<()> {
    install(&[
        need::COMPILER,
        need::GIT,
        need::IP,
        need::NFT,
        need::PYTHON,
        need::NODE,
        need::NPM,
        need::SUITES,
    ])
}

/// Installs what `cargo xtask fuzz` lacks: the search is a C++ library, and build-essential has that compiler too.
pub(crate) fn for_fuzz() -> Result<()> {
    install(&[need::COMPILER])
}

/// Where the programs of these two are.
pub(crate) fn mitmproxy() -> PathBuf {
    project::target().join("needs/mitmproxy/bin")
}

pub(crate) fn hudsucker() -> PathBuf {
    project::target().join("needs/hudsucker/release/hudsucker-peer")
}

fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing on this machine, and about to be installed:");
    for need in &missing {
        println!("  {:<48} {}", need.what, need.why);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    for need in missing {
        if let Source::Steps(steps) = &need.from {
            println!("Installing {}", need.what);
            steps().with_context(|| format!("cannot install {} ({})", need.what, need.why))?;
        }
    }
    Ok(())
}

impl Need {
    fn packages(&self) -> &[&'static str] {
        match self.from {
            Source::Packages(packages) => packages,
            Source::Steps(_) => &[],
        }
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if !has("apt-get") {
        bail!("install these with this system's package manager, then run again: {}", packages.join(" "));
    }
    if !run::succeeds("sh", &["-c", "test $(id -u) = 0"]) {
        bail!("run again as root, or first: sudo apt-get install {}", packages.join(" "));
    }
    println!("Installing packages: {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get", &["-q", "-y", "-o", "DPkg::Lock::Timeout=300"]);
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::process::Stdio::null());
        loud(apt)
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], packages].concat())
}

/// Installs what the lock file of a directory says.
fn npm(directory: &str) -> Result<()> {
    let mut npm = command("npm", &["ci", "--no-audit", "--no-fund"]);
    npm.current_dir(project::root().join(directory));
    loud(npm)
}

fn npm_is_done(directory: &str) -> bool {
    project::root().join(directory).join("node_modules/.package-lock.json").exists()
}

fn python_clients() -> Result<()> {
    let place = project::python_environment();
    let pip = place.join("bin/pip");
    let mut create = command(system_python(), &["-m", "venv", "--clear"]);
    create.arg(&place);
    loud(create)?;
    loud(command(
        pip,
        &["install", "--quiet", "--disable-pip-version-check", "-r", "tests/clients/requirements.txt"],
    ))?;
    std::fs::write(place.join("complete"), PYTHON_PACKAGES).context("cannot mark the environment complete")
}

/// What is installed, kept beside it to see when something else is wanted.
const PYTHON_PACKAGES: &str = include_str!("../../tests/clients/requirements.txt");

fn has_python_clients() -> bool {
    let installed = std::fs::read_to_string(project::python_environment().join("complete"));
    installed.is_ok_and(|installed| installed == PYTHON_PACKAGES)
}

/// The system's own Python where there is one: a user's may lie in a home an agent cannot enter.
pub(crate) fn system_python() -> &'static str {
    let system = "/usr/bin/python3";
    if run::succeeds(system, &["-c", "import ensurepip, venv"]) { system } else { "python3" }
}

fn has_bpf_toolchain() -> bool {
    let nightly_source = r#"test -d "$(rustc +"$0" --print sysroot)/lib/rustlib/src/rust/library/core""#;
    run::succeeds("sh", &["-c", nightly_source, NIGHTLY]) || std::path::Path::new(DEBIAN_BPF_CORE).exists()
}

/// Where Debian's `libstd-rust-web-dev-bpf` puts the target's prebuilt `core`.
const DEBIAN_BPF_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none";

fn bpf_toolchain() -> Result<()> {
    if has("rustup") {
        let nightly = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "--component", "rust-src"];
        if loud(command("rustup", &nightly)).is_ok() {
            return Ok(());
        }
    }
    install_packages(&["rustc-web", "libstd-rust-web-dev-bpf"])
}

fn bpf_linker() -> Result<()> {
    install_packages(&["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev"])?;
    let mut cargo = run::cargo(&["install", "--locked", "bpf-linker", "--version", "0.13.0"]);
    cargo.args(["--no-default-features", "--features", "llvm-22"]).env("LLVM_PREFIX", "/usr/lib/llvm-22");
    // Its own target directory: the workspace's would be rebuilt with its flags.
    cargo.env_remove("CARGO_TARGET_DIR");
    loud(cargo)
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
