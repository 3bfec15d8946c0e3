//! `upstream:` — whom we trust on the way out, and who we are there.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::read::{absolute, positive, tls};
use super::{UpstreamConfig, UpstreamHost};
use crate::flow::policy::host::HostPattern;
use crate::yaml::{Fields, Node, Reader, Value};

/// The section, with a default wherever it says nothing or something wrong.
pub(super) fn section(reader: &Reader, fields: &Fields<'_>) -> UpstreamConfig {
    let connect_timeout = Duration::from_secs(10);
    let mut upstream = UpstreamConfig { extra_roots: vec![], connect_timeout, hosts: vec![] };
    let Some(node) = fields.get("upstream") else { return upstream };
    let section = reader.fields(node, &["extra_roots", "connect_timeout", "hosts"]);
    if let Some(Node { value: Value::List(items), .. }) = section.get("extra_roots") {
        upstream.extra_roots = items.iter().filter_map(|node| absolute(reader, node)).collect();
    } else if let Some(node) = section.get("extra_roots") {
        upstream.extra_roots = absolute(reader, node).into_iter().collect();
    }
    positive(reader, &section, "connect_timeout", &mut upstream.connect_timeout);
    if let Some(node) = section.get("hosts") {
        upstream.hosts = reader.items(node).iter().map(|node| host(reader, node)).collect();
    }
    upstream
}

fn host(reader: &Reader, node: &Node) -> UpstreamHost {
    let section = reader.fields(node, &["host", "roots", "crls", "identity", "addresses"]);
    let host = section.required(reader, "host").map_or(vec![], |node| reader.items(node).iter().collect());
    let pattern = |node: &Node| {
        let pattern = HostPattern::parse(reader.text(node)?);
        pattern.map_err(|wrong| reader.mistake(node.place, wrong)).ok()
    };
    let files = |name| -> Vec<PathBuf> {
        let nodes = section.get(name).map_or(&[][..], |node| reader.items(node));
        nodes.iter().filter_map(|node| absolute(reader, node)).collect()
    };
    let said = ["roots", "crls", "identity", "addresses"].iter().any(|name| section.get(name).is_some());
    if !said {
        reader.mistake(section.place, "expected `roots`, `crls`, `identity` or `addresses` beside `host`");
    }
    let address = |node: &Node| {
        let text = reader.text(node)?;
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let wanted =
            |_| reader.mistake(node.place, format!("expected an address or a network, not `{text}`"));
        network.map_err(wanted).ok()
    };
    let addresses = section.get("addresses").map_or(&[][..], |node| reader.items(node));
    UpstreamHost {
        host: host.into_iter().filter_map(pattern).collect(),
        roots: files("roots"),
        crls: files("crls"),
        identity: section.get("identity").and_then(|node| tls(reader, node)),
        addresses: addresses.iter().filter_map(address).collect(),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_host_may_have_roots_lists_and_an_identity_of_its_own() {
        let text = "upstream: { hosts: [{ host: ['*.ACME.internal', vault.example], roots: /ca.pem, crls: [/a.crl], \
                    identity: { cert: /c.pem, key: /k.pem }, addresses: [10.0.0.0/8, '2001:db8::1'] }] }";
        let hosts = Config::parse("f", text).unwrap().upstream.hosts;
        let [host] = &hosts[..] else { panic!("{hosts:?}") };
        assert!(host.host[0].matches("crm.acme.internal") && host.host[1].matches("vault.example"));
        assert_eq!((host.roots.len(), host.crls.len()), (1, 1));
        assert_eq!(host.addresses, ["10.0.0.0/8".parse().unwrap(), "2001:db8::1/128".parse().unwrap()]);
        assert_eq!(host.identity.as_ref().unwrap().key.to_str(), Some("/k.pem"));
    }

    #[test]
    fn a_host_without_a_name_a_purpose_or_a_whole_identity_is_a_mistake() {
        for text in [
            "{ roots: /ca.pem }",
            "{ host: a.example }",
            "{ host: 'https://a.example', roots: /ca.pem }",
            "{ host: a.example, roots: ca.pem }",
            "{ host: a.example, identity: { cert: /c.pem } }",
            "{ host: a.example, addresses: [somewhere] }",
            "{ host: a.example, root: /ca.pem, crls: /a.crl }",
        ] {
            let mistakes = Config::parse("f", &format!("upstream: {{ hosts: [{text}] }}")).unwrap_err().0;
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        }
    }
}
