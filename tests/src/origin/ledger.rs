//! What really arrived at the origin: the judge of every "exactly once" and "never".

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use sha2::Digest as _;

/// One request as the origin received it, entered when its head arrived.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The connection it came on.
    pub connection: u64,
    /// HTTP version as the origin saw it.
    pub version: http::Version,
    /// Method.
    pub method: String,
    /// Host it was sent to.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The body; `None` while it has not arrived as a whole.
    pub body: Option<Bytes>,
}

impl Receipt {
    /// SHA-256 of the body in hex.
    pub fn sha256(&self) -> String {
        hex(&sha2::Sha256::digest(self.body.as_deref().unwrap_or_default()))
    }
}

/// All receipts, in order of arrival. Clones share one ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<Receipt>>>);

impl Ledger {
    /// Everything that arrived.
    pub fn all(&self) -> Vec<Receipt> {
        self.entries().clone()
    }

    /// What arrived with this method for this path (without its query).
    pub fn of(&self, method: &str, path: &str) -> Vec<Receipt> {
        let mut receipts = self.all();
        receipts.retain(|receipt| {
            receipt.method == method && receipt.target.split('?').next().is_some_and(|target| target == path)
        });
        receipts
    }

    pub(super) fn enter(&self, receipt: Receipt) -> usize {
        let mut entries = self.entries();
        entries.push(receipt);
        entries.len() - 1
    }

    pub(super) fn complete(&self, entry: usize, body: Bytes) {
        self.entries()[entry].body = Some(body);
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.0.lock().expect("no holder of the ledger panics")
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
