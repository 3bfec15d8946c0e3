//! What every handler of a door uses.

use std::sync::Arc;

use crate::approval::engine::Engine;
use crate::config::ConsoleConfig;
use crate::console::guard::Throttle;
use crate::store::sessions::Sessions;

/// Which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The console's address: a browser, or a script with a session.
    Console,
    /// The local socket: root, by the kernel's word.
    Control,
}

/// State shared by the handlers of one door; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// Holds, agents, exchanges.
    pub(super) engine: Engine,
    /// Reviewers' sessions.
    pub(super) sessions: Sessions,
    /// Which way requests come.
    pub(super) door: Door,
    /// Who may be asked for, and how links begin.
    pub(super) site: Arc<Site>,
    /// Keeps guesses at login tokens slow.
    pub(super) guesses: Arc<Throttle>,
}

/// The console's own address, as browsers know it.
#[derive(Debug)]
pub(super) struct Site {
    /// `console.public_url`, without a slash at its end.
    pub(super) url: String,
    /// The `Host` values that are ours, in lower case.
    pub(super) hosts: Vec<String>,
    /// Whether browsers reach us over TLS.
    pub(super) secure: bool,
}

impl App {
    /// For a door of a console.
    pub(super) fn new(engine: Engine, config: &ConsoleConfig, door: Door) -> Self {
        let sessions = Sessions::new(engine.store().clone());
        let site = Arc::new(Site::new(config));
        Self { engine, sessions, door, site, guesses: Arc::default() }
    }
}

impl Site {
    fn new(config: &ConsoleConfig) -> Self {
        let url = config.public_url.trim_end_matches('/').to_owned();
        let named =
            url.split_once("://").map_or(url.as_str(), |(_, authority)| authority).to_ascii_lowercase();
        let secure = url.starts_with("https://");
        // A browser leaves the scheme's own port out.
        let bare = named.strip_suffix(if secure { ":443" } else { ":80" }).unwrap_or(&named).to_owned();
        let mut hosts = vec![bare, named];
        // Tools on this host; not 0.0.0.0, which other pages can make a browser open.
        if config.listen.ip().is_loopback() {
            hosts.push(config.listen.to_string());
        }
        Self { hosts, secure, url }
    }

    /// Whether an `Origin` is ours.
    pub(super) fn is_own(&self, origin: &str) -> bool {
        let scheme = if self.secure { "https://" } else { "http://" };
        let host = origin.strip_prefix(scheme).map(str::to_ascii_lowercase);
        host.is_some_and(|host| self.hosts.contains(&host))
    }
}
