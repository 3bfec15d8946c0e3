//! Certificates no upstream may have, each made and served here: the worker refuses it in plain words, and nothing of
//! the request leaves.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::world::{Origin, World};

/// What a server has: the root to trust, its chain, its key.
type Served = (CertificateDer<'static>, Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>);

/// An authority, or a root's middleman.
type Issuer = CertifiedIssuer<'static, KeyPair>;

const NAME: &str = "shop.acme.example";

#[tokio::test]
async fn a_good_chain_passes_so_that_a_refusal_means_something() {
    for (what, name, served) in [
        ("one below the root", NAME, leaf(NAME, |_| {})),
        ("with one in between", NAME, below(|_| {}, |_| {})),
        ("a wildcard for one label", NAME, leaf("*.acme.example", |_| {})),
        ("an address", "127.0.0.1", leaf("127.0.0.1", |_| {})),
        ("names within what its authority may sign", NAME, below(constrained("acme.example"), |_| {})),
    ] {
        let (status, told, arrived) = ask(name, served).await;
        assert!(status == 200 && arrived, "{what}: {told}");
    }
}

#[tokio::test]
async fn certificates_of_another_time_are_refused() {
    let past = rcgen::date_time_ymd(2001, 1, 1);
    let future = rcgen::date_time_ymd(2999, 1, 1);
    let expired = move |leaf: &mut CertificateParams| leaf.not_after = past;
    let early = move |leaf: &mut CertificateParams| leaf.not_before = future;
    refused("expired", NAME, leaf(NAME, expired), "has expired").await;
    refused("not valid yet", NAME, leaf(NAME, early), "not valid yet").await;
    refused("below one that expired", NAME, below(expired, |_| {}), "has expired").await;
    refused("below one not valid yet", NAME, below(early, |_| {}), "not valid yet").await;
}

#[tokio::test]
async fn certificates_for_other_names_are_refused() {
    let other = "for another name";
    let common_name_alone = |leaf: &mut CertificateParams| {
        leaf.subject_alt_names.clear();
        leaf.distinguished_name.push(DnType::CommonName, NAME);
    };
    let nameless = |leaf: &mut CertificateParams| {
        leaf.subject_alt_names.clear();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
    };
    let address_as_common_name = |leaf: &mut CertificateParams| {
        leaf.subject_alt_names.clear();
        leaf.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    };
    let address_as_name = |leaf: &mut CertificateParams| {
        leaf.subject_alt_names = vec![SanType::DnsName("127.0.0.1".try_into().unwrap())];
    };
    for (what, name, served) in [
        ("another host", NAME, leaf("elsewhere.example", |_| {})),
        ("the domain above", NAME, leaf("acme.example", |_| {})),
        ("a name that begins alike", NAME, leaf("shop.acme.example.evil.example", |_| {})),
        ("a name in the common name alone", NAME, leaf(NAME, common_name_alone)),
        ("no name at all", NAME, leaf(NAME, nameless)),
        ("a wildcard for two labels", "a.b.acme.example", leaf("*.acme.example", |_| {})),
        ("a wildcard for the domain itself", "acme.example", leaf("*.acme.example", |_| {})),
        ("a wildcard for everything below .example", "acme.example", leaf("*.example", |_| {})),
        ("a wildcard for everything", "acme.example", leaf("*", |_| {})),
        ("a part of a label as wildcard", NAME, leaf("s*.acme.example", |_| {})),
        ("a wildcard within the name", NAME, leaf("shop.*.example", |_| {})),
        ("another address", "127.0.0.1", leaf("127.0.0.2", |_| {})),
        ("a name for an address", "127.0.0.1", leaf("localhost", |_| {})),
        ("an address spelled as a name", "127.0.0.1", leaf(NAME, address_as_name)),
        ("an address in the common name alone", "127.0.0.1", leaf(NAME, address_as_common_name)),
    ] {
        refused(what, name, served, other).await;
    }
}

#[tokio::test]
async fn certificates_nobody_trusted_vouches_for_are_refused() {
    let untrusted = "not signed by a trusted authority";
    let stranger = root(|_| {}).der().clone();
    let (_, chain, key) = leaf(NAME, |_| {});
    refused("an unknown root", NAME, (stranger.clone(), chain, key), untrusted).await;

    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let served = (stranger.clone(), vec![own.der().clone()], key.serialize_der().into());
    refused("signed by itself", NAME, served, untrusted).await;

    let (trusted, mut chain, key) = below(|_| {}, |_| {});
    chain.truncate(1);
    refused("an incomplete chain", NAME, (trusted, chain, key), untrusted).await;

    let (_, mut chain, key) = below(|_| {}, |_| {});
    let impostor = root(|_| {});
    chain.push(impostor.der().clone());
    refused("an unknown root that comes along", NAME, (stranger, chain, key), untrusted).await;

    let (trusted, chain, key) = leaf(NAME, |_| {});
    let mut forged = chain[0].to_vec();
    *forged.last_mut().unwrap() ^= 1;
    refused("changed after it was signed", NAME, (trusted, vec![forged.into()], key), "signature").await;
}

#[tokio::test]
async fn certificates_used_for_what_they_are_not_for_are_refused() {
    let client_only =
        |leaf: &mut CertificateParams| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let authority = |leaf: &mut CertificateParams| {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        leaf.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    let no_authority = |middle: &mut CertificateParams| middle.is_ca = IsCa::ExplicitNoCa;
    let unknown = |leaf: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        leaf.custom_extensions.push(extension);
    };
    let cannot = "cannot be verified";
    refused("for clients", NAME, leaf(NAME, client_only), "not for servers").await;
    refused("an authority's own", NAME, leaf(NAME, authority), cannot).await;
    refused("below one that is no authority", NAME, below(no_authority, |_| {}), cannot).await;
    refused("below an authority for clients", NAME, below(client_only, |_| {}), "not for servers").await;
    refused("below one too many", NAME, too_deep(), cannot).await;
    refused("a name its authority may not sign", NAME, below(constrained("other.example"), |_| {}), cannot)
        .await;
    refused("a critical extension nobody knows", NAME, leaf(NAME, unknown), cannot).await;

    let (trusted, chain, _) = leaf(NAME, |_| {});
    let not_its_key = KeyPair::generate().unwrap().serialize_der().into();
    refused("another's, without its key", NAME, (trusted, chain, not_its_key), "failed").await;
}

/// Asks a worker for `name` at a server that has this; gives the answer, and whether the request arrived.
async fn ask(name: &str, (root, chain, key): Served) -> (u16, String, bool) {
    let origin = Origin::certified(root, chain, key).await;
    let world = World::start(&origin.root).await;
    let host = format!("{name}:{}", origin.address.port());
    let got = world.https_as(origin.address, name).await.send("POST", &host, "/", "secret").await;
    let arrived = !origin.is_quiet().await;
    let outcome = world.approver.outcome().await;
    assert_eq!(outcome.error.is_some(), !arrived, "the journal knows better: {outcome:?}");
    (got.status, got.text().to_owned(), arrived)
}

async fn refused(what: &str, name: &str, served: Served, reason: &str) {
    let (status, told, arrived) = ask(name, served).await;
    assert_eq!(status, 502, "{what}: {told}");
    assert!(!arrived, "{what}: the request left");
    assert!(told.contains(&format!("the TLS connection to {name} failed")), "{what}: {told}");
    assert!(told.contains(reason) && told.contains("NOT been executed"), "{what}: {told}");
}

fn authority(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    // Without a name of its own it would be taken for another one.
    params.distinguished_name.push(DnType::CommonName, ulid::Ulid::new().to_string());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    params
}

fn root(change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    CertifiedIssuer::self_signed(authority(change), KeyPair::generate().unwrap()).unwrap()
}

fn middle(above: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    CertifiedIssuer::signed_by(authority(change), KeyPair::generate().unwrap(), above).unwrap()
}

fn end(name: &str, above: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    (params.signed_by(&key, above).unwrap().der().to_vec(), key)
}

/// A certificate for `name` right below a trusted root.
fn leaf(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Served {
    let root = root(|_| {});
    let (leaf, key) = end(name, &root, change);
    (root.der().clone(), vec![leaf.into()], key.serialize_der().into())
}

/// A certificate with one between it and the root.
fn below(
    change_middle: impl FnOnce(&mut CertificateParams),
    change_leaf: impl FnOnce(&mut CertificateParams),
) -> Served {
    let root = root(|_| {});
    let middle = middle(&root, change_middle);
    let (leaf, key) = end(NAME, &middle, change_leaf);
    (root.der().clone(), vec![leaf.into(), middle.der().clone()], key.serialize_der().into())
}

/// Below an authority that may have none below it.
fn too_deep() -> Served {
    let root = root(|_| {});
    let last = middle(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let further = middle(&last, |_| {});
    let (leaf, key) = end(NAME, &further, |_| {});
    let chain = vec![leaf.into(), further.der().clone(), last.der().clone()];
    (root.der().clone(), chain, key.serialize_der().into())
}

/// An authority that may sign names below `domain` alone.
fn constrained(domain: &str) -> impl FnOnce(&mut CertificateParams) {
    let permitted_subtrees = vec![GeneralSubtree::DnsName(domain.to_owned())];
    move |params| {
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    }
}
