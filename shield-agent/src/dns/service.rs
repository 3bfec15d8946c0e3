//! HTTPS and SVCB records without what leads around us: keys for a hidden server name, and HTTP/3.
//!
//! Everything else in them stays: addresses, ports, HTTP/2.

use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::svcb::{Alpn, Mandatory, SVCB, SvcParamKey, SvcParamValue};

/// The record's data as agents may see it; `None` when nothing usable is left.
pub(super) fn plain(data: &RData) -> Option<RData> {
    let mut data = data.clone();
    let usable = match &mut data {
        RData::HTTPS(https) => strip(&mut https.0),
        RData::SVCB(svcb) => strip(svcb),
        // Without any data, as in updates: it says nothing, and clients may read it as they like.
        RData::Update0(_) => false,
        _ => true,
    };
    usable.then_some(data)
}

/// Whether a client can still use it.
fn strip(record: &mut SVCB) -> bool {
    let params = &mut record.svc_params;
    params.retain(|(key, _)| *key != SvcParamKey::EchConfigList);
    let mut offered = None;
    for (_, value) in params.iter_mut() {
        if let SvcParamValue::Alpn(Alpn(protocols)) = value {
            protocols.retain(|protocol| protocol != "h3" && !protocol.starts_with("h3-"));
            offered = Some(protocols.len());
        }
    }
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
    use hickory_proto::rr::rdata::svcb::{EchConfigList, IpHint};
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
            assert_eq!(plain(&https(before)), Some(https(after)));
        }
        assert_eq!(plain(&https(vec![alpn(&["h3"]), none])), None, "it speaks HTTP/3 only");
        assert_eq!(plain(&RData::Update0(RecordType::HTTPS)), None, "it says nothing");
        let svcb = RData::SVCB(SVCB::new(1, Name::root(), vec![ech()]));
        assert_eq!(plain(&svcb), Some(RData::SVCB(SVCB::new(1, Name::root(), vec![]))));
    }
}
