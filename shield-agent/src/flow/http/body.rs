//! A request's body as far as it has to be known before anything is decided.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::flow::policy::verdict::BodyView;
use crate::names::Digest;

/// See the module.
pub enum Intake {
    /// Not read, or only its first part: it streams.
    Streaming {
        /// The first part, when it was waited for.
        first: Option<Bytes>,
        /// The rest.
        rest: Incoming,
    },
    /// All of it.
    Whole(Bytes),
    /// Longer than the limit.
    TooLong {
        /// What was read: at least the limit.
        beginning: Bytes,
        /// The rest.
        rest: Incoming,
    },
}

/// Why a body cannot be waited for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenBody {
    /// It broke off, is ambiguously framed or ends in trailers.
    #[error("the request's body broke off or is ambiguous")]
    Ambiguous,
    /// Nothing of it came for so long.
    #[error("nothing of the request's body came for {0:?}")]
    Silent(Duration),
}

impl Intake {
    /// Takes a body as it is; with `wait_for_first`, its first part is read so that a body which cannot be read at all
    /// is noticed before anything is sent.
    pub async fn streaming(
        mut body: Incoming,
        wait_for_first: bool,
        silence: Duration,
    ) -> Result<Self, BrokenBody> {
        if body.is_end_stream() {
            return Ok(Self::Whole(Bytes::new()));
        }
        let first = if wait_for_first { next(&mut body, silence).await? } else { None };
        Ok(if wait_for_first && first.is_none() {
            Self::Whole(Bytes::new())
        } else {
            Self::Streaming { first, rest: body }
        })
    }

    /// Reads a body to its end, or until it is longer than `limit`.
    pub async fn read(self, limit: u64, silence: Duration) -> Result<Self, BrokenBody> {
        let Self::Streaming { first, mut rest } = self else { return Ok(self) };
        let mut whole = BytesMut::from(first.unwrap_or_default());
        loop {
            if whole.len() as u64 > limit {
                return Ok(Self::TooLong { beginning: whole.freeze(), rest });
            }
            match next(&mut rest, silence).await? {
                Some(data) => whole.extend_from_slice(&data),
                None => return Ok(Self::Whole(whole.freeze())),
            }
        }
    }

    /// What policy may look at.
    pub fn view(&self) -> BodyView<'_> {
        match self {
            Self::Streaming { .. } => BodyView::NotRead,
            Self::Whole(body) => BodyView::Whole(body),
            Self::TooLong { beginning, .. } => BodyView::Truncated(beginning),
        }
    }

    /// What classification may look at.
    pub fn known(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(body) => Some(body),
            Self::Streaming { .. } | Self::TooLong { .. } => None,
        }
    }

    /// The digest of the whole body; `None` when it streams.
    pub fn digest(&self) -> Option<Digest> {
        self.known().map(Digest::of)
    }

    /// What was read of it.
    pub fn beginning(&self) -> &[u8] {
        match self {
            Self::Streaming { first, .. } => first.as_deref().unwrap_or_default(),
            Self::Whole(body) => body,
            Self::TooLong { beginning, .. } => beginning,
        }
    }

    /// What was not.
    pub fn rest(&self) -> Option<&Incoming> {
        match self {
            Self::Whole(_) => None,
            Self::Streaming { rest, .. } | Self::TooLong { rest, .. } => Some(rest),
        }
    }
}

async fn next(body: &mut Incoming, silence: Duration) -> Result<Option<Bytes>, BrokenBody> {
    match timeout(silence, body.frame()).await.map_err(|_| BrokenBody::Silent(silence))? {
        None => Ok(None),
        Some(Ok(frame)) => frame.into_data().map(Some).map_err(|_trailers| BrokenBody::Ambiguous),
        Some(Err(_)) => Err(BrokenBody::Ambiguous),
    }
}
