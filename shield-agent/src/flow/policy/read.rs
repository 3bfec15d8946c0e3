//! Policy files: from text to a [`Policy`], with every mistake in every file at its line and column.

mod connection;
mod tests_section;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use regex::Regex;
use shield_common::limits::NETWORKS_MAX;

pub(super) use self::tests_section::head as head_of;
use super::condition::Condition;
use super::connection::ConnectionRule;
use super::host::{HostPattern, WordPattern};
use super::index::HostIndex;
use super::matcher::Matcher;
use super::path::Template;
use super::rule::{Exception, Rule, Test};
use super::verdict::{HoldTerms, Verdict};
use super::{Defaults, Mode, Policy, digest};
use crate::flow::inspect::action::Effect;
use crate::names::RuleId;
use crate::networks::{Network, Networks};
use crate::yaml::{self, Fields, Mistakes, Node, Place, Reader};

const VERDICTS: [(&str, Verdict); 3] =
    [("allow", Verdict::Allow), ("hold", Verdict::Hold), ("deny", Verdict::Deny)];
const MODES: [(&str, Mode); 3] =
    [("gate", Mode::Gate), ("observe", Mode::Observe), ("read-only", Mode::ReadOnly)];
const MATCH_KEYS: [&str; 8] =
    ["agent", "host", "method", "path", "path_regex", "body_regex", "effect", "environment"];

/// What the files said so far.
#[derive(Default)]
struct Draft {
    mode: Option<Mode>,
    defaults: Partial,
    known_hosts: Vec<HostPattern>,
    networks: Networks,
    rules: Vec<Rule>,
    connections: Vec<ConnectionRule>,
    places: HashMap<RuleId, (String, Place)>,
    /// Exceptions with what they are of, checked when all rules are known.
    exceptions: Vec<(RuleId, Exception, String, Place)>,
    tests: Vec<super::InlineTest>,
}

#[derive(Default)]
struct Partial([Option<Verdict>; 4]);

/// Compiles all files.
pub(super) fn files(files: &[(String, String)]) -> Result<Policy, Mistakes> {
    let mut draft = Draft::default();
    let mut mistakes = Vec::new();
    for (name, text) in files {
        let reader = Reader::new(name);
        match yaml::parse(name, text) {
            Ok(root) => draft.read_file(&reader, name, &root),
            Err(mistake) => mistakes.push(mistake),
        }
        mistakes.extend(reader.into_mistakes());
    }
    let exceptions = draft.take_exceptions(&mut mistakes);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let index = HostIndex::new(&draft.rules);
    Ok(Policy {
        mode: draft.mode.unwrap_or_default(),
        defaults: draft.defaults.filled(),
        known_hosts: draft.known_hosts,
        networks: draft.networks,
        rules: draft.rules,
        connections: draft.connections,
        exceptions,
        index,
        tests: draft.tests,
        digest: digest(files),
    })
}

impl Draft {
    fn read_file(&mut self, reader: &Reader, file: &str, root: &Node) {
        let known = ["version", "mode", "defaults", "hosts", "networks", "rules", "exceptions", "tests"];
        let fields = reader.fields(root, &known);
        if let Some(node) = fields.required(reader, "version")
            && reader.text(node).is_some_and(|version| version != "1")
        {
            reader.mistake(node.place, "this program reads version 1");
        }
        if let Some(node) = fields.get("mode") {
            let mode = reader.word(node, &MODES);
            if self.mode.is_some() && mode.is_some() && self.mode != mode {
                reader.mistake(node.place, "another file gives another mode: keep one");
            }
            self.mode = self.mode.or(mode);
        }
        if let Some(node) = fields.get("defaults") {
            self.defaults.read(reader, node);
        }
        if let Some(node) = fields.get("hosts") {
            let hosts = reader.fields(node, &["known"]);
            self.known_hosts
                .extend(hosts.get("known").map_or(vec![], |node| each(reader, node, HostPattern::parse)));
        }
        if let Some(node) = fields.get("networks") {
            let lists = reader.fields(node, &["deny", "direct"]);
            read_networks(reader, &lists, "deny", &mut self.networks.deny);
            read_networks(reader, &lists, "direct", &mut self.networks.direct);
        }
        for node in list(reader, &fields, "rules") {
            self.read_rule(reader, file, node);
        }
        for node in list(reader, &fields, "exceptions") {
            self.read_exception(reader, file, node);
        }
        for node in list(reader, &fields, "tests") {
            self.tests.extend(tests_section::read(reader, file, node));
        }
    }

    fn read_rule(&mut self, reader: &Reader, file: &str, node: &Node) {
        let known = ["id", "verdict", "why", "match", "when", "unless", "hold", "mode", "connection"];
        let fields = reader.fields(node, &known);
        let id = fields.required(reader, "id").and_then(|node| self.rule_id(reader, file, node));
        let verdict = fields.required(reader, "verdict").and_then(|node| reader.word(node, &VERDICTS));
        let why = fields.required(reader, "why").and_then(|node| reader.text(node)).unwrap_or_default();
        if let Some(node) = fields.get("connection") {
            if let (Some(id), Some(verdict)) = (id, verdict) {
                self.connections.push(connection::read(reader, &fields, node, (id, verdict, why)));
            }
            return;
        }
        let modes = [("gate", false), ("observe", true)];
        let observe = fields.get("mode").and_then(|node| reader.word(node, &modes)).unwrap_or(false);
        let terms = fields.get("hold").map(|node| hold_terms(reader, node)).unwrap_or_default();
        if let (Some(node), Some(Verdict::Allow | Verdict::Deny)) = (fields.get("hold"), verdict) {
            reader.mistake(node.place, "`hold` belongs to rules with `verdict: hold`");
        }
        let test = test(reader, &fields);
        if let (Some(id), Some(verdict)) = (id, verdict) {
            self.rules.push(Rule { id, verdict, why: why.to_owned(), test, terms, observe });
        }
    }

    fn rule_id(&mut self, reader: &Reader, file: &str, node: &Node) -> Option<RuleId> {
        let text = reader.text(node)?;
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
        if text.is_empty() || text.len() > 64 || !text.chars().all(fits) {
            reader.mistake(node.place, "expected 1 to 64 letters, digits, `-`, `_`, `.` or `/`");
            return None;
        }
        let id = RuleId(text.to_owned());
        if let Some((other, place)) = self.places.insert(id.clone(), (file.to_owned(), node.place)) {
            let (line, column) = (place.line, place.column);
            reader.mistake(
                node.place,
                format_args!("rule `{id}` is already at {other}:{line}:{column}: rename one"),
            );
        }
        Some(id)
    }

    fn read_exception(&mut self, reader: &Reader, file: &str, node: &Node) {
        let fields = reader.fields(node, &["of", "match", "when", "unless", "until", "why"]);
        let of = fields.required(reader, "of");
        fields.required(reader, "why").and_then(|node| reader.text(node));
        let until = fields.get("until").and_then(|node| until(reader, node));
        let test = test(reader, &fields);
        if let Some((id, place)) = of.and_then(|node| Some((reader.text(node)?, node.place))) {
            let exception = Exception { test, until };
            self.exceptions.push((RuleId(id.to_owned()), exception, file.to_owned(), place));
        }
    }

    /// Exceptions by rule; one of a rule that does not exist is a mistake.
    fn take_exceptions(&mut self, mistakes: &mut Vec<yaml::Mistake>) -> BTreeMap<RuleId, Vec<Exception>> {
        let mut by_rule: BTreeMap<RuleId, Vec<Exception>> = BTreeMap::new();
        for (id, exception, file, place) in std::mem::take(&mut self.exceptions) {
            if self.connections.iter().any(|rule| rule.id == id) {
                let message = format!("rule `{id}` is about connections: write its limits into the rule");
                mistakes.push(yaml::Mistake { file, place, message });
                continue;
            }
            if !self.places.contains_key(&id) {
                let near = yaml::nearest(&id.0, self.places.keys().map(|known| known.0.as_str()));
                let hint = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
                mistakes.push(yaml::Mistake {
                    file,
                    place,
                    message: format!("there is no rule `{id}`{hint}"),
                });
            }
            by_rule.entry(id).or_default().push(exception);
        }
        by_rule
    }
}

impl Partial {
    const KEYS: [&'static str; 4] = ["unmatched", "unknown_host", "opaque", "uninspectable"];

    fn read(&mut self, reader: &Reader, node: &Node) {
        let fields = reader.fields(node, &Self::KEYS);
        for (slot, key) in self.0.iter_mut().zip(Self::KEYS) {
            let Some(node) = fields.get(key) else { continue };
            let verdict = reader.word(node, &VERDICTS);
            if slot.is_some() && verdict.is_some() && *slot != verdict {
                reader.mistake(
                    node.place,
                    format_args!("another file gives another default `{key}`: keep one"),
                );
            }
            *slot = slot.or(verdict);
        }
    }

    fn filled(self) -> Defaults {
        let usual = Defaults::default();
        let [unmatched, unknown_host, opaque, uninspectable] = self.0;
        Defaults {
            unmatched: unmatched.unwrap_or(usual.unmatched),
            unknown_host: unknown_host.unwrap_or(usual.unknown_host),
            opaque: opaque.unwrap_or(usual.opaque),
            uninspectable: uninspectable.unwrap_or(usual.uninspectable),
        }
    }
}

/// Adds the networks of a list; the kernel has room for so many.
fn read_networks(reader: &Reader, lists: &Fields<'_>, name: &str, networks: &mut Vec<Network>) {
    let Some(node) = lists.get(name) else { return };
    for network in each(reader, node, Network::parse) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    if networks.len() > NETWORKS_MAX as usize {
        reader.mistake(node.place, format_args!("more than {NETWORKS_MAX} networks: write larger ones"));
    }
}

/// The items of a section that must be a list.
fn list<'a>(reader: &Reader, fields: &Fields<'a>, name: &str) -> &'a [Node] {
    match fields.get(name) {
        None => &[],
        Some(Node { value: yaml::Value::List(items), .. }) => items,
        Some(node) => {
            reader.mistake(node.place, format_args!("`{name}` is a list: begin each entry with `- `"));
            &[]
        }
    }
}

/// `match`, `when` and `unless`.
fn test(reader: &Reader, fields: &Fields<'_>) -> Test {
    let condition = |name: &str| {
        let node = fields.get(name)?;
        let compiled = Condition::compile(reader.text(node)?);
        compiled.map_err(|message| reader.mistake(node.place, message)).ok()
    };
    let matcher = fields.get("match").map(|node| matcher(reader, node)).unwrap_or_default();
    if fields.get("match").is_none() && fields.get("when").is_none() && fields.get("unless").is_none() {
        reader.mistake(fields.place, "`match` is missing: without it this is about every request");
    }
    Test { matcher, when: condition("when"), unless: condition("unless") }
}

fn matcher(reader: &Reader, node: &Node) -> Matcher {
    let fields = reader.fields(node, &MATCH_KEYS);
    let regex =
        |text: &str| Regex::new(text).map_err(|error| format!("not a regular expression: {}", short(&error)));
    let effect = |text: &str| {
        let found = Effect::ALL.iter().find(|(_, name)| *name == text).map(|(effect, _)| *effect);
        found.ok_or_else(|| {
            format!("expected one of {}, not `{text}`", Effect::ALL.map(|(_, name)| name).join(", "))
        })
    };
    let word = |text: &str| Ok(text.to_owned());
    let at = |key: &str| fields.get(key);
    Matcher {
        agent: at("agent").map_or(vec![], |node| each(reader, node, |text| Ok(WordPattern::parse(text)))),
        host: at("host").map_or(vec![], |node| each(reader, node, HostPattern::parse)),
        method: at("method").map_or(vec![], |node| each(reader, node, method)),
        path: at("path").map_or(vec![], |node| each(reader, node, Template::parse)),
        path_regex: at("path_regex").map_or(vec![], |node| each(reader, node, regex)),
        body_regex: at("body_regex").map_or(vec![], |node| each(reader, node, regex)),
        effect: at("effect").map_or(vec![], |node| each(reader, node, effect)),
        environment: at("environment").map_or(vec![], |node| each(reader, node, word)),
    }
}

/// The last line of a regular expression's error says what is wrong; the lines before draw it.
fn short(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn method(text: &str) -> Result<String, String> {
    let token =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if token { Ok(text.to_ascii_uppercase()) } else { Err(format!("`{text}` is not a method")) }
}

/// Every item, converted.
fn each<T>(reader: &Reader, node: &Node, convert: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let item =
        |node: &Node| convert(reader.text(node)?).map_err(|message| reader.mistake(node.place, message)).ok();
    reader.items(node).iter().filter_map(item).collect()
}

fn hold_terms(reader: &Reader, node: &Node) -> HoldTerms {
    let fields = reader.fields(node, &["wait", "expires", "pending_status", "reviewers", "require"]);
    if let Some(node) = fields.get("reviewers")
        && reader.text(node).is_some_and(|count| count != "1")
    {
        reader.mistake(node.place, "more than one reviewer is not available in this version");
    }
    if let Some(node) = fields.get("require")
        && reader.text(node).is_some_and(|what| what != "session")
    {
        reader.mistake(node.place, "only `session` is available in this version");
    }
    let statuses = [("503", 503), ("403", 403), ("202", 202)];
    HoldTerms {
        wait: fields.get("wait").and_then(|node| reader.duration(node)),
        expires: fields.get("expires").and_then(|node| reader.duration(node)),
        pending_status: fields.get("pending_status").and_then(|node| reader.word(node, &statuses)),
    }
}

/// A day, to its end in UTC, or a moment.
fn until(reader: &Reader, node: &Node) -> Option<Timestamp> {
    let text = reader.text(node)?;
    let day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        let next = day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(next.timestamp())
    };
    let moment = text.parse::<Timestamp>().ok().or_else(day);
    if moment.is_none() {
        let wanted = "expected a day such as 2027-01-31 or a moment such as 2027-01-31T12:00:00Z";
        reader.mistake(node.place, format_args!("{wanted}, not `{text}`"));
    }
    moment
}
