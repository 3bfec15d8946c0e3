//! See the module above.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The usual longest head.
const MAX_HEAD: usize = 64 << 10;

/// Writes `bytes` in parts of `step` and returns what came through and why it stopped.
async fn through(bytes: &[u8], step: usize) -> (Vec<u8>, Option<Refused>) {
    let (mut sender, receiver) = tokio::io::duplex(step);
    let bytes = bytes.to_vec();
    let writer = tokio::spawn(async move {
        // The guard may hang up before everything is written.
        let _ = sender.write_all(&bytes).await;
    });
    let mut guard = Guard::new(receiver, None, HttpLimits::default());
    let mut passed = Vec::new();
    guard.read_to_end(&mut passed).await.unwrap();
    let (stream, _, refused) = guard.into_parts();
    drop(stream);
    writer.await.unwrap();
    (passed, refused)
}

#[tokio::test]
async fn clear_messages_pass_byte_for_byte_however_they_are_cut() {
    let pipeline = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: a\r\n\r\n";
    for step in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(through(pipeline, step).await, (pipeline.to_vec(), None), "cut into {step}");
    }
}

#[tokio::test]
async fn behind_an_offer_of_another_protocol_nothing_is_handed_on_and_nothing_lost() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    let sent = format!("{head}GET /smuggled HTTP/1.1\r\n");
    for step in [1, 7, 4096] {
        let (mut sender, receiver) = tokio::io::duplex(step);
        let bytes = sent.clone().into_bytes();
        let writer = tokio::spawn(async move { sender.write_all(&bytes).await });
        let mut guard = Guard::new(receiver, None, HttpLimits::default());
        let mut passed = Vec::new();
        guard.read_to_end(&mut passed).await.unwrap();
        writer.await.unwrap().unwrap();
        let (_, rest, refused) = guard.into_parts();
        assert_eq!(String::from_utf8(passed).unwrap(), head, "cut into {step}");
        assert_eq!((&rest[..], refused), (&sent.as_bytes()[head.len()..], None));
    }
}

#[tokio::test]
async fn what_is_not_http_is_given_back_whole() {
    let mut guard = Guard::new(&b"SSH-2.0-x\r\nmore"[..], None, HttpLimits::default());
    assert_eq!(guard.read(&mut [0; 9]).await.unwrap(), 0);
    let (_, rest, refused) = guard.into_parts();
    assert_eq!((&rest[..], refused.unwrap().why), (&b"SSH-2.0-x\r\nmore"[..], Unclear::NotHttp));
}

#[tokio::test]
async fn of_an_unclear_message_that_arrives_whole_nothing_passes() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        format!("{chunked}3;x=y\r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}3 \r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}0x3\r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}+3\r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}\r\nabc\r\n0\r\n\r\n"),
        format!("{chunked}3\nabc\r\n0\r\n\r\n"),
        format!("{chunked}3\r\nabcd\r\n0\r\n\r\n"),
        format!("{chunked}3\r\nabc\n0\r\n\r\n"),
        format!("{chunked}0\r\nX-Trailer: 1\r\n\r\n"),
        format!("{chunked}0\r\n\rX"),
        format!("{chunked}fffffffffffffffff\r\n"),
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: a\n\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
    ];
    for case in cases {
        let (passed, refused) = through(case.as_bytes(), 4096).await;
        assert_eq!(String::from_utf8_lossy(&passed), "", "{case:?}");
        assert!(!refused.expect("refused").under_way, "{case:?}");
    }
}

#[tokio::test]
async fn a_message_that_goes_bad_under_way_says_so() {
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX";
    let (passed, refused) = through(bytes, 3).await;
    assert!(passed.starts_with(b"POST / HTTP/1.1\r\n"));
    assert!(refused.expect("refused").under_way);
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let mut bytes = b"GET / HTTP/1.1\r\nX: ".to_vec();
    bytes.resize(MAX_HEAD + READ_SIZE, b'a');
    let (passed, refused) = through(&bytes, 4096).await;
    assert!(passed.is_empty());
    assert_eq!(refused.expect("refused").why, Unclear::TooLong(MAX_HEAD));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_wherever_its_reads_end() {
    for longer in [0, 1, 4096] {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        bytes.resize(MAX_HEAD + longer - 4, b'a');
        bytes.extend(b"\r\n\r\n");
        let (passed, refused) = through(&bytes, bytes.len()).await;
        let why = refused.map(|refused| refused.why);
        assert_eq!(why, (longer > 0).then_some(Unclear::TooLong(MAX_HEAD)), "{longer} bytes too long");
        assert_eq!(passed.is_empty(), longer > 0);
    }
}
