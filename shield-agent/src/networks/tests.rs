//! Networks as written, and the cases the hooks are asked too.

use super::*;

const CASES: &str = include_str!("../../../tests/cases/networks.txt");

#[test]
fn every_case_is_judged_as_written() {
    let mut networks = Networks::default();
    let mut judged = 0;
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["deny", network] => networks.deny.push(Network::parse(network).unwrap()),
            ["direct", network] => networks.direct.push(Network::parse(network).unwrap()),
            [expected, ip, port] => {
                let destination = SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap());
                assert_eq!(word(networks.judge(destination)), expected, "{line}");
                judged += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert!(judged > 60, "{judged}");
}

fn word(passage: Passage) -> &'static str {
    match passage {
        Passage::Gate => "gate",
        Passage::Direct => "direct",
        Passage::Denied => "denied",
        Passage::Reserved => "reserved",
    }
}

#[test]
fn what_is_no_network_is_refused_with_what_would_be_one() {
    let cases = [
        ("10.0.0.0/33", "expected a network"),
        ("10.0.0/8", "expected a network"),
        ("example.com", "expected a network"),
        ("10.0.0.0/8:0", "expected a network"),
        ("10.0.0.0/8:70000", "expected a network"),
        ("[2001:db8::/32]443", "expected a network"),
        ("10.1.2.3/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("192.0.2.53:53", "names itself"),
        ("::/0", "every IPv4 address"),
        ("::/64", "every IPv4 address"),
    ];
    for (text, reason) in cases {
        let refused = Network::parse(text).unwrap_err();
        assert!(refused.contains(reason), "{text}: {refused}");
    }
}

#[test]
fn a_v4_mapped_network_is_the_ipv4_network() {
    assert_eq!(Network::parse("::ffff:10.0.0.0/104"), Network::parse("10.0.0.0/8"));
    assert_eq!(Network::parse("[::ffff:192.0.2.7]:443"), Network::parse("192.0.2.7:443"));
    assert_eq!(Network::parse("0.0.0.0/0"), Network::parse("::ffff:0:0/96"));
}
