//! Where plain HTTP may go: to an address its `Host` is at. Over TLS a certificate says who is there; here a program could
//! name one host to policy and talk to another.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::flow::http::unclear::Unclear;
use crate::flow::policy::host::HostPattern;
use crate::flow::review::Via;
use crate::ipc::worker::HostTrust;

/// `addresses` of `upstream.hosts`.
pub struct Places(Vec<(Vec<HostPattern>, Vec<IpNet>)>);

impl Places {
    /// Of the hosts that have any.
    pub fn new(hosts: &[HostTrust]) -> Self {
        Self(hosts.iter().map(|host| (host.host.clone(), host.addresses.clone())).collect())
    }

    /// Whether it is written that `host` is at `address`.
    fn hold(&self, host: &str, address: IpAddr) -> bool {
        self.0.iter().any(|(hosts, addresses)| {
            hosts.iter().any(|it| it.matches(host)) && addresses.iter().any(|it| it.contains(&address))
        })
    }
}

/// Whether the canonical `host` is where the connection goes; once is enough for a connection, however long it is kept. A name that is not known to lead there is asked for, as a question
/// of the agent's own: what policy does not let it ask, it cannot say here either.
///
/// # Errors
/// When it is somewhere else, or nowhere.
pub async fn check(via: &Via, host: &str) -> Result<(), Unclear> {
    let (services, address) = (&via.services, via.flow.original.ip());
    if via.is_at.get().is_some_and(|known| known == host) {
        return Ok(());
    }
    let is_there = match host.parse::<IpAddr>() {
        Ok(literal) => literal.to_canonical() == address || services.places.hold(host, address),
        Err(_) => {
            services.places.hold(host, address)
                || services.resolver.asker(&via.flow.agent).leads_to(host, address).await
        }
    };
    if is_there {
        // Whoever names two hosts on one connection has the other looked up each time.
        let _ = via.is_at.set(host.to_owned());
        return Ok(());
    }
    Err(Unclear::Elsewhere { host: host.to_owned(), address })
}
