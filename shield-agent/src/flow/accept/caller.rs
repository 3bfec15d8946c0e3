//! Who opened a flow: the kernel's record, completed from `/proc` while the process is still there.
//!
//! For display, rules about programs and the journal; never for deciding which agent it is.

use std::path::Path;

use nix::time::{ClockId, clock_gettime};
use shield_common::original::Original;

use super::programs::Programs;
use crate::flow::http::canonical::lossy;
use crate::flow::origin::Caller;

/// Longest command line that is kept, bytes.
const MAX_CMDLINE: usize = 4096;

/// `USER_HZ`: the unit of start times in `/proc/<pid>/stat`, fixed by the kernel's ABI.
const TICK_NANOS: u64 = 10_000_000;

/// Describes the caller; what `/proc` no longer tells, or tells of another process, stays empty.
pub async fn describe(record: &Original, programs: &Programs) -> Caller {
    let comm = record.comm.split(|&byte| byte == 0).next().unwrap_or_default();
    let mut caller = Caller {
        pid: record.pid,
        uid: record.uid,
        exe: String::new(),
        comm: lossy(comm),
        cmdline: Vec::new(),
    };
    let process = Path::new("/proc").join(record.pid.to_string());
    let exe = programs.of(record.pid).await;
    let cmdline = std::fs::read(process.join("cmdline"));
    // Asked last: a process that began before the connection and is still there is the one that was read.
    if !began_before(&process, record.connected_at_ns) {
        return caller;
    }
    caller.exe = exe;
    if let Ok(cmdline) = cmdline {
        let kept = &cmdline[..cmdline.len().min(MAX_CMDLINE)];
        caller.cmdline =
            kept.strip_suffix(b"\0").unwrap_or(kept).split(|&byte| byte == 0).map(lossy).collect();
    }
    caller
}

/// Whether the process is there and older than a moment of `CLOCK_MONOTONIC`.
fn began_before(process: &Path, monotonic_ns: u64) -> bool {
    let started = || {
        let stat = std::fs::read(process.join("stat")).ok()?;
        let after_name = &stat[stat.iter().rposition(|&byte| byte == b')')? + 2..];
        // Field 22; the state behind the name is field 3.
        let ticks = after_name.split(|&byte| byte == b' ').nth(22 - 3)?;
        std::str::from_utf8(ticks).ok()?.parse::<u64>().ok()
    };
    let (Some(ticks), Some(asleep)) = (started(), time_asleep_ns()) else { return false };
    ticks.saturating_mul(TICK_NANOS) <= monotonic_ns.saturating_add(asleep)
}

/// How far `CLOCK_BOOTTIME`, in which start times are given, is ahead of `CLOCK_MONOTONIC`.
fn time_asleep_ns() -> Option<u64> {
    let nanos = |clock| {
        let time = clock_gettime(clock).ok()?;
        Some(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    };
    Some(nanos(ClockId::CLOCK_BOOTTIME)?.saturating_sub(nanos(ClockId::CLOCK_MONOTONIC)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pid: u32, connected_at_ns: u64) -> Original {
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"agent");
        Original {
            address: [0; 16],
            cookie: 0,
            cgroup_id: 0,
            netns_cookie: 0,
            connected_at_ns,
            port: 0,
            family: 2,
            pid,
            uid: 7,
            gid: 7,
            comm,
        }
    }

    fn programs() -> Programs {
        Programs::new(tokio::sync::mpsc::unbounded_channel().0)
    }

    #[tokio::test]
    async fn a_living_caller_is_described_from_proc() {
        let caller = describe(&record(std::process::id(), u64::MAX / 2), &programs()).await;
        assert_eq!((caller.uid, caller.comm.as_str()), (7, "agent"));
        assert_eq!(caller.exe, std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(caller.cmdline.len(), std::env::args().count());
    }

    #[tokio::test]
    async fn a_process_that_began_after_the_connection_is_not_the_caller() {
        let caller = describe(&record(std::process::id(), 0), &programs()).await;
        assert_eq!((caller.exe.as_str(), caller.cmdline.len()), ("", 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_gone_keeps_what_the_kernel_saw() {
        let caller = describe(&record(u32::MAX, u64::MAX / 2), &programs()).await;
        assert_eq!((caller.exe.as_str(), caller.comm.as_str()), ("", "agent"));
    }
}
