//! Everything a task may need, and where it comes from.

use super::{
    Need, Source, bpf_linker, bpf_toolchain, has, has_bpf_toolchain, has_python_clients, hudsucker,
    mitmproxy, npm, npm_is_done, python_clients, system_python,
};
use crate::run::{self, command, loud};
use crate::{project, suites};

pub(super) const GIT: Need = Need {
    what: "git",
    why: "tidy lists files with it; a client we gate",
    present: || has("git"),
    from: Source::Packages(&["git"]),
};
pub(super) const COMPILER: Need = Need {
    what: "a C compiler",
    why: "SQLite and the cryptographic library are compiled from C",
    present: || has("cc"),
    from: Source::Packages(&["build-essential"]),
};
pub(super) const RUST_COMPONENTS: Need = Need {
    what: "rustfmt and clippy",
    why: "format and lints are checked",
    present: || has("cargo-fmt") && has("cargo-clippy"),
    from: Source::Steps(|| loud(command("rustup", &["component", "add", "rustfmt", "clippy"]))),
};
pub(super) const NFT: Need = Need {
    what: "nft (nftables)",
    why: "an agent tries to lead its packets elsewhere",
    present: || has("nft"),
    from: Source::Packages(&["nftables"]),
};
pub(super) const TMUX: Need = Need {
    what: "tmux",
    why: "a program that would act for an agent, were it not hidden",
    present: || has("tmux"),
    from: Source::Packages(&["tmux"]),
};
pub(super) const IP: Need = Need {
    what: "ip (iproute2)",
    why: "joins network namespaces",
    present: || has("ip"),
    from: Source::Packages(&["iproute2"]),
};
pub(super) const CURL: Need = Need {
    what: "curl",
    why: "a client we gate",
    present: || has("curl"),
    from: Source::Packages(&["curl"]),
};
pub(super) const DIG: Need = Need {
    what: "dig",
    why: "a resolver we gate",
    present: || has("dig"),
    from: Source::Packages(&["bind9-dnsutils"]),
};
pub(super) const MUSL: Need = Need {
    what: "musl-gcc",
    why: "builds a static program that resolves names in its own way",
    present: || has("musl-gcc"),
    from: Source::Packages(&["musl-tools"]),
};
pub(super) const NODE: Need = Need {
    what: "Node.js",
    why: "a client we gate",
    present: || has("node"),
    from: Source::Packages(&["nodejs"]),
};
pub(super) const PYTHON: Need = Need {
    what: "Python 3 with venv",
    why: "a client we gate",
    present: || run::succeeds("python3", &["-c", "import ensurepip, venv"]),
    from: Source::Packages(&["python3", "python3-venv"]),
};
pub(super) const PYTHON_CLIENTS: Need = Need {
    what: "Python packages, in an environment under target/",
    why: "clients we gate",
    present: has_python_clients,
    from: Source::Steps(python_clients),
};
pub(super) const REDIS: Need = Need {
    what: "Redis, server and client",
    why: "a connection nobody can read",
    present: || has("redis-server") && has("redis-cli"),
    from: Source::Packages(&["redis-server", "redis-tools"]),
};
pub(super) const POSTGRESQL: Need = Need {
    what: "PostgreSQL, server and client",
    why: "a connection nobody can read",
    present: || has("psql") && std::path::Path::new("/usr/lib/postgresql").exists(),
    from: Source::Packages(&["postgresql", "postgresql-client"]),
};
pub(super) const NPM: Need = Need {
    what: "npm",
    why: "installs the browser's driver",
    present: || has("npm"),
    from: Source::Packages(&["npm"]),
};
pub(super) const CHROMIUM: Need = Need {
    what: "Chromium",
    why: "a person's browser, for the console's tests",
    present: || ["chromium", "chromium-browser", "google-chrome"].into_iter().any(has),
    from: Source::Packages(&["chromium"]),
};
pub(super) const PLAYWRIGHT: Need = Need {
    what: "Playwright, in tests/console/node_modules",
    why: "drives the browser",
    present: || npm_is_done("tests/console"),
    from: Source::Steps(|| npm("tests/console")),
};
pub(super) const NGINX: Need = Need {
    what: "nginx",
    why: "a proxy to compare with, a server to send to",
    present: || has("nginx"),
    from: Source::Packages(&["nginx-light"]),
};
pub(super) const HAPROXY: Need = Need {
    what: "haproxy",
    why: "a proxy to compare with, a server to send to",
    present: || has("haproxy"),
    from: Source::Packages(&["haproxy"]),
};
pub(super) const APACHE: Need = Need {
    what: "Apache",
    why: "a server to send to",
    present: || has("apache2"),
    from: Source::Packages(&["apache2-bin"]),
};
pub(super) const LIGHTTPD: Need = Need {
    what: "lighttpd",
    why: "a server to send to",
    present: || has("lighttpd") && std::path::Path::new("/usr/lib/lighttpd/mod_openssl.so").exists(),
    from: Source::Packages(&["lighttpd", "lighttpd-mod-openssl"]),
};
pub(super) const MITMPROXY: Need = Need {
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
pub(super) const HUDSUCKER: Need = Need {
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
pub(super) const SUITES: Need = Need {
    what: "test suites of client libraries, under target/",
    why: "run through the gate and without it",
    present: suites::are_brought,
    from: Source::Steps(suites::bring),
};
pub(super) const BPF_TOOLCHAIN: Need = Need {
    what: "a Rust toolchain for the BPF target",
    why: "the kernel programs are rebuilt from source",
    present: has_bpf_toolchain,
    from: Source::Steps(bpf_toolchain),
};
pub(super) const BPF_LINKER: Need = Need {
    what: "bpf-linker",
    why: "links the kernel programs",
    present: || has("bpf-linker"),
    from: Source::Steps(bpf_linker),
};

/// Programs linked with libraries that check certificates, each in its own way.
pub(super) const OPENSSL: Need = Need {
    what: "openssl",
    why: "a library that checks our certificates",
    present: || has("openssl"),
    from: Source::Packages(&["openssl"]),
};
pub(super) const GNUTLS: Need = Need {
    what: "gnutls-cli",
    why: "a library that checks our certificates",
    present: || has("gnutls-cli"),
    from: Source::Packages(&["gnutls-bin"]),
};
pub(super) const NSS: Need = Need {
    what: "NSS's tools",
    why: "a library that checks our certificates",
    present: || has("tstclnt") && has("certutil"),
    from: Source::Packages(&["libnss3-tools"]),
};
pub(super) const GO: Need = Need {
    what: "Go",
    why: "a client we gate",
    present: || has("go"),
    from: Source::Packages(&["golang-go"]),
};
pub(super) const TESTSSL: Need = Need {
    what: "testssl.sh",
    why: "looks for weaknesses of our TLS",
    present: || has("testssl"),
    from: Source::Packages(&["testssl.sh", "bsdmainutils"]),
};
pub(super) const BUN: Need = Need {
    what: "Bun, in tests/clients/node_modules",
    why: "a client we gate",
    present: || npm_is_done("tests/clients"),
    from: Source::Steps(|| npm("tests/clients")),
};
