//! What a role cannot do although its user could: open files that are not its own, start programs, look into other
//! processes.
//!
//! The worker opens no file at all; the approver has its store's directory, the signer its key's. Whoever takes a role over finds no more than that.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use crate::ipc::supervisor::Duty;
use crate::launch::confine::ConfineError;
use crate::launch::confine::syscalls::{self, Needs};
use crate::store::Place;

/// Newest version of Landlock whose rights over files are known here.
const KNOWN: ABI = ABI::V5;

/// Why a role could not be locked in.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// A directory of its own.
    #[error("directory {} could not be opened", .0.display())]
    Directory(PathBuf, #[source] landlock::PathFdError),
    /// Landlock exists and refused.
    #[error("files could not be put out of reach")]
    Files(#[from] landlock::RulesetError),
    /// Its system calls.
    #[error("system calls could not be filtered")]
    Calls(#[source] ConfineError),
}

/// Locks the calling thread in, and everything it starts; whether files are out of reach, which needs Landlock. It must
/// be the only thread, with `no_new_privs` set.
pub(super) fn close(duty: &Duty) -> Result<bool, CageError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let (places, needs) = match duty {
        Duty::Work => (vec![], Needs { sockets: true, lookups: true }),
        Duty::Approve(config) => {
            let store = Place::from_url(&config.config.store_url).ok();
            let store = store.and_then(|place| place.path().parent().map(Path::to_owned));
            let own = store.into_iter().map(|directory| (directory, AccessFs::from_all(KNOWN)));
            let places = [(PathBuf::from("/proc"), read)].into_iter().chain(own).collect();
            (places, Needs { sockets: true, lookups: false })
        }
        Duty::Sign { ca_dir, .. } => {
            let places = vec![(ca_dir.clone(), AccessFs::from_all(KNOWN))];
            (places, Needs { sockets: false, lookups: false })
        }
    };
    let enforced = keep_files(&places)?;
    syscalls::refuse_to_a_role(needs).map_err(CageError::Calls)?;
    Ok(enforced)
}

/// Leaves these directories, each with these rights, and no other file; whether this kernel can.
fn keep_files(places: &[(PathBuf, BitFlags<AccessFs>)]) -> Result<bool, CageError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    for (place, rights) in places {
        let opened = PathFd::new(place).map_err(|error| CageError::Directory(place.clone(), error))?;
        rules = rules.add_rule(PathBeneath::new(opened, *rights))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;

    use super::*;

    /// What a thread that is locked in finds, and whether this kernel keeps it from files. Neither kind of restriction
    /// touches the threads beside it.
    fn inside<T: Send + 'static>(duty: Duty, look: impl FnOnce() -> T + Send + 'static) -> (T, bool) {
        let caged = std::thread::spawn(move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            let enforced = close(&duty).unwrap();
            (look(), enforced)
        });
        caged.join().unwrap()
    }

    #[test]
    fn the_worker_opens_no_file_and_starts_no_program() {
        let ((opened, socket, program), enforced) = inside(Duty::Work, || {
            let opened = ["/etc/hostname", "/proc/self/stat"].map(|file| File::open(file).map(drop));
            (opened, TcpListener::bind("127.0.0.1:0").is_ok(), Command::new("/bin/true").status())
        });
        assert!(socket);
        assert!(program.is_err(), "{program:?}");
        if enforced {
            let refused = opened.map(|opened| opened.map_err(|error| error.kind()));
            assert_eq!(refused, [Err(ErrorKind::PermissionDenied); 2]);
        }
    }

    #[test]
    fn the_signer_has_its_directory_and_no_socket() {
        let dir = tempfile::tempdir().unwrap();
        let beside = tempfile::tempdir().unwrap();
        let (ca_dir, outside) = (dir.path().to_owned(), beside.path().join("x"));
        let key = ca_dir.join("key");
        let ((kept, escaped, socket), enforced) =
            inside(Duty::Sign { ca_dir, names_per_second: 1 }, move || {
                (fs::write(&key, "k").is_ok(), fs::write(outside, "x"), TcpListener::bind("127.0.0.1:0"))
            });
        assert!(kept && socket.is_err());
        if enforced {
            assert_eq!(escaped.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }
}
