//! The judge: everything an origin received was shown, exactly so and exactly as often, and everything that was shown as
//! answered was received.

use shield_agent::flow::http::canonical::{Header, RequestHead, Scheme};
use shield_agent::names::Digest;
use shield_tests::speech::Protocol;

use crate::origins::{Account, Origin, Received, Server};
use crate::shown::Shown;
use crate::site::JUDGED_PATH;

/// Fields that are written anew for each connection.
const OF_THE_CONNECTION: [&str; 4] = ["host", "content-length", "transfer-encoding", "te"];

/// What one origin received and what was shown of it do not agree on; nothing, if all is well.
pub(crate) fn differences(origin: &Origin, account: &Account, shown: &[Shown]) -> Vec<String> {
    let mut found = Vec::new();
    // Those that were answered first: of two that are alike, the one that broke off was not received.
    let mut open: Vec<&Shown> =
        shown.iter().filter(|one| one.judged.destination.port == origin.port).collect();
    open.sort_by_key(|one| one.finished.status != Some(origin.server.seen()));
    for received in &account.received {
        match open.iter().position(|one| is_shown_as(origin, received, one)) {
            Some(at) => drop(open.remove(at)),
            None => found.push(format!("received and not shown: {received:?}")),
        }
    }
    let not_received = open.iter().filter(|one| one.finished.status == Some(origin.server.seen()));
    found.extend(not_received.map(|one| format!("shown and not received: {}", brief(one))));
    found.extend(unasked(account, &open));
    found
        .into_iter()
        .map(|difference| format!("{:?} {:?}: {difference}", origin.server, origin.protocol))
        .collect()
}

/// An exchange in few words.
pub(crate) fn brief(shown: &Shown) -> String {
    let Shown { judged, finished } = shown;
    format!("{} {} {:?} {finished:?}", judged.method, judged.url, judged.digest)
}

/// Whether an exchange is what an origin received: method and URL, the length of the body, and for servers that tell
/// every field the digest that was judged.
fn is_shown_as(origin: &Origin, received: &Received, shown: &Shown) -> bool {
    let Some(head) = head(origin, received) else { return false };
    let url = |url: String| match origin.server.drops_empty_query() {
        true => url.trim_end_matches('?').to_owned(),
        false => url,
    };
    let alike = shown.judged.method == received.method
        && url(shown.judged.url.clone()) == url(head.url())
        && shown.finished.sent == received.length;
    if !alike
        || received.headers.is_none()
        || url(head.url()) != head.url()
        || shown.judged.url.ends_with('?')
    {
        return alike;
    }
    let body = digest(&received.sha256);
    orders(origin, &head).iter().any(|head| {
        shown.judged.digest == Some(head.digest(body))
            || (!head.path().starts_with(JUDGED_PATH) && shown.judged.digest == Some(head.digest(None)))
    })
}

/// The orders in which the fields may have been sent.
fn orders(origin: &Origin, head: &RequestHead) -> Vec<RequestHead> {
    let cookie = head.headers.iter().position(|header| header.name == "cookie");
    let Some(cookie) = cookie.filter(|_| origin.server.moves_cookies(origin.protocol)) else {
        return vec![head.clone()];
    };
    let mut others = head.clone();
    let cookie = others.headers.remove(cookie);
    let places = 0..=others.headers.len();
    let with_cookie_at = |place| {
        let mut head = others.clone();
        head.headers.insert(place, cookie.clone());
        head
    };
    places.map(with_cookie_at).collect()
}

/// The head of what was received, in the form that is judged.
fn head(origin: &Origin, received: &Received) -> Option<RequestHead> {
    let plain = (origin.server, origin.protocol) == (Server::Hyper, Protocol::H1);
    let host = received.host.strip_suffix(&format!(":{}", origin.port)).unwrap_or(&received.host);
    let fields = received.headers.iter().flatten();
    let fields = fields.filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.to_lowercase().as_str()));
    let head = RequestHead {
        scheme: if plain { Scheme::Http } else { Scheme::Https },
        host: host.to_owned(),
        port: origin.port,
        method: received.method.clone(),
        target: received.target.clone(),
        headers: fields
            .map(|(name, value)| Header { name: name.to_lowercase(), value: value.clone() })
            .collect(),
    };
    // The port is left out exactly where it is the scheme's own.
    (head.authority() == received.host).then_some(head)
}

fn digest(sha256: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(sha256.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Digest(bytes))
}

/// What a server answered without its application and nobody asked, or could not read: it saw a request where none was
/// sent. An exchange that broke off accounts for one of those.
fn unasked(account: &Account, open: &[&Shown]) -> Option<String> {
    let answered =
        |status: i64| open.iter().filter(|one| one.finished.status.map(i64::from) == Some(status)).count();
    let refused: usize =
        account.refused.iter().map(|(status, times)| times.saturating_sub(answered(*status))).sum();
    let excess = refused + account.unreadable.len();
    let broken = open.iter().filter(|one| one.finished.error.is_some()).count();
    (excess > broken).then(|| {
        let Account { refused, unreadable, .. } = account;
        let open: Vec<String> = open.iter().map(|one| brief(one)).collect();
        format!(
            "{excess} answers nobody asked for, {broken} broke off: {refused:?}, {unreadable:?}; open: {open:#?}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_its_digits() {
        let text = format!("ff{}", "00".repeat(31));
        assert_eq!(digest(&text).map(|digest| digest.0[..2].to_vec()), Some(vec![0xff, 0]));
    }
}
