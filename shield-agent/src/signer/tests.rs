//! The signer as the worker and the agent's TLS client see it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

#[test]
fn a_leaf_is_accepted_for_its_name_for_at_most_a_day_and_for_nothing_else() {
    let (_directory, authority) = authority();
    let now = SystemTime::now();
    let long = format!("{}.example", ["a".repeat(60).as_str(); 3].join("."));
    for name in ["crm.acme.internal", "localhost", "192.0.2.7", "2001:db8::1", &long] {
        let leaf = authority.sign(name, &leaf_key(), now).unwrap();
        let verified = |name: &str, at: SystemTime| verify(&authority, &leaf, name, at);
        assert_eq!(verified(name, now), Ok(()), "{name}");
        assert_eq!(verified(name, now - Duration::from_mins(59)), Ok(()), "{name}");
        assert!(verified(name, now + Duration::from_mins(23 * 60 + 1)).is_err(), "{name} outlived its day");
        assert!(verified(name, now - Duration::from_mins(61)).is_err(), "{name} began too early");
        assert!(verified("other.example", now).is_err(), "{name} was accepted for another name");
    }
}

#[test]
fn a_leaf_can_not_sign_and_no_two_share_a_serial() {
    let (_directory, authority) = authority();
    let key = leaf_key();
    let mut serials = std::collections::HashSet::new();
    for _ in 0..100 {
        let leaf = authority.sign("a.example", &key, SystemTime::now()).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        assert!(!leaf.is_ca());
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert!(serials.insert(leaf.raw_serial().to_vec()));
    }
}

#[test]
fn a_name_no_certificate_can_be_issued_for_is_refused() {
    let (_directory, authority) = authority();
    let names =
        ["", "*.example.com", "Example.com", "a..b", "a.example.", "a b", "ü.example", "[::1]", "1.2.3"];
    for name in names.into_iter().chain(["2001:DB8::1", "::ffff:192.0.2.7", "a\0.example", "x@y", "127.1"]) {
        let refused = authority.sign(name, &leaf_key(), SystemTime::now());
        assert_eq!(refused, Err(SignRefused::BadName(name.into())));
    }
    assert_eq!(authority.sign("a.example", b"not a key", SystemTime::now()), Err(SignRefused::BadKey));
}

#[test]
fn the_ca_is_made_once_and_its_key_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("ca");
    let first = Authority::load_or_create(&place).unwrap();
    let again = Authority::load_or_create(&place).unwrap();
    assert_eq!(first.certificate(), again.certificate());
    let leaf = again.sign("a.example", &leaf_key(), SystemTime::now()).unwrap();
    assert_eq!(verify(&first, &leaf, "a.example", SystemTime::now()), Ok(()));

    let mode = |name: &str| fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("ca.key"), mode("ca.pem")), (0o700, 0o600, 0o644));
    let mut kept: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["ca.key", "ca.pem"]);
}

#[test]
fn a_crash_while_making_the_ca_is_mended_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ca.new"), "half a k").unwrap();
    Authority::load_or_create(directory.path()).unwrap();
    let key = fs::read(directory.path().join("ca.key")).unwrap();
    fs::remove_file(directory.path().join("ca.pem")).unwrap();
    Authority::load_or_create(directory.path()).unwrap();
    assert_eq!(fs::read(directory.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_ca_that_is_not_ours_is_refused() {
    let (directory, _authority) = authority();
    let (key, certificate) = (directory.path().join("ca.key"), directory.path().join("ca.pem"));
    let (elsewhere, _other) = authority();
    let load = || Authority::load_or_create(directory.path());

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(load(), Err(AuthorityError::Exposed { mode: 0o640, .. })));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    fs::copy(elsewhere.path().join("ca.pem"), &certificate).unwrap();
    assert!(matches!(load(), Err(AuthorityError::NotOurs { .. })));
    fs::write(&key, "nonsense").unwrap();
    assert!(matches!(load(), Err(AuthorityError::NotOurs { .. })));
}

#[tokio::test]
async fn questions_are_answered_in_order_until_the_limit_and_until_the_worker_leaves() {
    let (_directory, authority) = authority();
    let (mut worker, signer) = tokio::io::duplex(1 << 16);
    let served = tokio::spawn(async move { serve(signer, &authority, 2).await });
    let mut answers = Vec::new();
    for id in 0..3 {
        let question = SignLeaf { id, name: "a.example".into(), public_key: leaf_key() };
        frame::write(&mut worker, &question).await.unwrap();
        let answer: LeafSigned = frame::read(&mut worker).await.unwrap();
        assert_eq!(answer.id, id);
        answers.push(answer.certificate.map(|_| ()));
    }
    assert_eq!(answers, [Ok(()), Ok(()), Err(SignRefused::RateLimited(2))]);
    drop(worker);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_question_longer_than_any_name_and_key_ends_the_channel() {
    let (_directory, authority) = authority();
    let (mut worker, signer) = tokio::io::duplex(1 << 16);
    let question = SignLeaf { id: 1, name: "a".repeat(MAX_QUESTION), public_key: leaf_key() };
    frame::write(&mut worker, &question).await.unwrap();
    let ended = serve(signer, &authority, 50).await;
    assert!(matches!(ended, Err(FrameError::TooLong(..))));
}

fn authority() -> (tempfile::TempDir, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(directory.path()).unwrap();
    (directory, authority)
}

fn leaf_key() -> Vec<u8> {
    KeyPair::generate().unwrap().subject_public_key_info()
}

/// Whether a client that trusts the authority accepts the leaf for the name at that time.
fn verify(authority: &Authority, leaf: &[u8], name: &str, at: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(&CertificateDer::from(leaf), &[], &name, &[], at).map(|_| ())
}
