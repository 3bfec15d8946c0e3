//! The first message of a TLS client, read within bounds and before any certificate is chosen.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// First byte of every TLS handshake record.
pub const HANDSHAKE_RECORD: u8 = 0x16;

/// Longest ClientHello, bytes; the largest seen in the field have post-quantum keys and are below 2 KiB.
pub const MAX_HELLO: usize = 16 << 10;

/// Why there is no ClientHello.
#[derive(Debug)]
pub enum NotTls {
    /// The socket failed or was closed.
    Socket(io::Error),
    /// The bytes are not a ClientHello we read; why.
    Unreadable(String),
}

/// Reads a ClientHello, and gives every byte that was read with it; answers an unreadable one with the alert TLS has for
/// it.
pub async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(Accepted, Vec<u8>), NotTls> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; 2048];
    let mut all = Vec::with_capacity(buffer.len());
    while all.len() < MAX_HELLO {
        let read = stream.read(&mut buffer).await.map_err(NotTls::Socket)?;
        if read == 0 {
            return Err(NotTls::Socket(io::ErrorKind::UnexpectedEof.into()));
        }
        all.extend_from_slice(&buffer[..read]);
        let mut unread = &buffer[..read];
        while !unread.is_empty() {
            acceptor.read_tls(&mut unread).map_err(NotTls::Socket)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok((accepted, all)),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // Writing to a Vec cannot fail; a client that is gone needs no alert.
                let _ = alert.write_all(&mut bytes);
                let _ = stream.write_all(&bytes).await;
                return Err(NotTls::Unreadable(format!("the TLS handshake cannot be read: {error}")));
            }
        }
    }
    Err(NotTls::Unreadable(format!("the first TLS message is longer than {MAX_HELLO} bytes")))
}
