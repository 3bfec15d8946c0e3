//! `connection:` — rules about connections nobody can look into.

use ipnet::IpNet;

use super::super::connection::ConnectionRule;
use super::super::host::{HostPattern, WordPattern};
use super::super::verdict::Verdict;
use super::each;
use crate::names::RuleId;
use crate::yaml::{Fields, Node, Reader};

/// Keys of a rule that are about requests.
const ABOUT_REQUESTS: [&str; 5] = ["match", "when", "unless", "hold", "mode"];

/// Reads the rule that has `node` for its `connection`.
pub(super) fn read(
    reader: &Reader,
    rule: &Fields<'_>,
    node: &Node,
    (id, verdict, why): (RuleId, Verdict, &str),
) -> ConnectionRule {
    for key in ABOUT_REQUESTS {
        if let Some(node) = rule.get(key) {
            reader.mistake(
                node.place,
                format_args!("`{key}` is about requests: a rule has it or `connection`"),
            );
        }
    }
    if verdict == Verdict::Hold {
        let place = rule.get("verdict").map_or(rule.place, |node| node.place);
        reader.mistake(place, "a live connection cannot wait for a person: `allow` or `deny` it");
    }
    let fields = reader.fields(node, &["agent", "address", "port", "tls_name"]);
    let at = |key: &str| fields.get(key);
    if verdict == Verdict::Allow && at("address").is_none() {
        let message = "`address` is missing: what passes unread is bound to where it goes (`0.0.0.0/0` and `::/0` \
                       mean everywhere)";
        reader.mistake(fields.place, message);
    }
    ConnectionRule {
        id,
        verdict,
        why: why.to_owned(),
        agent: at("agent").map_or(vec![], |node| each(reader, node, |text| Ok(WordPattern::parse(text)))),
        address: at("address").map_or(vec![], |node| each(reader, node, address)),
        port: at("port").map_or(vec![], |node| each(reader, node, port)),
        tls_name: at("tls_name").map_or(vec![], |node| each(reader, node, HostPattern::parse)),
    }
}

fn address(text: &str) -> Result<IpNet, String> {
    let range = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    range.map_err(|_| format!("expected an address or a range such as 10.1.0.0/16, not `{text}`"))
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("expected a port, not `{text}`"))
}
