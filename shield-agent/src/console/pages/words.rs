//! Numbers and states as people say them.

use jiff::Timestamp;

use crate::approval::view::HoldState;
use crate::flow::inspect::action::{Action, Effect};
use crate::flow::policy::verdict::Verdict;

/// Currencies that have no smaller unit …
const WHOLE: [&str; 16] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
    "XPF",
];

/// … and those of which it is a thousandth.
const THOUSANDTHS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMN", "TND"];

/// A time, relative to now and exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// `3 min ago`
    pub(super) relative: String,
    /// `2026-11-25 17:40:02 UTC`
    pub(super) exact: String,
    /// As machines write it.
    pub(super) machine: String,
}

impl Moment {
    pub(super) fn new(at: Timestamp, now: Timestamp) -> Self {
        let seconds = at.as_second() - now.as_second();
        let length = length(seconds.unsigned_abs());
        let relative = match seconds {
            -4..=4 => "now".to_owned(),
            ..-4 => format!("{length} ago"),
            _ => format!("in {length}"),
        };
        Self { relative, exact: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(), machine: at.to_string() }
    }
}

/// A short word on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    /// `bad`, `warn`, `good` or `plain`: a class of the style sheet.
    pub(super) tone: &'static str,
    pub(super) text: String,
}

impl Chip {
    fn new(tone: &'static str, text: impl Into<String>) -> Self {
        Self { tone, text: text.into() }
    }
}

/// What a reviewer weighs first: what it does, whether it can be undone, where, and how much of it.
pub(super) fn chips(action: &Action) -> Vec<Chip> {
    let grave = matches!(
        action.effect,
        Effect::Delete | Effect::Execute | Effect::Spend | Effect::Grant | Effect::Deploy | Effect::Connect
    );
    let tone = if grave { "bad" } else { "plain" };
    let mut chips = vec![Chip::new(tone, effect(action.effect))];
    chips.push(match action.reversible {
        Some(false) => Chip::new("bad", "cannot be undone"),
        Some(true) => Chip::new("good", "can be undone"),
        None => Chip::new("warn", "may not be undoable"),
    });
    if let Some(environment) = &action.environment {
        let tone = if environment.starts_with("prod") { "bad" } else { "plain" };
        chips.push(Chip::new(tone, environment));
    }
    if let Some(amount) = action.amount {
        chips.push(Chip::new("bad", money(amount, action.currency.as_deref())));
    }
    if let Some(count) = action.count {
        chips.push(Chip::new("warn", if count == 1 { "1 thing".into() } else { format!("{count} things") }));
    }
    chips
}

/// An amount of minor units.
pub(super) fn money(amount: i64, currency: Option<&str>) -> String {
    let Some(currency) = currency else { return format!("amount {amount}") };
    let digits = match currency {
        whole if WHOLE.contains(&whole) => return format!("{amount} {currency}"),
        small if THOUSANDTHS.contains(&small) => 3,
        _ => 2,
    };
    let (sign, unit) = (if amount < 0 { "−" } else { "" }, 10_u64.pow(digits));
    let (whole, rest) = (amount.unsigned_abs() / unit, amount.unsigned_abs() % unit);
    format!("{sign}{whole}.{rest:0width$} {currency}", width = digits as usize)
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Read => "reads",
        Effect::Write => "writes",
        Effect::Delete => "deletes",
        Effect::Execute => "runs code",
        Effect::Spend => "moves money",
        Effect::Message => "sends a message",
        Effect::Grant => "changes access",
        Effect::Deploy => "deploys",
        Effect::Connect => "opens a connection nobody can read",
        Effect::Unknown => "effect unknown",
    }
}

/// A state, and its tone.
pub(super) fn state(state: HoldState) -> Chip {
    let (tone, text) = match state {
        HoldState::Pending => ("warn", "waiting"),
        HoldState::Approved => ("good", "approved"),
        HoldState::Sending => ("good", "being sent"),
        HoldState::Done => ("good", "sent"),
        HoldState::Denied => ("bad", "denied"),
        HoldState::Expired => ("plain", "expired"),
        HoldState::Cancelled => ("plain", "withdrawn"),
        HoldState::Refused => ("bad", "not sent"),
        HoldState::OutcomeUnknown => ("bad", "outcome unknown"),
    };
    Chip::new(tone, text)
}

/// A verdict, and its tone.
pub(super) fn verdict(verdict: Verdict) -> Chip {
    match verdict {
        Verdict::Allow => Chip::new("good", "allowed"),
        Verdict::Hold => Chip::new("warn", "held"),
        Verdict::Deny => Chip::new("bad", "denied"),
    }
}

/// A number of bytes.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// How long something took.
pub(super) fn took(milliseconds: u64) -> String {
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
        _ => length(milliseconds / 1000),
    }
}

fn length(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => match seconds % 3600 / 60 {
            0 => format!("{} h", seconds / 3600),
            minutes => format!("{} h {minutes} min", seconds / 3600),
        },
        _ => match seconds / 86_400 {
            1 => "1 day".into(),
            days => format!("{days} days"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-11-25T17:40:00Z".parse().unwrap();
        for (seconds, words) in [
            (0, "now"),
            (-42, "42 s ago"),
            (-61, "1 min ago"),
            (1700, "in 28 min"),
            (-7260, "2 h 1 min ago"),
            (-90_000, "1 day ago"),
            (400_000, "in 4 days"),
        ] {
            let at = Timestamp::from_second(now.as_second() + seconds).unwrap();
            assert_eq!(Moment::new(at, now).relative, words);
        }
        assert_eq!(Moment::new(now, now).exact, "2026-11-25 17:40:00 UTC");
    }

    #[test]
    fn amounts_have_the_digits_of_their_currency() {
        assert_eq!(money(129_005, Some("EUR")), "1290.05 EUR");
        assert_eq!(money(-5, Some("USD")), "−0.05 USD");
        assert_eq!(money(1290, Some("JPY")), "1290 JPY");
        assert_eq!(money(1290, Some("KWD")), "1.290 KWD");
        assert_eq!(money(1290, None), "amount 1290");
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(17), "17 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(8 << 20), "8.0 MiB");
        assert_eq!(took(1234), "1.2 s");
    }
}
