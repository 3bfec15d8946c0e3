//! Whom we trust is asked again for every connection.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Trust;

const NAME: &str = "shop.acme.example";

#[tokio::test]
async fn a_server_is_verified_on_every_connection_whatever_tickets_it_gave() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = signing_key.serialize_der().try_into().unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], rustls::pki_types::PrivateKeyDer::clone_key(&key))
            .unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let trust = Trust::new(&[cert.der().to_vec()], &[], &provider).unwrap();
        for number in ["first", "second"] {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let accepting = async {
                let mut stream = acceptor.accept(theirs).await.unwrap();
                stream.write_all(b"!").await.unwrap();
            };
            let connecting = async {
                let connector = trust.connector(NAME, true);
                let mut stream = connector.connect(NAME.try_into().unwrap(), ours).await.unwrap();
                // Tickets come before what the server says first.
                stream.read_u8().await.unwrap();
                stream.get_ref().1.handshake_kind().unwrap()
            };
            let ((), kind) = tokio::join!(accepting, connecting);
            assert_ne!(kind, HandshakeKind::Resumed, "the {number} connection with {version:?}");
        }
    }
}
