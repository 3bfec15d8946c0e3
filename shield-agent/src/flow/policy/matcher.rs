//! `match:` — which requests a rule or an exception is about.

use regex::Regex;

use super::facts::{Facts, HeadFacts};
use super::host::{HostPattern, WordPattern};
use super::path::Template;
use crate::flow::inspect::action::Effect;

/// All given keys must match; each holds alternatives, and an empty one was not given.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    pub(super) agent: Vec<WordPattern>,
    pub(super) host: Vec<HostPattern>,
    /// In upper case.
    pub(super) method: Vec<String>,
    pub(super) path: Vec<Template>,
    pub(super) path_regex: Vec<Regex>,
    pub(super) body_regex: Vec<Regex>,
    pub(super) effect: Vec<Effect>,
    pub(super) environment: Vec<String>,
}

/// Which way doubt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lean {
    /// It restricts: any reading of a request that matches counts, and so does what cannot be known.
    Strict,
    /// It permits: every reading must match, for certain.
    Loose,
}

/// Whether something matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// For certain.
    Yes,
    /// Not, because of this key.
    No(&'static str),
    /// This key cannot be evaluated.
    Unsure(&'static str),
}

impl Fit {
    /// Whether that counts as a match.
    pub(super) fn counts(self, lean: Lean) -> bool {
        match self {
            Self::Yes => true,
            Self::No(_) => false,
            Self::Unsure(_) => lean == Lean::Strict,
        }
    }

    /// Both must match.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Yes => other(),
            Self::No(_) => self,
            Self::Unsure(_) => match other() {
                Self::No(key) => Self::No(key),
                _ => self,
            },
        }
    }
}

impl Matcher {
    /// What the head alone decides.
    pub(super) fn fits_head(&self, facts: &HeadFacts<'_>, lean: Lean) -> Fit {
        let readings = |forms: &[String], any: &dyn Fn(&str) -> bool| match lean {
            Lean::Strict => forms.iter().any(|form| any(form)),
            Lean::Loose => forms.iter().all(|form| any(form)),
        };
        let method = |form: &str| match lean {
            Lean::Strict => self.method.iter().any(|method| method.eq_ignore_ascii_case(form)),
            Lean::Loose => self.method.iter().any(|method| method == form),
        };
        // One after the other: most rules are about another method, and paths take longest to compare.
        if !self.host.is_empty() && !self.host.iter().any(|host| host.matches(&facts.head.host)) {
            Fit::No("host")
        } else if !self.agent.is_empty()
            && !self.agent.iter().any(|agent| agent.matches(facts.agent.as_str()))
        {
            Fit::No("agent")
        } else if !self.method.is_empty() && !readings(&facts.methods, &method) {
            Fit::No("method")
        } else if !self.path.is_empty()
            && !readings(&facts.paths, &|form| self.path.iter().any(|path| path.matches(form)))
        {
            Fit::No("path")
        } else if !self.path_regex.is_empty()
            && !readings(&facts.paths, &|form| self.path_regex.iter().any(|regex| regex.is_match(form)))
        {
            Fit::No("path_regex")
        } else {
            Fit::Yes
        }
    }

    /// Everything.
    pub(super) fn fits(&self, facts: &Facts<'_>, lean: Lean) -> Fit {
        self.fits_head(&facts.head, lean).and(|| self.fits_action(facts)).and(|| self.fits_body(facts))
    }

    fn fits_action(&self, facts: &Facts<'_>) -> Fit {
        let action = facts.subject.action;
        let environment = action.environment.as_deref().unwrap_or_default();
        let fits_effect = self.effect.is_empty() || self.effect.contains(&action.effect);
        let fits_environment = self.environment.is_empty()
            || self.environment.iter().any(|word| word.eq_ignore_ascii_case(environment));
        match (fits_effect, fits_environment) {
            (true, true) => Fit::Yes,
            (false, _) if facts.action_is_uncertain() => Fit::Unsure("effect"),
            (false, _) => Fit::No("effect"),
            (true, false) if facts.action_is_uncertain() => Fit::Unsure("environment"),
            (true, false) => Fit::No("environment"),
        }
    }

    fn fits_body(&self, facts: &Facts<'_>) -> Fit {
        if self.body_regex.is_empty() {
            return Fit::Yes;
        }
        match facts.body().text {
            None => Fit::Unsure("body_regex"),
            Some(text) if self.body_regex.iter().any(|regex| regex.is_match(text)) => Fit::Yes,
            Some(_) => Fit::No("body_regex"),
        }
    }

    /// Whether some request of `agent` to `host` may match.
    pub(super) fn may_be_about(&self, agent: &str, host: &str) -> bool {
        (self.agent.is_empty() || self.agent.iter().any(|pattern| pattern.matches(agent)))
            && (self.host.is_empty() || self.host.iter().any(|pattern| pattern.matches(host)))
    }

    /// Whether nothing but agent and host is looked at.
    pub(super) fn reads_only_agent_and_host(&self) -> bool {
        let Self { agent: _, host: _, method, path, path_regex, body_regex, effect, environment } = self;
        method.is_empty()
            && path.is_empty()
            && path_regex.is_empty()
            && body_regex.is_empty()
            && effect.is_empty()
            && environment.is_empty()
    }

    /// Whether it is about hosts it names, and not about all of them.
    pub(super) fn names_hosts(&self) -> bool {
        !self.host.is_empty() && !self.host.contains(&HostPattern::Any)
    }

    /// Whether the body is looked at, or what it may mean.
    pub(super) fn reads_body(&self) -> bool {
        !self.body_regex.is_empty()
    }

    /// Whether the action is looked at.
    pub(super) fn reads_action(&self) -> bool {
        !self.effect.is_empty() || !self.environment.is_empty()
    }
}
