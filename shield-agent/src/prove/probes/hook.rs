//! Taking the hooks off the cgroup. Only ever those of the world's own gate, which the prover names.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::{At as _, Attempt, Refused, tcp};
use crate::prove::facts::Facts;

const OBJ_GET: libc::c_long = 7;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_DETACH: libc::c_long = 34;

/// The kernel lets go of a hook whose last pin is gone a moment later.
const LETTING_GO: Duration = Duration::from_millis(50);

pub(in crate::prove) fn unpin(facts: &Facts) -> Attempt {
    for pin in fs::read_dir(&facts.pins).at("open")? {
        fs::remove_file(pin.at("getdents")?.path()).at("unlink")?;
    }
    std::thread::sleep(LETTING_GO);
    tcp::v4(facts)
}

pub(in crate::prove) fn detach_pinned(facts: &Facts) -> Attempt {
    for pin in fs::read_dir(&facts.pins).at("open")? {
        detach(&open_pin(&pin.at("getdents")?.path())?)?;
    }
    tcp::v4(facts)
}

pub(in crate::prove) fn detach_by_id(facts: &Facts) -> Attempt {
    if facts.links.is_empty() {
        return Err(Errno::ENOENT).at("bpf");
    }
    for &link in &facts.links {
        detach(&descriptor(LINK_GET_FD_BY_ID, &mut [u64::from(link), 0])?)?;
    }
    tcp::v4(facts)
}

/// Ids of the links pinned in a directory, for the prover.
pub(in crate::prove) fn link_ids(pins: &Path) -> io::Result<Vec<u32>> {
    let id = |pin: io::Result<fs::DirEntry>| {
        let failed = |refused: Refused| io::Error::from_raw_os_error(refused.errno);
        let link = open_pin(&pin?.path()).map_err(failed)?;
        let mut info = [0_u32; 16];
        let size = size_of_val(&info) as u64;
        // Descriptor and size of the answer share the first word.
        let first = u64::from(link.as_raw_fd().cast_unsigned()) | size << 32;
        bpf(OBJ_GET_INFO_BY_FD, &mut [first, info.as_mut_ptr() as u64])?;
        Ok(info[1])
    };
    fs::read_dir(pins)?.map(id).collect()
}

fn open_pin(path: &Path) -> Result<OwnedFd, Refused> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL).at("bpf")?;
    descriptor(OBJ_GET, &mut [path.as_ptr() as u64, 0])
}

fn detach(link: &OwnedFd) -> Attempt {
    bpf(LINK_DETACH, &mut [u64::from(link.as_raw_fd().cast_unsigned()), 0]).map(drop).at("bpf")
}

fn descriptor(command: libc::c_long, attributes: &mut [u64; 2]) -> Result<OwnedFd, Refused> {
    let made = bpf(command, attributes).at("bpf")?;
    let made = i32::try_from(made).map_err(|_| Errno::EBADF).at("bpf")?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// The four commands above need two words of attributes at most. On a big-endian machine the halves of a word would be
/// the wrong way round; we build for none.
fn bpf(command: libc::c_long, attributes: &mut [u64; 2]) -> Result<libc::c_long, Errno> {
    // SAFETY: addresses in the words are of buffers that outlive the call; the kernel reads and writes the words only.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes))
    })
}
