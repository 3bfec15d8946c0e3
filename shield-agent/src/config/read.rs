//! `shield.yaml`: from text to a [`Config`], with every mistake at its line and column.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, ConsoleConfig, GateConfig, HoldConfig, TlsFiles, limits, names, upstream};
use crate::yaml::{self, Fields, Mistakes, Node, Reader};

/// Largest body that can be held: a hold is shown whole and kept in one message between roles.
const MAX_HELD_BODY: u64 = 64 << 20;

/// Longest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

const KEYS: [&str; 15] = [
    "instance",
    "state_dir",
    "run_dir",
    "group",
    "policies",
    "gate",
    "store",
    "console",
    "metrics",
    "upstream",
    "hold",
    "limits",
    "mask",
    "dns",
    "notify",
];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: name another with --config", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file is far too long.
    #[error("the configuration {} is longer than {MAX_FILE} bytes", .0.display())]
    TooLong(PathBuf),
    /// The file says something it may not say.
    #[error("the configuration has mistakes:\n{0}")]
    Mistakes(Mistakes),
}

impl Config {
    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::Read(path.to_owned(), error);
        if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
            return Err(ConfigError::TooLong(path.to_owned()));
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&path.display().to_string(), &text).map_err(ConfigError::Mistakes)
    }

    /// Reads a configuration's text; `file` is how messages name it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let root = yaml::parse(file, text).map_err(|mistake| Mistakes(vec![mistake]))?;
        let reader = Reader::new(file);
        let config = read(&reader, &root);
        reader.finish()?;
        Ok(config)
    }
}

/// What the file says, with a default wherever it says nothing or something wrong.
fn read(reader: &Reader, root: &Node) -> Config {
    let fields = reader.fields(root, &KEYS);
    for later in ["metrics", "notify"] {
        if let Some(node) = fields.get(later) {
            reader.mistake(node.place, format_args!("`{later}` is not available in this version: remove it"));
        }
    }
    let state_dir = directory(reader, &fields, "state_dir", "/var/lib/shield");
    Config {
        instance: fields.get("instance").and_then(|node| instance(reader, node)).unwrap_or("default".into()),
        run_dir: directory(reader, &fields, "run_dir", "/run/shield"),
        group: fields.get("group").and_then(|node| reader.text(node)).unwrap_or("shield").to_owned(),
        policies: policies(reader, &fields),
        gate: gate(reader, &fields),
        store_url: store(reader, &fields, &state_dir),
        console: console(reader, &fields),
        upstream: upstream::section(reader, &fields),
        hold: hold(reader, &fields),
        limits: limits::section(reader, &fields),
        mask: mask(reader, &fields),
        dns: names::section(reader, &fields),
        state_dir,
    }
}

/// Names a cgroup, a directory and sockets.
fn instance(reader: &Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let good = (1..=32).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-');
    if !good {
        let wanted = "expected 1 to 32 lower-case letters, digits and dashes";
        reader.mistake(node.place, format_args!("{wanted}, not `{text}`"));
    }
    good.then(|| text.to_owned())
}

fn directory(reader: &Reader, fields: &Fields<'_>, name: &str, usual: &str) -> PathBuf {
    fields.get(name).and_then(|node| absolute(reader, node)).unwrap_or_else(|| usual.into())
}

pub(super) fn absolute(reader: &Reader, node: &Node) -> Option<PathBuf> {
    let path = PathBuf::from(reader.text(node)?);
    if !path.is_absolute() {
        let shown = path.display();
        reader.mistake(node.place, format_args!("expected an absolute path, not `{shown}`"));
        return None;
    }
    Some(path)
}

fn policies(reader: &Reader, fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.get("policies") else { return vec!["/etc/shield/policies/*.yaml".to_owned()] };
    let path = |node: &Node| Some(absolute(reader, node)?.display().to_string());
    reader.items(node).iter().filter_map(path).collect()
}

fn gate(reader: &Reader, fields: &Fields<'_>) -> GateConfig {
    let Some(node) = fields.get("gate") else { return GateConfig::default() };
    let section = reader.fields(node, &["guard"]);
    GateConfig { guard: section.get("guard").and_then(|node| absolute(reader, node)) }
}

fn store(reader: &Reader, fields: &Fields<'_>, state_dir: &Path) -> String {
    let usual = format!("sqlite://{}", state_dir.join("shield.db").display());
    let Some(node) = fields.get("store") else { return usual };
    let store = reader.fields(node, &["url"]);
    let Some(node) = store.required(reader, "url") else { return usual };
    let Some(url) = reader.text(node) else { return usual };
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        reader
            .mistake(node.place, "PostgreSQL is not available in this version: use sqlite:///absolute/path");
    } else if !url.starts_with("sqlite:///") || url.contains('?') {
        reader.mistake(node.place, format_args!("expected sqlite:// and an absolute path, not `{url}`"));
    }
    url.to_owned()
}

fn console(reader: &Reader, fields: &Fields<'_>) -> ConsoleConfig {
    let mut console = ConsoleConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
        public_url: String::new(),
        tls: None,
    };
    let Some(node) = fields.get("console") else {
        console.public_url = "http://localhost:7443".into();
        return console;
    };
    let section = reader.fields(node, &["listen", "public_url", "tls"]);
    let listen = section.get("listen");
    if let Some(address) = listen.and_then(|node| reader.parsed(node, "an address such as 127.0.0.1:7443")) {
        console.listen = address;
    }
    console.tls = section.get("tls").and_then(|node| tls(reader, node));
    if !console.listen.ip().is_loopback() && section.get("tls").is_none() {
        let place = listen.map_or(section.place, |node| node.place);
        let message = "the console is reachable from other hosts and needs `tls: { cert: …, key: … }`; \
                       or listen on 127.0.0.1";
        reader.mistake(place, message);
    }
    let scheme = if console.tls.is_some() { "https" } else { "http" };
    console.public_url = section
        .get("public_url")
        .and_then(|node| public_url(reader, node, scheme))
        .unwrap_or_else(|| format!("{scheme}://localhost:{}", console.listen.port()));
    console
}

pub(super) fn tls(reader: &Reader, node: &Node) -> Option<TlsFiles> {
    let section = reader.fields(node, &["cert", "key"]);
    let cert = section.required(reader, "cert").and_then(|node| absolute(reader, node));
    let key = section.required(reader, "key").and_then(|node| absolute(reader, node));
    Some(TlsFiles { cert: cert?, key: key? })
}

fn public_url(reader: &Reader, node: &Node, scheme: &str) -> Option<String> {
    let text = reader.text(node)?;
    let bare = |url: &url::Url| {
        url.scheme() == scheme
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
    };
    if !url::Url::parse(text).is_ok_and(|url| bare(&url)) {
        let wanted =
            format!("expected {scheme}:// and a host, with a port if it is another, and nothing more");
        reader.mistake(node.place, format_args!("{wanted}: not `{text}`"));
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

fn hold(reader: &Reader, fields: &Fields<'_>) -> HoldConfig {
    let mut hold = HoldConfig {
        wait: Duration::from_secs(50),
        expires: Duration::from_secs(30 * 60),
        result_ttl: Duration::from_secs(10 * 60),
        max_body: 8 << 20,
        max_pending_per_agent: 50,
    };
    let Some(node) = fields.get("hold") else { return hold };
    let known = ["wait", "expires", "result_ttl", "max_body", "max_pending_per_agent"];
    let section = reader.fields(node, &known);
    if let Some(wait) = section.get("wait").and_then(|node| reader.duration(node)) {
        hold.wait = wait;
    }
    positive(reader, &section, "expires", &mut hold.expires);
    positive(reader, &section, "result_ttl", &mut hold.result_ttl);
    if let Some(node) = section.get("max_body") {
        match reader.size(node) {
            Some(size) if size > MAX_HELD_BODY => reader.mistake(node.place, "at most 64MiB can be held"),
            Some(size) => hold.max_body = size,
            None => {}
        }
    }
    if let Some(node) = section.get("max_pending_per_agent") {
        match reader.parsed(node, "a number") {
            Some(0) => reader.mistake(node.place, "nothing could be held: expected at least 1"),
            Some(most) => hold.max_pending_per_agent = most,
            None => {}
        }
    }
    hold
}

pub(super) fn positive(reader: &Reader, section: &Fields<'_>, name: &str, value: &mut Duration) {
    let Some(node) = section.get(name) else { return };
    match reader.duration(node) {
        Some(Duration::ZERO) => reader.mistake(node.place, "expected more than nothing"),
        Some(duration) => *value = duration,
        None => {}
    }
}

fn mask(reader: &Reader, fields: &Fields<'_>) -> Vec<String> {
    let Some(node) = fields.get("mask") else { return vec![] };
    let name = |node: &Node| {
        let text = reader.text(node)?;
        let named = text.chars().any(|letter| letter.is_ascii_alphanumeric());
        if !named {
            reader.mistake(node.place, format_args!("expected a name such as x-acme-pin, not `{text}`"));
        }
        named.then(|| text.to_owned())
    };
    reader.items(node).iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let Err(mistakes) = Config::parse("shield.yaml", text) else { return vec![] };
        mistakes.0.iter().map(|mistake| mistake.to_string().replace("shield.yaml:", "")).collect()
    }

    #[test]
    fn the_packaged_and_the_documented_configuration_say_what_the_defaults_are() {
        let packaged = include_str!("../../../packaging/shield.yaml");
        assert_eq!(Config::parse("packaged", packaged), Config::parse("empty", ""));
        let documented = include_str!("../../../docs/reference/configuration.md");
        let example = documented.split("```").nth(1).and_then(|block| block.strip_prefix("yaml")).unwrap();
        assert_eq!(Config::parse("documented", example), Config::parse("empty", ""));
        let config = Config::parse("empty", "").unwrap();
        assert_eq!(config.console.public_url, "http://localhost:7443");
        assert_eq!(config.store_url, "sqlite:///var/lib/shield/shield.db");
        assert_eq!(config.hold.max_body, 8 << 20);
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_place() {
        let text = "instanse: a\n\
                    state_dir: relative\n\
                    store: { url: postgres://db }\n\
                    console: { listen: '0.0.0.0:7443', public_url: 'http://x/y' }\n\
                    hold: { wait: 5, max_body: 1GiB, max_pending_per_agent: 0 }\n\
                    dns: { upstream: [resolver] }\n\
                    metrics: { listen: '127.0.0.1:9464' }\n";
        let found = mistakes(text);
        let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["1:1", "2:12", "3:15", "4:20", "4:48", "5:15", "5:28", "5:57", "6:19", "7:10"]);
        assert!(found[0].contains("did you mean `instance`?"), "{found:?}");
        assert!(found[3].contains("needs `tls"), "{found:?}");
        assert!(found[9].contains("not available"), "{found:?}");
    }

    #[test]
    fn a_console_for_other_hosts_needs_tls_and_then_an_https_url() {
        let listen = "listen: '192.0.2.1:7443'";
        let tls = "tls: { cert: /c.pem, key: /k.pem }";
        assert_eq!(mistakes(&format!("console: {{ {listen} }}")).len(), 1);
        assert!(
            mistakes(&format!("console: {{ {listen}, {tls}, public_url: 'https://shield.example' }}"))
                .is_empty()
        );
        assert_eq!(mistakes(&format!("console: {{ {tls}, public_url: 'http://localhost' }}")).len(), 1);
    }

    #[test]
    fn names_to_mask_are_a_list_or_one() {
        assert_eq!(Config::parse("f", "mask: [x-acme-pin, ssn]").unwrap().mask, ["x-acme-pin", "ssn"]);
        assert_eq!(Config::parse("f", "mask: ssn").unwrap().mask, ["ssn"]);
        assert_eq!(mistakes("mask: ['--']").len(), 1);
    }

    #[test]
    fn resolvers_may_leave_out_the_port() {
        let config = Config::parse("f", "dns: { upstream: ['192.0.2.53', '[2001:db8::53]:5353'] }").unwrap();
        assert_eq!(config.dns.upstream[0].port(), 53);
        assert_eq!(config.dns.upstream[1].port(), 5353);
        assert!(Config::parse("f", "dns: { upstream: system }").unwrap().dns.upstream.is_empty());
    }
}
