//! Bodies of HTTP/1 requests: however a connection is cut, each message ends where an independent decoder says.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shield_agent::flow::http::guard::{Guard, Refused};
use shield_agent::flow::limits::HttpLimits;
use tokio::io::AsyncReadExt;

use crate::connection::{self, Pieces};
use crate::strict;

const CHUNKED: &[u8] = b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Longest input that is cut at every byte, and at how many places a longer one is.
const CUT_EVERYWHERE: usize = 48;
const CUT_PLACES: usize = 12;

/// Takes what follows the head of a chunked request.
pub fn check(data: &[u8]) {
    let bytes = [CHUNKED, data].concat();
    let expected = strict::messages(&bytes);
    let whole = guarded(&bytes, &[usize::MAX]);
    for cut in cuts(bytes.len()) {
        let (passed, refused) = guarded(&bytes, &cut);
        assert_eq!(refused.is_some(), whole.1.is_some(), "cut into {cut:?}: {refused:?}, else {:?}", whole.1);
        assert!(bytes.starts_with(&passed), "cut into {cut:?}, other bytes were handed on");
        if refused.is_none() {
            assert_eq!(passed.len(), whole.0.len(), "cut into {cut:?}");
        }
    }
    if expected.refused.is_some() {
        assert!(whole.1.is_some() || whole.0.len() < bytes.len(), "{:?} was handed on", expected.refused);
    }
    for cut in [&[usize::MAX][..], &[1], &[CHUNKED.len(), 3]] {
        let (seen, _) = connection::http1(Pieces::new(&bytes, cut));
        let bodies = seen.iter().map_while(|seen| seen.body.as_deref());
        for (number, body) in bodies.enumerate() {
            let expected = expected.bodies.get(number).map(Vec::as_slice);
            assert_eq!(Some(body), expected, "body {number}, cut into {cut:?}");
        }
        if expected.refused.is_none() && whole.1.is_none() && cut == [usize::MAX] {
            assert!(seen.iter().filter(|seen| seen.body.is_some()).count() >= expected.bodies.len().min(1));
        }
    }
}

/// Ways to cut: everywhere in two, or at some places when that are too many; and into small pieces.
fn cuts(length: usize) -> Vec<Vec<usize>> {
    let begin = CHUNKED.len() - 2;
    let cut = length - begin;
    let stride = if cut <= CUT_EVERYWHERE { 1 } else { cut.div_ceil(CUT_PLACES) };
    let twos = (begin..length).step_by(stride).map(|at| vec![at, usize::MAX]);
    let threes = (begin..length).step_by(stride * 8).map(|at| vec![at, 1, usize::MAX]);
    twos.chain(threes).chain([vec![1], vec![2], vec![3], vec![7], vec![begin, 1]]).collect()
}

/// What the guard hands on, and why it stopped if it refused.
fn guarded(bytes: &[u8], cut: &[usize]) -> (Vec<u8>, Option<Refused>) {
    let mut guard = Guard::new(Pieces::new(bytes, cut), None, HttpLimits::default());
    let mut passed = Vec::new();
    let read = pin!(guard.read_to_end(&mut passed)).poll(&mut Context::from_waker(Waker::noop()));
    // It waits only behind an offer of another protocol, when what follows is more than it looks at.
    assert!(matches!(read, Poll::Ready(Ok(_)) | Poll::Pending));
    let (_, _, refused) = guard.into_parts();
    (passed, refused)
}
