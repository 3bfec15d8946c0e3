//! A process that already runs, and whether gating it would gate whoever asks.

use std::path::Path;

use super::NotFound;
use crate::daemon::family;

/// Makes sure that a process is there, and that it did not start this one.
pub fn find(pid: u32) -> Result<u32, NotFound> {
    if !Path::new("/proc").join(pid.to_string()).is_dir() {
        return Err(NotFound::ProcessGone(pid));
    }
    let ourselves = std::process::id();
    match family::and_above(ourselves).any(|ancestor| ancestor == pid) {
        true => Err(NotFound::Ancestor(pid)),
        false => Ok(pid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_not_cut_off() {
        let ourselves = std::process::id();
        assert!(matches!(find(ourselves), Err(NotFound::Ancestor(_))));
        assert!(matches!(find(family::parent(ourselves).unwrap()), Err(NotFound::Ancestor(_))));
        assert!(matches!(find(u32::MAX), Err(NotFound::ProcessGone(_))));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(find(child.id()).unwrap(), child.id());
        child.kill().and_then(|()| child.wait()).unwrap();
    }
}
