//! The first bytes of a TLS connection: however they are cut, the name and protocols that are read are those that were
//! sent, and no more is read than the limit says.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shield_agent::flow::decrypt::hello as product;
use shield_agent::flow::http::host;

use crate::connection::Pieces;
use crate::hello::{self, Hello};

/// Most that is read at once.
const READ_SIZE: usize = 2048;

/// Takes the bytes of a connection.
pub fn check(data: &[u8]) {
    let whole = read(data, &[usize::MAX]);
    for cut in [&[1][..], &[5, usize::MAX], &[3, 40, 100, usize::MAX]] {
        assert_eq!(read(data, cut), whole, "cut into {cut:?}");
    }
    let (Some(ours), Some(sent)) = (whole, hello::read(data)) else { return };
    assert_eq!(ours.protocols, sent.protocols);
    match (&ours.name, &sent.name) {
        (Some(name), Some(sent)) => {
            // A dot at the end does not belong there and changes nothing.
            let sent = sent.strip_suffix(b".").unwrap_or(sent);
            assert!(name.eq_ignore_ascii_case(sent), "{name:?}, and {sent:?} was sent");
        }
        // An address is no name (RFC 6066, 3): as if there were none.
        (None, Some(sent)) => {
            let text = std::str::from_utf8(sent).expect("an address is text");
            assert!(text.parse::<std::net::IpAddr>().is_ok(), "{text:?} was ignored");
        }
        (name, None) => assert_eq!(*name, None),
    }
}

/// What the product reads; `None` when it refuses.
fn read(data: &[u8], cut: &[usize]) -> Option<Hello> {
    let mut stream = Pieces::new(data, cut);
    let result = pin!(product::read(&mut stream)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(result) = result else { unreachable!("a connection in memory never waits") };
    assert!(data.len() - stream.unread() <= product::MAX_HELLO + READ_SIZE, "too much was read");
    let (accepted, bytes) = result.ok()?;
    assert_eq!(bytes, data[..data.len() - stream.unread()], "what was read is not what is passed on");
    let hello = accepted.client_hello();
    let name = hello.server_name().map(|name| {
        if let Ok(canonical) = host::canonical(name) {
            assert_eq!(host::canonical(&canonical), Ok(canonical));
        }
        name.as_bytes().to_vec()
    });
    let protocols = hello.alpn().map(|protocols| protocols.map(<[u8]>::to_vec).collect());
    Some(Hello { name, protocols })
}
