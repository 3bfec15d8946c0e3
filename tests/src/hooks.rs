//! What the kernel tells about a gate's hooks: how often each ran, and for how long.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::foreign::bpf;

const OBJ_GET: libc::c_long = 7;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const ENABLE_STATS: libc::c_long = 32;

/// While one lives, the kernel measures every BPF program of the host, which costs each run some time.
#[derive(Debug)]
pub struct Measuring {
    _enabled: OwnedFd,
}

impl Measuring {
    /// Has the kernel measure.
    pub fn start() -> Result<Self> {
        // The only sort of statistics there is: run time.
        let mut sort = 0_u32;
        // SAFETY: a number only.
        let enabled = unsafe { bpf(ENABLE_STATS, &mut sort) }.context("the kernel does not measure")?;
        Ok(Self { _enabled: enabled })
    }
}

/// A hook, and the program it runs.
#[derive(Debug)]
pub struct Hook {
    /// The hook's name.
    pub name: String,
    program: OwnedFd,
}

/// What a hook did while it was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// How often it ran.
    pub count: u64,
    /// How long that took, all runs together.
    pub nanoseconds: u64,
}

impl Hook {
    /// The hooks whose links are pinned in a directory, by name.
    pub fn pinned_in(links: PathBuf) -> Result<Vec<Self>> {
        let list = fs::read_dir(&links).with_context(|| format!("cannot read {}", links.display()))?;
        let hooks = list.map(|entry| {
            let entry = entry?;
            let program = program_of(entry.path())?;
            Ok(Self { name: entry.file_name().to_string_lossy().into_owned(), program })
        });
        let mut hooks: Vec<Self> = hooks.collect::<Result<_>>()?;
        hooks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(hooks)
    }

    /// What it did so far.
    pub fn runs(&self) -> Result<Runs> {
        Ok(Runs {
            count: field(&self.program, "run_cnt:")?,
            nanoseconds: field(&self.program, "run_time_ns:")?,
        })
    }
}

fn program_of(link: PathBuf) -> Result<OwnedFd> {
    let path = CString::new(link.into_os_string().into_vec())?;
    let mut get = [path.as_ptr() as u64, 0];
    // SAFETY: the path outlives the call.
    let link = unsafe { bpf(OBJ_GET, &mut get) }.with_context(|| format!("cannot open {path:?}"))?;
    let mut by_id = [u32::try_from(field(&link, "prog_id:")?)?, 0, 0];
    // SAFETY: numbers only.
    unsafe { bpf(PROG_GET_FD_BY_ID, &mut by_id) }.context("the program of a link is gone")
}

/// A number the kernel shows about a descriptor.
fn field(descriptor: &OwnedFd, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("the kernel does not tell `{name}`"))?.trim().parse()?)
}
