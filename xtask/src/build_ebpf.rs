//! `cargo xtask build-ebpf`: compiles the kernel programs and records from what.
//!
//! The object is committed, so that building the product needs neither a nightly toolchain nor bpf-linker.
//! `check_object` tells when it no longer belongs to the sources beside it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::project;

const OBJECT: &str = "shield-agent/src/capture/gate.bpf.o";
/// The object that says every verdict in words: never committed, read by `shield-agent` with its feature `ebpf-log`.
const LOGGING_OBJECT: &str = "shield-agent/src/capture/gate-log.bpf.o";
const MANIFEST: &str = "shield-agent/src/capture/gate.bpf.json";
/// What the object is made of: the programs, their lock file and settings, and the types they share.
const SOURCES: [&str; 3] = ["shield-ebpf", "shield-common/src", "shield-common/Cargo.toml"];
const TARGET: &str = "bpfel-unknown-none";
/// The nightly toolchain that is asked for. Its LLVM is 22, that of the linker: a linker cannot read what a newer one wrote.
pub(crate) const NIGHTLY: &str = "nightly-2026-04-15";
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// Rebuilds the object with whichever toolchain is here, and its manifest.
pub(crate) fn build() -> Result<()> {
    let root = project::root();
    let linker = linker_version()?;
    let toolchain = Toolchain::find()?;
    println!("Building the kernel programs with {} and {linker}", toolchain.version);
    let built = toolchain.build(root, &[])?;
    let object = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    fs::write(root.join(OBJECT), &object).with_context(|| format!("cannot write {OBJECT}"))?;
    let manifest = json!({
        "sources_sha256": sources_digest(root)?,
        "object_sha256": digest(&object),
        "rustc": toolchain.version,
        "linker": linker,
    });
    let text = serde_json::to_string_pretty(&manifest).context("cannot write the manifest")? + "\n";
    fs::write(root.join(MANIFEST), text).with_context(|| format!("cannot write {MANIFEST}"))
}

/// Builds the object that says every verdict in words, for who works on the hooks.
pub(crate) fn build_logging() -> Result<()> {
    let root = project::root();
    linker_version()?;
    let built = Toolchain::find()?.build(root, &["--features", "log"])?;
    fs::copy(&built, root.join(LOGGING_OBJECT)).with_context(|| format!("cannot write {LOGGING_OBJECT}"))?;
    println!("{LOGGING_OBJECT} is in: cargo build --features ebpf-log, and SHIELD_LOG=debug to read it");
    Ok(())
}

/// The object and manifest as they are now, put back when dropped: a test run changes no committed file.
pub(crate) struct Committed(Vec<(PathBuf, Vec<u8>)>);

impl Committed {
    /// Remembers both files.
    pub(crate) fn keep() -> Result<Self> {
        let read = |file: &str| {
            let path = project::root().join(file);
            let bytes = fs::read(&path).with_context(|| format!("cannot read {file}"))?;
            Ok((path, bytes))
        };
        Ok(Self([OBJECT, MANIFEST].into_iter().map(read).collect::<Result<_>>()?))
    }
}

impl Drop for Committed {
    fn drop(&mut self) {
        for (path, bytes) in &self.0 {
            let unchanged = fs::read(path).is_ok_and(|now| now == *bytes);
            if !unchanged && fs::write(path, bytes).is_err() {
                eprintln!("cannot put {} back: git checkout does", path.display());
            }
        }
    }
}

/// Fails when the committed object was not built from the sources beside it.
pub(crate) fn check_object() -> Result<()> {
    let root = project::root();
    let text = fs::read_to_string(root.join(MANIFEST)).with_context(|| format!("cannot read {MANIFEST}"))?;
    let manifest: Value = serde_json::from_str(&text).with_context(|| format!("{MANIFEST} is not JSON"))?;
    let object = fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    compare(&manifest, &sources_digest(root)?, &digest(&object))
}

fn compare(manifest: &Value, sources: &str, object: &str) -> Result<()> {
    ensure!(
        manifest["sources_sha256"] == sources,
        "{OBJECT} is older than its sources ({}): run `cargo xtask build-ebpf` and commit what it writes",
        SOURCES.join(", ")
    );
    ensure!(
        manifest["object_sha256"] == object,
        "{OBJECT} is not the object {MANIFEST} describes: run `cargo xtask build-ebpf` and commit both"
    );
    Ok(())
}

/// A compiler that can make BPF programs.
struct Toolchain {
    version: String,
    /// The command that runs cargo with it.
    cargo: Vec<OsString>,
    /// The compiler cargo should use, when it is not cargo's own.
    rustc: Option<PathBuf>,
    /// Whether `core` comes as source and has to be built first.
    builds_core: bool,
}

impl Toolchain {
    /// Prefers rustup's [`NIGHTLY`] with its sources, then a distribution's compiler with a `core` for BPF, built or not.
    fn find() -> Result<Self> {
        let nightly: Vec<OsString> = ["rustup", "run", NIGHTLY].map(Into::into).into();
        if let Some(found) = Self::with_source(&nightly, None) {
            return Ok(found);
        }
        let rustc = Path::new(DISTRIBUTION_RUSTC);
        if let (Some(version), Some(sysroot)) = (output(rustc, &["--version"]), sysroot(&[rustc.into()])) {
            if sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
                let (cargo, rustc) = (vec![own_cargo()], Some(rustc.to_owned()));
                return Ok(Self { version, cargo, rustc, builds_core: false });
            }
            if let Some(found) = Self::with_source(&[], Some(rustc.to_owned())) {
                return Ok(found);
            }
        }
        bail!(
            "no Rust toolchain here can build for {TARGET}. Install one of:\n  \
             rustup toolchain install {NIGHTLY} --component rust-src\n  \
             apt-get install rustc-web libstd-rust-web-dev-bpf   (Debian; prebuilt core)\n  \
             apt-get install rustc-web rust-web-src              (Debian; core from source)"
        )
    }

    /// A toolchain whose own copy of `core` can be built.
    fn with_source(run: &[OsString], rustc: Option<PathBuf>) -> Option<Self> {
        let compiler = rustc.clone().unwrap_or_else(|| "rustc".into());
        let asked: Vec<OsString> = run.iter().cloned().chain([compiler.clone().into()]).collect();
        let source = sysroot(&asked)?.join("lib/rustlib/src/rust/library/core");
        let version = output_of(&asked, &["--version"])?;
        let cargo = match rustc {
            Some(_) => vec![own_cargo()],
            None => run.iter().cloned().chain(["cargo".into()]).collect(),
        };
        source.is_dir().then_some(Self { version, cargo, rustc, builds_core: true })
    }

    /// Compiles and links; gives the object's path.
    fn build(&self, root: &Path, features: &[&str]) -> Result<PathBuf> {
        let target = project::target().join("ebpf");
        let mut cargo = Command::new(&self.cargo[0]);
        cargo.args(&self.cargo[1..]).args(["build", "--release", "--locked", "--target", TARGET]);
        cargo.args(features).arg("--target-dir").arg(&target).current_dir(root.join("shield-ebpf"));
        if self.builds_core {
            cargo.args(["-Z", "build-std=core"]);
        }
        match &self.rustc {
            Some(rustc) => cargo.env("RUSTC", rustc),
            None => cargo.env_remove("RUSTC"),
        };
        // Flags from outside would replace the ones that keep type information, which the kernel needs.
        cargo.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", self.flags(root).join("\u{1f}"));
        cargo.env_remove("RUSTUP_TOOLCHAIN").env("RUSTC_BOOTSTRAP", "1");
        let status = cargo.status().context("cannot start cargo")?;
        ensure!(status.success(), "the kernel programs do not build with {}: {status}", self.version);
        Ok(target.join(TARGET).join("release/gate"))
    }

    /// Type information in, this machine's paths out.
    fn flags(&self, root: &Path) -> Vec<String> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo_home = env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let renamed = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        vec![
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            renamed(&cargo_home.join("registry/src"), "/crates"),
            renamed(root, "/shield"),
        ]
    }
}

fn linker_version() -> Result<String> {
    output(Path::new("bpf-linker"), &["--version"]).context(
        "bpf-linker is not here. Install it with the LLVM the compiler uses, for example:\n  \
         apt-get install llvm-22-dev libpolly-22-dev zlib1g-dev libzstd-dev\n  \
         LLVM_PREFIX=/usr/lib/llvm-22 cargo install --locked bpf-linker --version 0.13.0 \
         --no-default-features --features llvm-22",
    )
}

/// Where a compiler keeps its libraries.
fn sysroot(rustc: &[OsString]) -> Option<PathBuf> {
    output_of(rustc, &["--print", "sysroot"]).map(PathBuf::from)
}

fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    output_of(&[program.into()], arguments)
}

/// What a command prints, if it can be run and succeeds.
fn output_of(command: &[OsString], arguments: &[&str]) -> Option<String> {
    let (program, first) = command.split_first()?;
    // The toolchain that runs us must not decide which one rustup starts.
    let output =
        Command::new(program).args(first).args(arguments).env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn own_cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// One digest over every source file, its name included.
fn sources_digest(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files).with_context(|| format!("cannot list {source}"))?;
    }
    files.sort();
    let mut all = Sha256::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        all.update(format!("{name}\n{}\n", digest(&content)));
    }
    Ok(hex(&all.finalize()))
}

/// The files in and under `path`, without what a build left there.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() != "target" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_older_than_its_sources_or_another_one_is_refused() {
        let manifest = json!({ "sources_sha256": "aa", "object_sha256": "bb" });
        compare(&manifest, "aa", "bb").unwrap();
        assert!(compare(&manifest, "ab", "bb").unwrap_err().to_string().contains("older than its sources"));
        assert!(compare(&manifest, "aa", "bc").unwrap_err().to_string().contains("not the object"));
        assert!(compare(&json!({}), "aa", "bb").is_err());
    }

    #[test]
    fn the_digest_of_the_sources_follows_names_and_contents() {
        let root = env::temp_dir().join(format!("xtask-sources-{}", std::process::id()));
        for source in SOURCES {
            fs::create_dir_all(root.join(source)).unwrap();
        }
        fs::write(root.join("shield-ebpf/main.rs"), "one").unwrap();
        let one = sources_digest(&root).unwrap();
        fs::create_dir_all(root.join("shield-ebpf/target")).unwrap();
        fs::write(root.join("shield-ebpf/target/gate"), "built").unwrap();
        assert_eq!(sources_digest(&root).unwrap(), one);
        fs::write(root.join("shield-ebpf/main.rs"), "two").unwrap();
        let two = sources_digest(&root).unwrap();
        fs::rename(root.join("shield-ebpf/main.rs"), root.join("shield-ebpf/other.rs")).unwrap();
        let renamed = sources_digest(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_ne!(one, two);
        assert_ne!(two, renamed);
    }

    #[test]
    fn the_committed_object_belongs_to_its_sources() {
        check_object().unwrap();
    }
}
