//! HTTPS and SVCB records without what leads around us, keys for a hidden server name and HTTP/3, and without addresses
//! this host has no way to.
//!
//! Everything else in them stays: other addresses, ports, HTTP/2.

use std::net::Ipv6Addr;

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, Mandatory, SVCB, SvcParamKey, SvcParamValue};

/// The record's data as agents may see it; `None` when nothing usable is left.
pub(super) fn plain(data: &RData, has_route: impl Fn(Ipv6Addr) -> bool) -> Option<RData> {
    let mut data = data.clone();
    let usable = match &mut data {
        RData::HTTPS(https) => strip(&mut https.0, has_route),
        RData::SVCB(svcb) => strip(svcb, has_route),
        // Without any data, as in updates: it says nothing, and clients may read it as they like.
        RData::Update0(_) => false,
        _ => true,
    };
    usable.then_some(data)
}

/// Whether a client can still use it.
fn strip(record: &mut SVCB, has_route: impl Fn(Ipv6Addr) -> bool) -> bool {
    let params = &mut record.svc_params;
    params.retain(|(key, _)| *key != SvcParamKey::EchConfigList);
    let mut offered = None;
    for (_, value) in params.iter_mut() {
        match value {
            SvcParamValue::Alpn(Alpn(protocols)) => {
                protocols.retain(|protocol| protocol != "h3" && !protocol.starts_with("h3-"));
                offered = Some(protocols.len());
            }
            SvcParamValue::Ipv6Hint(IpHint(addresses)) => addresses.retain(|address| has_route(address.0)),
            _ => {}
        }
    }
    params.retain(
        |(_, value)| !matches!(value, SvcParamValue::Ipv6Hint(IpHint(addresses)) if addresses.is_empty()),
    );
    if offered == Some(0) {
        if params.iter().any(|(key, _)| *key == SvcParamKey::NoDefaultAlpn) {
            return false;
        }
        params.retain(|(key, _)| *key != SvcParamKey::Alpn);
    }
    let left: Vec<SvcParamKey> = params.iter().map(|(key, _)| *key).collect();
    for (_, value) in params.iter_mut() {
        if let SvcParamValue::Mandatory(Mandatory(keys)) = value {
            keys.retain(|key| left.contains(key));
        }
    }
    params
        .retain(|(_, value)| !matches!(value, SvcParamValue::Mandatory(Mandatory(keys)) if keys.is_empty()));
    true
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::HTTPS;
    use hickory_proto::rr::rdata::svcb::EchConfigList;
    use hickory_proto::rr::{Name, RecordType};

    use super::*;

    fn https(params: Vec<(SvcParamKey, SvcParamValue)>) -> RData {
        RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)))
    }

    fn alpn(protocols: &[&str]) -> (SvcParamKey, SvcParamValue) {
        let protocols = protocols.iter().map(ToString::to_string).collect();
        (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(protocols)))
    }

    fn mandatory(keys: &[SvcParamKey]) -> (SvcParamKey, SvcParamValue) {
        (SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(keys.to_vec())))
    }

    fn ech() -> (SvcParamKey, SvcParamValue) {
        (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![1, 2, 3])))
    }

    fn port() -> (SvcParamKey, SvcParamValue) {
        (SvcParamKey::Port, SvcParamValue::Port(8443))
    }

    fn hint() -> (SvcParamKey, SvcParamValue) {
        (
            SvcParamKey::Ipv4Hint,
            SvcParamValue::Ipv4Hint(IpHint(vec![std::net::Ipv4Addr::new(192, 0, 2, 7).into()])),
        )
    }

    /// Addresses of IPv6: one with a way there, and one without.
    const THERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const NOWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    fn hint6(addresses: &[Ipv6Addr]) -> (SvcParamKey, SvcParamValue) {
        let addresses = addresses.iter().map(|address| (*address).into()).collect();
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(addresses)))
    }

    fn seen(data: &RData) -> Option<RData> {
        plain(data, |address| address == THERE)
    }

    #[test]
    fn addresses_without_a_way_there_go() {
        for (before, after) in [
            (vec![hint(), hint6(&[NOWHERE])], vec![hint()]),
            (vec![hint6(&[NOWHERE, THERE])], vec![hint6(&[THERE])]),
            (vec![mandatory(&[SvcParamKey::Ipv6Hint]), hint6(&[NOWHERE])], vec![]),
        ] {
            assert_eq!(seen(&https(before)), Some(https(after)));
        }
    }

    #[test]
    fn hidden_names_and_http_3_go_and_the_rest_stays() {
        let none = (SvcParamKey::NoDefaultAlpn, SvcParamValue::NoDefaultAlpn);
        let (alpn_key, ech_key) = (SvcParamKey::Alpn, SvcParamKey::EchConfigList);
        for (before, after) in [
            (vec![alpn(&["h3", "h3-29", "h2"]), port(), hint(), ech()], vec![alpn(&["h2"]), port(), hint()]),
            (vec![alpn(&["h3"]), hint()], vec![hint()]),
            (
                vec![mandatory(&[alpn_key, ech_key]), alpn(&["h2"]), ech()],
                vec![mandatory(&[alpn_key]), alpn(&["h2"])],
            ),
            (vec![mandatory(&[ech_key]), ech()], vec![]),
            (vec![alpn(&["h2"]), none.clone(), hint()], vec![alpn(&["h2"]), none.clone(), hint()]),
        ] {
            assert_eq!(seen(&https(before)), Some(https(after)));
        }
        assert_eq!(seen(&https(vec![alpn(&["h3"]), none])), None, "it speaks HTTP/3 only");
        assert_eq!(seen(&RData::Update0(RecordType::HTTPS)), None, "it says nothing");
        let svcb = RData::SVCB(SVCB::new(1, Name::root(), vec![ech()]));
        assert_eq!(seen(&svcb), Some(RData::SVCB(SVCB::new(1, Name::root(), vec![]))));
    }
}
