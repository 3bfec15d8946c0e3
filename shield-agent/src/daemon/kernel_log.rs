//! What the hooks of one gate say in words, for who works on them: in builds with the feature `ebpf-log` only.

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Says in our log what the hooks say, until it is dropped.
pub(super) async fn pass_on(log: EbpfLogger<AsTracing>) {
    // SAFETY: the logger owns its descriptor, gives no other out, and closes it when it is dropped.
    let log = unsafe { AsyncFd::register_with_interest(log, Interest::READABLE) };
    let Ok(mut log) = log else { return };
    while let Ok(mut ready) = log.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

/// The daemon's own log.
pub(super) struct AsTracing;

impl Log for AsTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let place = record.file().zip(record.line()).map(|(file, line)| format!("{file}:{line}"));
        tracing::debug!(hook = place.unwrap_or_default(), "{}", record.args());
    }

    fn flush(&self) {}
}
