//! Counting the network sockets a process holds: those it had before its cgroup was gated pass by the gate.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Tables of `/proc/<pid>/net` with the inode in their tenth column.
const TABLES: &[&str] = &["tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6"];

const INODE_COLUMN: usize = 9;

/// Number of different network sockets held by `processes`; a process that ends meanwhile counts for nothing.
pub fn count(processes: &[u32]) -> usize {
    let mut found = HashSet::new();
    for pid in processes {
        let process = Path::new("/proc").join(pid.to_string());
        let network = network_inodes(&process);
        found.extend(socket_inodes(&process).into_iter().filter(|inode| network.contains(inode)));
    }
    found.len()
}

pub(super) fn socket_inodes(process: &Path) -> Vec<u64> {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let inode = |target: std::path::PathBuf| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    targets.filter_map(inode).collect()
}

fn network_inodes(process: &Path) -> HashSet<u64> {
    let tables = TABLES.iter().filter_map(|table| fs::read_to_string(process.join("net").join(table)).ok());
    let inode = |line: &str| line.split_ascii_whitespace().nth(INODE_COLUMN)?.parse().ok();
    tables.flat_map(|table| table.lines().skip(1).filter_map(inode).collect::<Vec<u64>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_sockets_are_counted_and_others_are_not() {
        let held = || {
            let process = Path::new("/proc/self");
            let network = network_inodes(process);
            socket_inodes(process).into_iter().filter(|inode| network.contains(inode)).collect::<HashSet<_>>()
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _pair = std::os::unix::net::UnixStream::pair().unwrap();
        let inode = nix::sys::stat::fstat(&listener).unwrap().st_ino;
        assert!(held().contains(&inode));
        drop(listener);
        assert!(!held().contains(&inode));
        assert!(count(&[std::process::id(), u32::MAX]) < 1000);
    }
}
