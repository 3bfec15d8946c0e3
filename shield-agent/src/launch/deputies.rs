//! Programs outside the gate that listen on a local socket and would act for the agent: container engines, terminal
//! multiplexers, agents for keys, shared SSH connections.
//!
//! What is in `/run` is gone with it; elsewhere an empty file is put in place of each socket somebody listens on, in
//! the agent's view alone. It hides what is there when the agent starts; what a cooperating process binds later, or has bound by
//! a relative name, stays in reach.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::LaunchError;
use super::mounts::bind;

/// Names of sockets in use on this host.
#[derive(Debug, Default)]
pub(super) struct Deputies(BTreeSet<PathBuf>);

/// The named sockets of every network namespace of the host: their names are files, which no namespace divides.
pub(super) fn listening() -> Deputies {
    let mut seen = BTreeSet::new();
    let mut found = Deputies::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A process that ended meanwhile has no sockets.
        let Ok(netns) = fs::read_link(entry.path().join("ns/net")) else { continue };
        if seen.insert(netns) {
            found.0.extend(names(&fs::read(entry.path().join("net/unix")).unwrap_or_default()));
        }
    }
    found
}

/// Absolute names in a table like `/proc/net/unix`. A newline in a name makes two lines of it; neither is a socket, so
/// that the directory is looked through.
fn names(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let name = |line: &[u8]| {
        let start = line.windows(2).position(|pair| pair == b" /")? + 1;
        Some(PathBuf::from(OsStr::from_bytes(&line[start..])))
    };
    table.split(|&byte| byte == b'\n').filter_map(name).collect::<Vec<_>>().into_iter()
}

/// Puts `nothing` in the place of every socket in use but those allowed, by their real paths; says which.
///
/// In the agent's mount namespace, after `/run` was replaced.
pub(super) fn hide(
    deputies: &Deputies,
    allowed: &[PathBuf],
    nothing: &Path,
) -> Result<Vec<String>, LaunchError> {
    let mut hidden = BTreeSet::new();
    for name in &deputies.0 {
        for socket in sockets_of(name)? {
            if !allowed.contains(&socket) && hidden.insert(socket.clone()) {
                bind(nothing, &socket)?;
            }
        }
    }
    Ok(hidden.iter().map(|socket| socket.display().to_string()).collect())
}

/// The socket of that name. One that was renamed after it was bound, as shared SSH connections are, is any of those in
/// its directory.
fn sockets_of(name: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    let failed = |path: &Path| LaunchError::setup("hiding", path.to_owned());
    match fs::metadata(name) {
        Ok(found) if found.file_type().is_socket() => {
            return fs::canonicalize(name).map(|path| vec![path]).map_err(failed(name));
        }
        Err(error) if !is_missing(&error) => return Err(failed(name)(error)),
        // Gone, or something else by now.
        _ => {}
    }
    let directory = name.parent().unwrap_or(Path::new("/"));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(directory)(error)),
    };
    let socket =
        |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket()).then(|| entry.path());
    let found = entries.flatten().filter_map(socket);
    found.map(|path| fs::canonicalize(&path).map_err(failed(&path))).collect()
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn names_are_read_from_the_kernels_table_and_abstract_ones_are_not() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /tmp/a b.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12346 @abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12347\n";
        assert_eq!(names(table).collect::<Vec<_>>(), [PathBuf::from("/tmp/a b.sock")]);
    }

    #[test]
    fn a_socket_is_found_by_its_name_by_a_link_and_after_it_was_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| fs::canonicalize(dir.path()).unwrap().join(name);
        let _listening = UnixListener::bind(place("control.tmp")).unwrap();
        std::os::unix::fs::symlink("control.tmp", place("link")).unwrap();
        assert_eq!(sockets_of(&place("link")).unwrap(), [place("control.tmp")]);
        fs::rename(place("control.tmp"), place("control")).unwrap();
        assert_eq!(sockets_of(&place("control.tmp")).unwrap(), [place("control")]);
        assert!(sockets_of(Path::new("/no/such/place/socket")).unwrap().is_empty());
    }

    #[test]
    fn a_live_socket_of_ours_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("socket");
        let _listening = UnixListener::bind(&place).unwrap();
        assert!(listening().0.contains(&place));
    }
}
