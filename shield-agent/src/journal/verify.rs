//! Whether the journal is whole: every record is walked from the first, and every hash computed again.
//!
//! It finds what was changed, removed, inserted or exchanged, and names the first record that is not as it was written.
//! It cannot find that records are missing at the end, nor that all hashes were computed anew: that takes a head kept
//! elsewhere. It changes nothing.

use super::chain::{Head, Link};
use super::read::{JournalReader, ReadError, StoredRow};

/// Records in memory at a time.
const PAGE: u32 = 1000;

/// A chain without a flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// How many records there are.
    pub records: u64,
    /// Where the chain ends.
    pub head: Head,
}

/// Why a journal is not known to be whole.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not whole.
    #[error("record {seq} {flaw}: the journal is not as it was written from there on")]
    Broken {
        /// The first record that is not as it was written.
        seq: i64,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The file cannot be read, or is no store.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The file is damaged.
    #[error("the {good} records before are whole, the next cannot be read")]
    Unreadable {
        /// Records that are as they were written.
        good: u64,
        /// Why the next cannot be read.
        source: ReadError,
    },
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// Numbers begin at 1.
    #[error("was inserted before the first")]
    BeforeFirst,
    /// A column is no text any more.
    #[error("was changed: its {0} is not text")]
    NotText(&'static str),
    /// It follows another record than the one before it.
    #[error("was changed, inserted or moved: it does not follow the record before it")]
    Unlinked,
    /// Its content is not what its hash was computed from.
    #[error("was changed: its content and its hash differ")]
    Altered,
}

/// Walks the whole chain, as far as it reaches now.
pub async fn verify(journal: &mut JournalReader) -> Result<Whole, VerifyError> {
    let unreadable = |good| move |source| VerifyError::Unreadable { good, source };
    // A writer may go on meanwhile: records that come later are for the next time.
    let upto = journal.newest().await?;
    let (mut head, mut records, mut first) = (Head::default(), 0, i64::MIN);
    loop {
        let rows = journal.rows(first, upto, PAGE).await.map_err(unreadable(records))?;
        let Some(last) = rows.last() else { return Ok(Whole { records, head }) };
        first = last.seq.saturating_add(1);
        for row in &rows {
            head = follow(head, row)?;
            records += 1;
        }
        if last.seq == upto {
            return Ok(Whole { records, head });
        }
    }
}

/// The head after one more record, when that record belongs there.
fn follow(head: Head, row: &StoredRow) -> Result<Head, VerifyError> {
    let seq = head.seq + 1;
    let broken = |seq, flaw| Err(VerifyError::Broken { seq, flaw });
    if row.seq > seq {
        return broken(seq, Flaw::Missing);
    }
    if row.seq < seq {
        return broken(row.seq, Flaw::BeforeFirst);
    }
    let hash = match computed(row, &head.hash) {
        Ok(hash) => hash,
        Err(flaw) => return broken(seq, flaw),
    };
    match (row.prev == head.hash, row.hash == hash) {
        (true, true) => Ok(Head { seq, hash }),
        (false, _) => broken(seq, Flaw::Unlinked),
        (true, false) => broken(seq, Flaw::Altered),
    }
}

fn computed(row: &StoredRow, prev: &[u8; 32]) -> Result<[u8; 32], Flaw> {
    let link = Link {
        seq: row.seq,
        at: row.at,
        kind: text(&row.kind, "kind")?,
        agent: row.agent.as_deref().map(|agent| text(agent, "agent")).transpose()?,
        subject: row.subject.as_deref().map(|subject| text(subject, "subject")).transpose()?,
        verdict: row.verdict.as_deref().map(|verdict| text(verdict, "verdict")).transpose()?,
        body: text(&row.body, "body")?,
    };
    Ok(link.hash(prev))
}

fn text<'a>(bytes: &'a [u8], column: &'static str) -> Result<&'a str, Flaw> {
    std::str::from_utf8(bytes).map_err(|_| Flaw::NotText(column))
}

#[cfg(test)]
pub(super) mod tests;
