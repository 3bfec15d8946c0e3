//! `dns:` — where agents' questions go, which, and how many.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use hickory_proto::rr::RecordType;

use super::DnsConfig;
use crate::yaml::{Fields, Node, Reader, Value};

/// The section, with a default wherever it says nothing or something wrong.
pub(super) fn section(reader: &Reader, fields: &Fields<'_>) -> DnsConfig {
    let mut dns = DnsConfig::default();
    let Some(node) = fields.get("dns") else { return dns };
    let known = [
        "upstream",
        "types",
        "max_name",
        "max_label",
        "max_labels",
        "questions_per_second",
        "new_names_per_minute",
        "new_bytes_per_minute",
    ];
    let section = reader.fields(node, &known);
    dns.upstream = section.get("upstream").map_or(vec![], |node| resolvers(reader, node));
    let limits = &mut dns.limits;
    if let Some(node) = section.get("types") {
        limits.types = reader.items(node).iter().filter_map(|node| record_type(reader, node)).collect();
    }
    number(reader, &section, "max_name", &mut limits.max_name, 1..=253);
    number(reader, &section, "max_label", &mut limits.max_label, 1..=63);
    number(reader, &section, "max_labels", &mut limits.max_labels, 1..=127);
    number(reader, &section, "questions_per_second", &mut limits.questions_per_second, 1..=1_000_000);
    number(reader, &section, "new_names_per_minute", &mut limits.new_names_per_minute, 1..=1_000_000);
    if let Some(size) = section.get("new_bytes_per_minute").and_then(|node| Some((node, reader.size(node)?)))
    {
        let (node, size) = size;
        match u32::try_from(size) {
            Ok(size @ 1..) => limits.new_bytes_per_minute = size,
            _ => reader.mistake(node.place, "expected at least 1B and less than 4GiB"),
        }
    }
    dns
}

fn resolvers(reader: &Reader, node: &Node) -> Vec<SocketAddr> {
    if matches!(&node.value, Value::Text { text, .. } if text == "system") {
        return vec![];
    }
    let resolver = |node: &Node| {
        let text = reader.text(node)?;
        let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)));
        if address.is_err() {
            let wanted = "expected `system` or addresses such as 192.0.2.53:53";
            reader.mistake(node.place, format_args!("{wanted}, not `{text}`"));
        }
        address.ok()
    };
    reader.items(node).iter().filter_map(resolver).collect()
}

fn record_type(reader: &Reader, node: &Node) -> Option<u16> {
    let text = reader.text(node)?;
    match RecordType::from_str(text) {
        // Transfers and ANY are never forwarded, and OPT is no question.
        Ok(kind)
            if !matches!(kind, RecordType::ANY | RecordType::AXFR | RecordType::IXFR | RecordType::OPT) =>
        {
            Some(kind.into())
        }
        _ => {
            let wanted = "expected a type of records such as A, AAAA or TXT, in capitals";
            reader.mistake(node.place, format_args!("{wanted}, not `{text}`"));
            None
        }
    }
}

/// A number within a range.
pub(super) fn number<T: FromStr + PartialOrd + Display>(
    reader: &Reader,
    section: &Fields<'_>,
    name: &str,
    value: &mut T,
    range: RangeInclusive<T>,
) {
    let Some(node) = section.get(name) else { return };
    match reader.parsed(node, "a number") {
        Some(number) if range.contains(&number) => *value = number,
        Some(_) => {
            let (least, most) = (range.start(), range.end());
            reader.mistake(node.place, format_args!("expected {least} to {most}"));
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn every_limit_can_be_set_and_nonsense_is_refused() {
        let text = "dns: { types: [A, TXT], max_name: 100, max_label: 40, max_labels: 8, questions_per_second: 5, \
                    new_names_per_minute: 7, new_bytes_per_minute: 1KiB }";
        let limits = Config::parse("f", text).unwrap().dns.limits;
        assert_eq!(
            (&limits.types[..], limits.max_name, limits.max_label, limits.max_labels),
            (&[1, 16][..], 100, 40, 8)
        );
        let paces = (limits.questions_per_second, limits.new_names_per_minute, limits.new_bytes_per_minute);
        assert_eq!(paces, (5, 7, 1024));

        let text = "dns: { types: [AXFR, a], max_name: 254, max_label: 0, questions_per_second: many, \
                    new_bytes_per_minute: 0B, ttl: 1 }";
        assert_eq!(Config::parse("f", text).unwrap_err().0.len(), 7);
    }
}
