//! `shield policy`: does it load, do its own tests pass, what would it say of a request.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::json;

use super::{Failure, Output, code, gates};
use crate::config::Config;
use crate::daemon::policy_files::PolicyFiles;
use crate::flow::policy::inline::MadeUp;
use crate::flow::policy::verdict::Verdict;
use crate::flow::policy::{Explanation, Outcome, Policy};
use crate::names::AgentName;

/// Verbs about policy files.
#[derive(Debug, Subcommand)]
pub(super) enum PolicyVerb {
    /// Say whether policy files load, or every mistake in them
    Check(Files),
    /// Run the tests inside policy files
    Test(Files),
    /// Say which rules match a request, and why
    Explain(ExplainArgs),
    /// Have the daemon read its policy files again
    Reload,
}

/// Policy files.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Policy files [default: the configuration's]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// `shield policy explain`
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Method of the request
    #[arg(long, default_value = "GET", value_name = "M")]
    method: String,
    /// URL of the request
    #[arg(long, value_name = "URL")]
    url: String,
    /// Body of the request, or `@` and a file
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// A header field
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The agent that asks
    #[arg(long, value_name = "NAME", default_value = "agent")]
    agent: AgentName,
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(config: &Path, verb: &PolicyVerb, output: Output) -> Result<u8, Failure> {
    match verb {
        PolicyVerb::Check(files) => check(&files.compile(config)?, output),
        PolicyVerb::Test(files) => test(&files.compile(config)?, output),
        PolicyVerb::Explain(args) => explain(config, args, output),
        PolicyVerb::Reload => gates::reload_policy(config),
    }
}

impl Files {
    fn compile(&self, config: &Path) -> Result<Policy, Failure> {
        let files = if self.files.is_empty() {
            let patterns = Config::load(config)?.policies;
            PolicyFiles::unread(&patterns).read_text()?.files
        } else {
            let read = |path: &PathBuf| match std::fs::read_to_string(path) {
                Ok(text) => Ok((path.display().to_string(), text)),
                Err(error) => {
                    Err(Failure::new(code::ERROR, format!("cannot read {}: {error}", path.display())))
                }
            };
            self.files.iter().map(read).collect::<Result<_, _>>()?
        };
        Ok(Policy::compile(&files)?)
    }
}

fn check(policy: &Policy, output: Output) -> Result<u8, Failure> {
    let (rules, tests) = (policy.rule_count(), policy.tests.len());
    match output {
        Output::Table => println!("good: {rules} rules, {tests} tests"),
        Output::Json | Output::Jsonl => println!("{}", json!({ "rules": rules, "tests": tests })),
    }
    Ok(code::OK)
}

fn test(policy: &Policy, output: Output) -> Result<u8, Failure> {
    let now = Timestamp::now();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["RESULT", "TEST", "EXPECTED", "GOT"]);
    let (mut failed, mut lines) = (0, Vec::new());
    for test in &policy.tests {
        let result = test.run(policy, now);
        let rule = |rule: &Option<crate::names::RuleId>| {
            rule.as_ref().map_or(String::new(), |rule| format!(" by {rule}"))
        };
        let expected = format!("{}{}", test.verdict, rule(&test.rule));
        let got = result.as_ref().err().map(|got| format!("{}{}", got.verdict, rule(&got.rule)));
        failed += usize::from(got.is_some());
        let word = if got.is_some() { "FAILED" } else { "ok" };
        lines.push(json!({ "name": test.name, "file": test.file, "line": test.line, "ok": got.is_none(),
            "expected": expected, "got": got }));
        table.add_row([word, &test.name, &expected, got.as_deref().unwrap_or_default()]);
    }
    match output {
        Output::Table if policy.tests.is_empty() => println!("there are no tests: add some under `tests:`"),
        Output::Table => println!("{table}\n{} passed, {failed} failed", policy.tests.len() - failed),
        Output::Json => println!("{}", serde_json::to_string_pretty(&lines)?),
        Output::Jsonl => lines.iter().for_each(|line| println!("{line}")),
    }
    Ok(if failed == 0 { code::OK } else { code::ERROR })
}

fn explain(config: &Path, args: &ExplainArgs, output: Output) -> Result<u8, Failure> {
    let policy = args.files.compile(config)?;
    let body = match args.body.as_deref().map(|body| body.strip_prefix('@').ok_or(body)) {
        None => vec![],
        Some(Err(text)) => text.as_bytes().to_vec(),
        Some(Ok(path)) => std::fs::read(path)
            .map_err(|error| Failure::new(code::ERROR, format!("cannot read the body {path}: {error}")))?,
    };
    let request = MadeUp::new(args.agent.clone(), &args.method, &args.url, &args.header, body)
        .map_err(|message| Failure::new(code::USAGE, message))?;
    let told = request.explain(&policy, Timestamp::now());
    match output {
        Output::Table => print_explanation(&told),
        Output::Json => println!("{}", serde_json::to_string_pretty(&told)?),
        Output::Jsonl => println!("{}", serde_json::to_string(&told)?),
    }
    Ok(code::OK)
}

fn print_explanation(told: &Explanation) {
    let judgement = &told.judgement;
    let by = judgement.rule.as_ref().map_or("no rule".to_owned(), |rule| format!("rule {rule}"));
    println!("{} by {by}: {}", judgement.verdict, judgement.why);
    for (rule, verdict) in &judgement.observed {
        println!("would be {verdict} by {rule}, which is only tried out");
    }
    if let Some(name) = told.name.as_ref().filter(|name| name.verdict == Verdict::Deny) {
        let by = name.rule.as_ref().map_or(String::new(), |rule| format!("rule {rule}: "));
        println!("its name cannot be resolved, {by}{}", name.why);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["RULE", "VERDICT", "", "BECAUSE OF"]);
    for trace in &told.rules {
        let outcome = match trace.outcome {
            Outcome::Matches => "matches",
            Outcome::DoesNotMatch => "does not match",
            Outcome::CountsInDoubt => "cannot be evaluated, counts",
            Outcome::DoesNotCountInDoubt => "cannot be evaluated, does not count",
            Outcome::Excepted => "matches, but an exception covers it",
            Outcome::Observed => "matches, only tried out",
        };
        table.add_row([trace.rule.0.as_str(), &trace.verdict.to_string(), outcome, trace.key]);
    }
    println!("\n{table}");
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim().to_owned())),
        _ => Err("expected NAME:VALUE".to_owned()),
    }
}
