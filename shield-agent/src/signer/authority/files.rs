//! Files of the CA: whole or absent, and the key never readable by others.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::AuthorityError;

/// Mode of the key: its owner only.
pub(super) const PRIVATE: u32 = 0o600;
/// Mode of the certificate: anyone may read it.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of the directory both are in.
const DIRECTORY: u32 = 0o700;

pub(super) fn create_private_directory(path: &Path) -> Result<(), AuthorityError> {
    match DirBuilder::new().mode(DIRECTORY).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", path)(error)),
        _ => Ok(()),
    }
}

/// Text of a file only its owner can read, or `None` when there is no such file.
pub(super) fn read_private(path: &Path) -> Result<Option<String>, AuthorityError> {
    let text = read(path)?;
    if text.is_some() {
        let mode = fs::metadata(path).map_err(failed("examine", path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(AuthorityError::Exposed { path: path.to_owned(), mode });
        }
    }
    Ok(text)
}

/// Text of a file, or `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes a new file so that after a crash it is there as a whole or not at all.
pub(super) fn write_durably(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let beside = path.with_extension("new");
    // A crash may have left one; it was never read.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", &beside)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed("create", &beside))?;
    file.write_all(text.as_bytes()).map_err(failed("write", &beside))?;
    file.sync_all().map_err(failed("sync", &beside))?;
    fs::rename(&beside, path).map_err(failed("rename into place", path))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed("sync", directory))
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::File { act, path, source }
}
