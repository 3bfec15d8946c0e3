//! `shield holds`: what waits for a person, as a table or as JSON, and as it comes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use comfy_table::{Table, presets};
use jiff::Timestamp;

use super::{Failure, Output, code};
use crate::approval::event::Event;
use crate::approval::view::{HoldState, HoldView};
use crate::approval::visible;
use crate::config::Config;
use crate::control::{Control, ControlError};
use crate::names::{AgentName, HoldId};

/// What `--state` takes.
const STATES: [&str; 10] = [
    "pending",
    "all",
    "approved",
    "sending",
    "done",
    "denied",
    "expired",
    "cancelled",
    "refused",
    "outcome-unknown",
];

/// How long to wait before a daemon that went away is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// `shield holds`
#[derive(Debug, Args)]
pub(super) struct HoldsArgs {
    /// Holds in which state
    #[arg(long, value_name = "STATE", default_value = "pending", value_parser = PossibleValuesParser::new(STATES))]
    state: String,
    /// Holds of one agent only
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// Keep printing new ones as they come
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(config: &Path, args: &HoldsArgs, output: Output) -> Result<u8, Failure> {
    let control = control(config)?;
    if args.watch {
        return watch(&control, args, output);
    }
    let holds = control.holds(&args.state, args.agent.as_ref())?;
    match output {
        Output::Table if holds.is_empty() => eprintln!("no holds ({})", args.state),
        Output::Table => println!("{}", table(&holds)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&holds)?),
        Output::Jsonl => holds.iter().for_each(|hold| println!("{}", json_line(hold))),
    }
    Ok(code::OK)
}

/// The daemon's approver, as the configuration says where it is.
pub(super) fn control(config: &Path) -> Result<Control, Failure> {
    Ok(Control::new(&Config::load(config)?.run_dir)?)
}

/// An id or a beginning of one: what follows it in an address must not depend on it.
pub(super) fn id(text: &str) -> Result<String, String> {
    let good = (1..=26).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if good { Ok(text.to_owned()) } else { Err("expected the id of a hold, or its beginning".to_owned()) }
}

/// A state as JSON and people name it.
pub(super) fn state_word(state: HoldState) -> String {
    let value = serde_json::to_value(state).ok();
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

fn json_line(hold: &HoldView) -> String {
    serde_json::to_string(hold).expect("a hold can be written as JSON")
}

const HEADER: [&str; 6] = ["ID", "AGE", "AGENT", "STATE", "RULE", "SUMMARY"];

fn table(holds: &[HoldView]) -> Table {
    let now = Timestamp::now();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for hold in holds {
        table.add_row(cells(hold, now));
    }
    table
}

fn cells(hold: &HoldView, now: Timestamp) -> [String; 6] {
    let rule = hold.rule.as_ref().map_or("(default)".to_owned(), |rule| visible::line(&rule.0));
    let age = age(now.duration_since(hold.created_at).as_secs());
    let (id, agent, state) = (hold.id.to_string(), hold.agent.to_string(), state_word(hold.state));
    [id, age, agent, state, rule, visible::line(&hold.action.summary)]
}

/// Seconds in the largest unit that fits.
pub(super) fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Prints what there is, then what comes. Lines cannot be aligned with those that are not there yet.
fn watch(control: &Control, args: &HoldsArgs, output: Output) -> Result<u8, Failure> {
    let mut watcher = Watcher { args, output, seen: HashSet::new() };
    if output == Output::Table {
        println!("{}", row(&HEADER.map(str::to_owned)));
    }
    watcher.follow(control)?;
    loop {
        // Only the first failure is the caller's; afterwards they asked to be kept informed.
        std::thread::sleep(ASK_AGAIN);
        if let Err(error) = watcher.follow(control)
            && error.code != code::UNREACHABLE
        {
            return Err(error);
        }
    }
}

struct Watcher<'a> {
    args: &'a HoldsArgs,
    output: Output,
    seen: HashSet<(HoldId, HoldState)>,
}

impl Watcher<'_> {
    /// Prints what is new until the stream of changes ends.
    fn follow(&mut self, control: &Control) -> Result<(), Failure> {
        // First the stream, then the list: nothing can fall in between.
        let events = control.events()?;
        for hold in control.holds(&self.args.state, self.args.agent.as_ref())? {
            self.show(&hold);
        }
        for event in events {
            if let Err(error) = event.and_then(|event| self.look(control, &event)) {
                eprintln!("{error}; waiting for it");
                break;
            }
        }
        Ok(())
    }

    /// Prints the hold a change is about.
    fn look(&mut self, control: &Control, event: &Event) -> Result<(), ControlError> {
        let wanted = self.args.agent.as_ref().is_none_or(|agent| event.agent.as_ref() == Some(agent));
        let Some(id) = event.hold.filter(|_| wanted) else { return Ok(()) };
        match control.hold(&id.to_string()) {
            Ok(hold) => self.show(&hold),
            Err(ControlError::Problem(problem)) => eprintln!("{problem}"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn show(&mut self, hold: &HoldView) {
        let wanted = self.args.state == "all" || self.args.state == state_word(hold.state);
        if wanted && self.seen.insert((hold.id, hold.state)) {
            match self.output {
                Output::Table => println!("{}", row(&cells(hold, Timestamp::now()))),
                Output::Json | Output::Jsonl => println!("{}", json_line(hold)),
            }
        }
    }
}

fn row([id, age, agent, state, rule, summary]: &[String; 6]) -> String {
    format!("{id:<26}  {age:<4} {agent:<16} {state:<15} {rule:<20} {summary}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::hold;

    #[test]
    fn every_state_can_be_asked_for() {
        for state in STATES.iter().filter(|state| **state != "all") {
            let parsed: HoldState = serde_json::from_value((*state).into()).unwrap();
            assert_eq!(state_word(parsed), *state);
        }
    }

    #[test]
    fn a_row_shows_what_cannot_be_seen_and_never_becomes_two() {
        let mut held = hold(HoldState::Pending);
        held.action.summary = "Delete a\nb \u{202e}c".into();
        let cells = cells(&held, held.created_at);
        assert_eq!(cells[5], "Delete a‹U+000A›b ‹U+202E›c");
        assert_eq!(row(&cells).lines().count(), 1);
    }

    #[test]
    fn an_age_is_in_the_largest_unit_that_fits() {
        assert_eq!([-5, 59, 60, 3599, 7200, 200_000].map(age), ["0s", "59s", "1m", "59m", "2h", "2d"]);
    }
}
