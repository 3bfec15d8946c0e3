//! How much questions may carry: what `dns:` in the configuration says, and which part of it a name exceeds by its form.
//!
//! The usual values are those no ordinary program meets; see docs/reference/configuration.md for what they are chosen by.

use hickory_proto::rr::RecordType;
use serde::{Deserialize, Serialize};

/// Types of records programs need to find and to name hosts.
pub const USUAL_TYPES: [RecordType; 8] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::PTR,
    RecordType::SRV,
    RecordType::SVCB,
];

/// `dns:` but for where questions go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Numbers of the types of records that may be asked for.
    pub types: Vec<u16>,
    /// Longest name, in letters.
    pub max_name: usize,
    /// Longest label, in letters.
    pub max_label: usize,
    /// Most labels of a name.
    pub max_labels: usize,
    /// Questions of one agent in a second; ten times that at once.
    pub questions_per_second: u32,
    /// Names not asked before, below one parent, in a minute.
    pub new_names_per_minute: u32,
    /// What these names may say, in bytes.
    pub new_bytes_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            types: USUAL_TYPES.map(u16::from).to_vec(),
            max_name: 190,
            max_label: 63,
            max_labels: 20,
            questions_per_second: 100,
            new_names_per_minute: 100,
            new_bytes_per_minute: 2048,
        }
    }
}

impl Limits {
    /// Why a question is never asked, however seldom; `None` when it may be.
    pub(super) fn exceeded(&self, kind: RecordType, name: &str) -> Option<String> {
        if !self.types.contains(&kind.into()) {
            return Some(format!("{kind} records are not asked for: dns.types"));
        }
        // Addresses have one spelling as names, and what they say is counted like any other name.
        if kind == RecordType::PTR {
            return None;
        }
        let longest = name.split('.').map(str::len).max().unwrap_or_default();
        let exceeded = [
            (name.len(), self.max_name, "letters in a name", "max_name"),
            (longest, self.max_label, "letters in a label", "max_label"),
            (name.split('.').count(), self.max_labels, "labels", "max_labels"),
        ];
        let (_, most, of_what, key) = exceeded.into_iter().find(|(found, most, ..)| found > most)?;
        Some(format!("more than {most} {of_what}: dns.{key}"))
    }
}

/// The domain a name belongs to, as far as its spelling tells: who runs that sees all names below it.
pub(super) fn parent(name: &str) -> &str {
    /// What registries of countries sell names below.
    const SECOND_LEVELS: [&str; 13] =
        ["ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "nic", "or", "org"];
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else { return name };
    let of_a_country = name.len() - last == 3;
    if of_a_country && SECOND_LEVELS.contains(&&name[second + 1..last]) {
        return dots.next().map_or(name, |third| &name[third + 1..]);
    }
    &name[second + 1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_what_somebody_registered() {
        for (name, expected) in [
            ("bucket.s3.eu-west-1.amazonaws.com", "amazonaws.com"),
            ("crm.acme.internal", "acme.internal"),
            ("acme.internal", "acme.internal"),
            ("db", "db"),
            ("a.b.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("a.b.t.co", "t.co"),
            ("7.2.0.192.in-addr.arpa", "in-addr.arpa"),
        ] {
            assert_eq!(parent(name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_clouds_and_package_managers_exceed_nothing() {
        let access_point = format!("{}-123456789012.accesspoint", "a".repeat(50));
        for name in [
            "deb.debian.org",
            "registry.npmjs.org",
            "_http._tcp.deb.debian.org",
            "_ldap._tcp.default-first-site-name._sites.dc._msdcs.corp.acme.internal",
            "internal-k8s-default-payments-0123456789-1234567890.us-east-1.elb.amazonaws.com",
            "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
            "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi.ipfs.dweb.link",
            &format!(
                "{access_point}.vpce-0123456789abcdef0-abcdefgh-us-east-1a.s3.ap-southeast-1.vpce.amazonaws.com"
            ),
            &format!("{}.s3.dualstack.us-west-2.amazonaws.com", "b".repeat(63)),
        ] {
            assert_eq!(Limits::default().exceeded(RecordType::A, name), None, "{name}");
        }
    }

    #[test]
    fn each_limit_says_which_it_is() {
        let limits = Limits { max_label: 40, ..Limits::default() };
        for (kind, name, key) in [
            (RecordType::TXT, "a.example".to_owned(), "dns.types"),
            (RecordType::NULL, "a.example".to_owned(), "dns.types"),
            (RecordType::A, format!("{}.example", "x".repeat(41)), "dns.max_label"),
            (RecordType::A, "x".repeat(30) + &".y".repeat(20), "dns.max_labels"),
            (RecordType::A, format!("{0}.{0}.{0}.{0}.{0}.example", "x".repeat(40)), "dns.max_name"),
        ] {
            let why = limits.exceeded(kind, &name).unwrap_or_default();
            assert!(why.ends_with(key), "{name}: {why}");
        }
    }
}
