//! Hosts with roots, lists of revocations or an identity of their own.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::world::{Origin, World};
use crate::flow::policy::host::HostPattern;
use crate::ipc::worker::{HostTrust, Identity};

const PRIVATE: &str = "vault.acme.internal";
const PUBLIC: &str = "shop.example";

type Served = (CertificateDer<'static>, Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

#[tokio::test]
async fn private_roots_are_trusted_for_their_hosts_and_for_no_others_and_alone() {
    let (usual, own) = (authority(), authority());
    let host = HostTrust { roots: vec![own.der().to_vec()], ..below_acme() };
    for (name, by, expected) in [
        (PRIVATE, &own, Ok(())),
        (PUBLIC, &usual, Ok(())),
        (PRIVATE, &usual, Err("not signed by a trusted authority")),
        (PUBLIC, &own, Err("not signed by a trusted authority")),
    ] {
        let (root, chain, key) = signed(name, by, 1);
        let origin = Origin::certified(root, chain, key).await;
        ask(&origin, &usual, &host, name, expected).await;
    }
}

#[tokio::test]
async fn an_identity_is_shown_to_its_hosts_and_to_no_others() {
    let (usual, clients) = (authority(), authority());
    let (_, chain, key) = signed("bot.example", &clients, 1);
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    let identity = Some(Identity { chain, key: key.secret_pkcs8_der().to_vec() });
    let host = HostTrust { identity, ..below_acme() };
    for (name, expected) in [(PRIVATE, Ok(())), (PUBLIC, Err(""))] {
        let origin = Origin::for_known_clients(clients.der().clone(), signed(name, &usual, 1)).await;
        ask(&origin, &usual, &host, name, expected).await;
    }
}

#[tokio::test]
async fn a_certificate_that_was_revoked_or_that_no_list_covers_is_refused() {
    let usual = authority();
    for (serial, list, expected) in [
        (1, list(&usual, 2999), Ok(())),
        (2, list(&usual, 2999), Err("was revoked")),
        (1, list(&usual, 2001), Err("out of date")),
        (1, list(&authority(), 2999), Err("no list")),
    ] {
        let (root, chain, key) = signed(PRIVATE, &usual, serial);
        let origin = Origin::certified(root, chain, key).await;
        ask(&origin, &usual, &HostTrust { crls: vec![list], ..below_acme() }, PRIVATE, expected).await;
    }
}

/// Asks a worker for something at a host: it passes, or is refused for a reason and does not arrive.
async fn ask(origin: &Origin, usual: &Issuer, host: &HostTrust, name: &str, expected: Result<(), &str>) {
    let world = World::with(usual.der(), |config| config.upstream_hosts = vec![host.clone()]).await;
    let authority = format!("{name}:{}", origin.address.port());
    let got = world.https_as(origin.address, name).await.send("POST", &authority, "/", "secret").await;
    match expected {
        Ok(()) => assert_eq!(got.status, 200, "{name}: {}", got.text()),
        Err(reason) => {
            assert_eq!(got.status, 502, "{name}: {}", got.text());
            assert!(got.text().contains(reason), "{name}: {}", got.text());
            assert!(origin.is_quiet().await, "{name}: the request arrived");
        }
    }
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn below_acme() -> HostTrust {
    HostTrust { host: vec![HostPattern::parse("*.acme.internal").unwrap()], ..HostTrust::default() }
}

fn authority() -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, ulid::Ulid::new().to_string());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed(name: &str, by: &Issuer, serial: u64) -> Served {
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    leaf.serial_number = Some(SerialNumber::from(serial));
    let leaf = leaf.signed_by(&key, by).unwrap();
    (by.der().clone(), vec![leaf.der().clone()], key.serialize_der().into())
}

/// A list, good until a year, that revokes number 2.
fn list(by: &Issuer, until: i32) -> Vec<u8> {
    let since = rcgen::date_time_ymd(2000, 1, 1);
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(2_u64),
        revocation_time: since,
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: since,
        next_update: rcgen::date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(by).unwrap().der().to_vec()
}
