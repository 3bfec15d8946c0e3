//! The host's own resolvers, for `dns.upstream: system`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;

/// What is asked when the file names nobody, as libc does.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), DNS_PORT);

/// The configured resolvers, or the host's.
pub fn choose(configured: &[SocketAddr]) -> Vec<SocketAddr> {
    if !configured.is_empty() {
        return configured.to_vec();
    }
    let text = fs::read_to_string(Path::new(RESOLV_CONF)).unwrap_or_else(|error| {
        tracing::warn!("{RESOLV_CONF} could not be read ({error}): agents' names are asked of {DEFAULT}");
        String::new()
    });
    parse(&text)
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|&word| word == "nameserver").and(words.next())?;
        // A zone names an interface of this host.
        let address = address.split('%').next()?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address, DNS_PORT))
    };
    let found: Vec<SocketAddr> = text.lines().filter_map(address).collect();
    if found.is_empty() { vec![DEFAULT] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_taken_in_order_and_nothing_else() {
        let text = "# nameserver 1.1.1.1\nsearch acme.internal\nnameserver 10.0.0.2\nnameserver fd00::1\n";
        let expected = ["10.0.0.2:53", "[fd00::1]:53"].map(|text| text.parse().unwrap());
        assert_eq!(parse(text), expected);
        assert_eq!(parse("nameserver nonsense\n"), [DEFAULT]);
    }
}
