//! What this machine lacks for a task: said first, with the reason, then installed.
//!
//! Nothing is installed outside the system's package manager, rustup and `target/`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::build_ebpf::NIGHTLY;
use crate::run::{self, command, loud};
use crate::{project, suites};

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
    let mut needs = vec![GIT, COMPILER, IP, CURL, NODE, PYTHON, PYTHON_CLIENTS];
    if with_browser {
        needs.extend([NPM, CHROMIUM, PLAYWRIGHT]);
    }
    install(&needs)
}

/// Installs what `cargo xtask test` lacks.
pub(crate) fn for_test() -> Result<()> {
    let everything = [
        GIT,
        COMPILER,
        RUST_COMPONENTS,
        IP,
        NFT,
        TMUX,
        CURL,
        DIG,
        MUSL,
        NODE,
        NGINX,
        HAPROXY,
        APACHE,
        LIGHTTPD,
        PYTHON,
        PYTHON_CLIENTS,
        REDIS,
        POSTGRESQL,
        NPM,
        CHROMIUM,
        PLAYWRIGHT,
        BPF_TOOLCHAIN,
        BPF_LINKER,
    ];
    install(&everything)
}

/// Installs what `cargo xtask bench` measures beside the gate.
pub(crate) fn for_bench() -> Result<()> {
    install(&[GIT, COMPILER, IP, PYTHON, NGINX, HAPROXY, MITMPROXY, HUDSUCKER])
}

/// Installs what `cargo xtask suites` compares with and without the gate.
pub(crate) fn for_suites() -> Result<()> {
    install(&[COMPILER, IP, NFT, PYTHON, SUITES])
}

/// Installs what `cargo xtask fuzz` lacks: the search is a C++ library, and build-essential has that compiler too.
pub(crate) fn for_fuzz() -> Result<()> {
    install(&[COMPILER])
}

/// Where the programs of these two are.
pub(crate) fn mitmproxy() -> PathBuf {
    project::target().join("needs/mitmproxy/bin")
}

pub(crate) fn hudsucker() -> PathBuf {
    project::target().join("needs/hudsucker/release/hudsucker-peer")
}

const GIT: Need = Need {
    what: "git",
    why: "tidy lists files with it; a client we gate",
    present: || has("git"),
    from: Source::Packages(&["git"]),
};
const COMPILER: Need = Need {
    what: "a C compiler",
    why: "SQLite and the cryptographic library are compiled from C",
    present: || has("cc"),
    from: Source::Packages(&["build-essential"]),
};
const RUST_COMPONENTS: Need = Need {
    what: "rustfmt and clippy",
    why: "format and lints are checked",
    present: || has("cargo-fmt") && has("cargo-clippy"),
    from: Source::Steps(|| loud(command("rustup", &["component", "add", "rustfmt", "clippy"]))),
};
const NFT: Need = Need {
    what: "nft (nftables)",
    why: "an agent tries to lead its packets elsewhere",
    present: || has("nft"),
    from: Source::Packages(&["nftables"]),
};
const TMUX: Need = Need {
    what: "tmux",
    why: "a program that would act for an agent, were it not hidden",
    present: || has("tmux"),
    from: Source::Packages(&["tmux"]),
};
const IP: Need = Need {
    what: "ip (iproute2)",
    why: "joins network namespaces",
    present: || has("ip"),
    from: Source::Packages(&["iproute2"]),
};
const CURL: Need = Need {
    what: "curl",
    why: "a client we gate",
    present: || has("curl"),
    from: Source::Packages(&["curl"]),
};
const DIG: Need = Need {
    what: "dig",
    why: "a resolver we gate",
    present: || has("dig"),
    from: Source::Packages(&["bind9-dnsutils"]),
};
const MUSL: Need = Need {
    what: "musl-gcc",
    why: "builds a static program that resolves names in its own way",
    present: || has("musl-gcc"),
    from: Source::Packages(&["musl-tools"]),
};
const NODE: Need = Need {
    what: "Node.js",
    why: "a client we gate",
    present: || has("node"),
    from: Source::Packages(&["nodejs"]),
};
const PYTHON: Need = Need {
    what: "Python 3 with venv",
    why: "a client we gate",
    present: || run::succeeds("python3", &["-c", "import ensurepip, venv"]),
    from: Source::Packages(&["python3", "python3-venv"]),
};
const PYTHON_CLIENTS: Need = Need {
    what: "Python packages, in an environment under target/",
    why: "clients we gate",
    present: has_python_clients,
    from: Source::Steps(python_clients),
};
const REDIS: Need = Need {
    what: "Redis, server and client",
    why: "a connection nobody can read",
    present: || has("redis-server") && has("redis-cli"),
    from: Source::Packages(&["redis-server", "redis-tools"]),
};
const POSTGRESQL: Need = Need {
    what: "PostgreSQL, server and client",
    why: "a connection nobody can read",
    present: || has("psql") && std::path::Path::new("/usr/lib/postgresql").exists(),
    from: Source::Packages(&["postgresql", "postgresql-client"]),
};
const NPM: Need = Need {
    what: "npm",
    why: "installs the browser's driver",
    present: || has("npm"),
    from: Source::Packages(&["npm"]),
};
const CHROMIUM: Need = Need {
    what: "Chromium",
    why: "a person's browser, for the console's tests",
    present: || ["chromium", "chromium-browser", "google-chrome"].into_iter().any(has),
    from: Source::Packages(&["chromium"]),
};
const PLAYWRIGHT: Need = Need {
    what: "Playwright, in tests/console/node_modules",
    why: "drives the browser",
    present: || project::root().join("tests/console/node_modules/.package-lock.json").exists(),
    from: Source::Steps(|| {
        let mut npm = command("npm", &["ci", "--no-audit", "--no-fund"]);
        npm.current_dir(project::root().join("tests/console"));
        loud(npm)
    }),
};
const NGINX: Need = Need {
    what: "nginx",
    why: "a proxy to compare with, a server to send to",
    present: || has("nginx"),
    from: Source::Packages(&["nginx-light"]),
};
const HAPROXY: Need = Need {
    what: "haproxy",
    why: "a proxy to compare with, a server to send to",
    present: || has("haproxy"),
    from: Source::Packages(&["haproxy"]),
};
const APACHE: Need = Need {
    what: "Apache",
    why: "a server to send to",
    present: || has("apache2"),
    from: Source::Packages(&["apache2-bin"]),
};
const LIGHTTPD: Need = Need {
    what: "lighttpd",
    why: "a server to send to",
    present: || has("lighttpd") && std::path::Path::new("/usr/lib/lighttpd/mod_openssl.so").exists(),
    from: Source::Packages(&["lighttpd", "lighttpd-mod-openssl"]),
};
const MITMPROXY: Need = Need {
    what: "mitmproxy, in an environment under target/",
    why: "an intercepting proxy to compare with",
    present: || mitmproxy().join("mitmdump").exists(),
    from: Source::Steps(|| {
        let place = project::target().join("needs/mitmproxy");
        let mut create = command(system_python(), &["-m", "venv", "--clear"]);
        create.arg(&place);
        loud(create)?;
        let package = ["install", "--quiet", "--disable-pip-version-check", "mitmproxy==11.0.2"];
        loud(command(place.join("bin/pip"), &package))
    }),
};
const HUDSUCKER: Need = Need {
    what: "hudsucker, built from tests/peers/hudsucker",
    why: "an intercepting proxy to compare with",
    present: || hudsucker().exists(),
    from: Source::Steps(|| {
        let mut build = run::cargo(&["build", "--release", "--locked", "--target-dir"]);
        build.arg(project::target().join("needs/hudsucker"));
        build.current_dir(project::root().join("tests/peers/hudsucker"));
        loud(build)
    }),
};
const SUITES: Need = Need {
    what: "test suites of client libraries, under target/",
    why: "run through the gate and without it",
    present: suites::are_brought,
    from: Source::Steps(suites::bring),
};
const BPF_TOOLCHAIN: Need = Need {
    what: "a Rust toolchain for the BPF target",
    why: "the kernel programs are rebuilt from source",
    present: has_bpf_toolchain,
    from: Source::Steps(bpf_toolchain),
};
const BPF_LINKER: Need = Need {
    what: "bpf-linker",
    why: "links the kernel programs",
    present: || has("bpf-linker"),
    from: Source::Steps(bpf_linker),
};

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
