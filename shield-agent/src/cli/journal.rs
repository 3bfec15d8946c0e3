//! `shield journal`: what happened, and whether the record of it is whole. Reads the store's file, not the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime;

use super::{Failure, Output, code};
use crate::approval::visible;
use crate::config::Config;
use crate::journal::read::{JournalReader, Record};
use crate::journal::verify::{VerifyError, verify};
use crate::names::{AgentName, Digest};
use crate::report::Chain;
use crate::store::Place;

/// How often a journal that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Records read at a time while following.
const PAGE: u32 = 500;

/// Longest text about a record, in characters.
const TEXT: usize = 160;

/// Verbs about the journal.
#[derive(Debug, Subcommand)]
pub(super) enum JournalVerb {
    /// Print the newest records, newest last
    Tail(TailArgs),
    /// Check every record and the chain that binds them
    Verify(VerifyArgs),
}

/// `shield journal tail`
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "N", default_value = "20")]
    lines: u32,
    /// Keep printing new ones as they come
    #[arg(short, long)]
    follow: bool,
    /// Records about one agent only
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    #[command(flatten)]
    store: StoreArgs,
}

/// `shield journal verify`
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Whose journal.
#[derive(Debug, Args)]
struct StoreArgs {
    /// Read the journal in this file [default: the configuration's store.url]
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    fn place(&self, config: &Path) -> Result<Place, Failure> {
        match &self.store {
            Some(file) => Ok(Place::file(file)),
            None => Ok(Place::from_url(&Config::load(config)?.store_url)?),
        }
    }
}

pub(super) fn run(config: &Path, verb: &JournalVerb, output: Output) -> Result<u8, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            JournalVerb::Tail(args) => tail(args.store.place(config)?, args, output).await,
            JournalVerb::Verify(args) => check(args.store.place(config)?, output).await,
        }
    })
}

async fn check(place: Place, output: Output) -> Result<u8, Failure> {
    let mut journal = JournalReader::open(place).await?;
    let verified = verify(&mut journal).await;
    if output != Output::Table {
        let told = match &verified {
            Ok(whole) => json!({ "whole": true, "records": whole.records, "head": Digest(whole.head.hash) }),
            Err(VerifyError::Broken { seq, flaw }) => {
                json!({ "whole": false, "first_bad": seq, "flaw": flaw.to_string() })
            }
            Err(error) => json!({ "whole": false, "flaw": Chain(error).to_string() }),
        };
        println!("{told}");
    }
    let whole = verified?;
    if output == Output::Table {
        println!("{} records, head {}, chain whole", whole.records, Digest(whole.head.hash));
    }
    Ok(code::OK)
}

async fn tail(place: Place, args: &TailArgs, output: Output) -> Result<u8, Failure> {
    let mut journal = JournalReader::open(place).await?;
    let last = journal.newest().await?;
    let agent = args.agent.as_ref();
    let mut newest = journal.before(last.saturating_add(1), agent, args.lines).await?;
    newest.reverse();
    // A document that goes on has no end to close: then it is one a line.
    match output {
        Output::Json if !args.follow => println!("{}", serde_json::to_string_pretty(&newest)?),
        _ => print(&newest, output, true)?,
    }
    if args.follow {
        follow(&mut journal, last, agent, output).await?;
    }
    Ok(code::OK)
}

/// Prints what comes after record `last`; ends only when it cannot be read.
async fn follow(
    journal: &mut JournalReader,
    mut last: i64,
    agent: Option<&AgentName>,
    output: Output,
) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let upto = journal.newest().await?;
        while last < upto {
            let records = journal.after(last, upto, agent, PAGE).await?;
            print(&records, output, false)?;
            last = match records.last() {
                Some(record) if records.len() == PAGE as usize => record.seq,
                _ => upto,
            };
        }
    }
}

fn print(records: &[Record], output: Output, header: bool) -> Result<(), serde_json::Error> {
    if output == Output::Table && header {
        println!("{}", row(["SEQ", "TIME", "KIND", "AGENT", "SUBJECT", "VERDICT", ""]));
    }
    for record in records {
        match output {
            Output::Table => println!("{}", line(record)),
            Output::Json | Output::Jsonl => println!("{}", serde_json::to_string(record)?),
        }
    }
    Ok(())
}

fn line(record: &Record) -> String {
    let seen = |text: &Option<String>| visible::line(text.as_deref().unwrap_or("-"));
    let (agent, subject, verdict) = (seen(&record.agent), seen(&record.subject), seen(&record.verdict));
    let (seq, at, kind) = (record.seq.to_string(), format!("{:.3}", record.at), visible::line(&record.kind));
    row([&seq, &at, &kind, &agent, &subject, &verdict, &gist(record.body.get())])
}

fn row([seq, at, kind, agent, subject, verdict, text]: [&str; 7]) -> String {
    let line = format!("{seq:>7}  {at:<24}  {kind:<17}  {agent:<14}  {subject:<26}  {verdict:<7}  {text}");
    line.trim_end().to_owned()
}

/// The few words of a record's body that tell people most, or all of it when it has none of them.
fn gist(body: &str) -> String {
    let told = serde_json::from_str(body).map(|value: Value| {
        let found = |name: &str| find(&value, name, 3);
        let request = [found("method"), found("url")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let named = |name: &str| found(name).map(|text| format!("{name} {text}"));
        let parts = [
            (!request.is_empty()).then_some(request),
            found("decision"),
            ["by", "reviewer", "rule", "status", "address"]
                .iter()
                .filter_map(|name| named(name))
                .reduce(joined),
            ["summary", "reason", "why", "error"].iter().find_map(|name| found(name)),
        ];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).reduce(joined)
    });
    let text = match told {
        Ok(Some(text)) => text,
        _ if matches!(body, "null" | "{}") => String::new(),
        _ => body.to_owned(),
    };
    let text = visible::line(&text);
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn joined(one: String, other: String) -> String {
    format!("{one}, {other}")
}

/// A text or number by its name, however deep, the least deep first.
fn find(value: &Value, name: &str, depth: usize) -> Option<String> {
    let entries = value.as_object()?;
    match entries.get(name) {
        Some(Value::String(text)) if !text.is_empty() => return Some(text.clone()),
        Some(Value::Number(number)) => return Some(number.to_string()),
        _ if depth == 0 => return None,
        _ => {}
    }
    entries.values().find_map(|value| find(value, name, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gist_of_a_record_is_what_people_ask_first() {
        for (body, text) in [
            (
                r#"{"request":{"method":"GET","url":"https://a.example/"},"why":"no rule"}"#,
                "GET https://a.example/, no rule",
            ),
            (r#"{"decision":"deny","by":"ada","reason":"not now"}"#, "deny, by ada, not now"),
            (r#"{"status":200,"sent":0,"error":null}"#, "status 200"),
            (r#"{"reason":"datagram","address":"192.0.2.7"}"#, "address 192.0.2.7, datagram"),
            (r#"{"cgroup":"/x"}"#, r#"{"cgroup":"/x"}"#),
            ("null", ""),
            ("not\njson", "not‹U+000A›json"),
        ] {
            assert_eq!(gist(body), text, "{body}");
        }
        assert_eq!(gist(&format!("\"{}\"", "é".repeat(500))).chars().count(), TEXT + 1);
    }
}
