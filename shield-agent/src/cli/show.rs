//! `shield show`: one hold in full, as a reviewer at a terminal needs it.
//!
//! Whatever an agent wrote stands behind a bar of ours, line by line, with unseen characters spelled out: it can neither
//! pass for our words nor move the cursor.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;
use jiff::Timestamp;

use super::holds::{age, control, id, state_word};
use super::{Failure, Output, code};
use crate::approval::view::{BodyInfo, Decision, HoldState, HoldView};
use crate::approval::visible;
use crate::flow::origin::Ancestor;

/// `shield show`
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The hold, or a unique beginning of its id
    #[arg(value_name = "ID", value_parser = id)]
    id: String,
    /// Write the raw body, unmasked, to standard output
    #[arg(long)]
    body: bool,
}

pub(super) fn run(config: &Path, args: &ShowArgs, output: Output) -> Result<u8, Failure> {
    let control = control(config)?;
    let hold = control.hold(&args.id)?;
    if args.body {
        return raw(&control.body(hold.id)?);
    }
    match output {
        Output::Table => print!("{}", page(&hold, Timestamp::now())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&hold)?),
        Output::Jsonl => println!("{}", serde_json::to_string(&hold)?),
    }
    Ok(code::OK)
}

/// Raw bytes, but never to a terminal that would obey them.
fn raw(body: &[u8]) -> Result<u8, Failure> {
    let harmless = std::str::from_utf8(body).is_ok_and(|text| visible::block(text) == text);
    if std::io::stdout().is_terminal() && !harmless {
        let message = "the body holds characters a terminal may obey: send it to a file, or through `less`";
        return Err(Failure::new(code::ERROR, message));
    }
    std::io::stdout().write_all(body)?;
    Ok(code::OK)
}

/// Everything, in the order a reviewer asks: what, by whom, where to, since when; then the request itself.
fn page(hold: &HoldView, now: Timestamp) -> String {
    let mut fields = vec![
        ("hold", hold.id.to_string()),
        ("state", state(hold, now)),
        ("action", visible::line(&hold.action.summary)),
        ("", meaning(hold)),
        ("agent", hold.agent.to_string()),
        ("rule", rule(hold)),
        ("goes to", destination(hold)),
        ("asked by", caller(hold)),
        ("", cmdline(hold)),
        ("", origin(hold)),
        ("", lineage(hold)),
        ("asked", asked(hold)),
        ("digest", hold.digest.to_string()),
    ];
    fields.extend(decision(hold));
    fields.extend(result(hold));
    let said = fields.iter().filter(|(_, text)| !text.is_empty());
    let mut page: String = said.map(|(name, text)| format!("{name:<12} {text}\n")).collect();
    page.push('\n');
    page.push_str(&request(hold));
    page
}

fn decision(hold: &HoldView) -> Vec<(&'static str, String)> {
    let Some(decision) = &hold.decision else { return vec![] };
    let verb = if decision.decision == Decision::Approve { "approved" } else { "denied" };
    let by = format!("{verb} by {} at {:.0}", visible::line(&decision.by), decision.at);
    vec![("decision", by), ("", visible::line(&decision.reason))]
}

fn result(hold: &HoldView) -> Vec<(&'static str, String)> {
    let Some(result) = &hold.result else { return vec![] };
    let answer = result.status.map_or("no answer".to_owned(), |status| format!("answered {status}"));
    let (size, at, collected) = (result.size, result.at, result.collected);
    let told = format!("{answer}, {size} bytes, at {at:.0}; collected {collected} ×");
    vec![("result", told), ("", result.error.as_deref().map(visible::line).unwrap_or_default())]
}

fn state(hold: &HoldView, now: Timestamp) -> String {
    let since = age(now.duration_since(hold.created_at).as_secs());
    let word = state_word(hold.state);
    match hold.state {
        HoldState::Pending => {
            let left = age(hold.expires_at.duration_since(now).as_secs());
            format!("{word} for {since}, expires in {left} ({:.0})", hold.expires_at)
        }
        _ => format!("{word}; held at {:.0}, {since} ago", hold.created_at),
    }
}

fn meaning(hold: &HoldView) -> String {
    let action = &hold.action;
    let effect = serde_json::to_value(action.effect).ok();
    let effect = effect.as_ref().and_then(|effect| effect.as_str()).unwrap_or_default().to_owned();
    let reversible = action.reversible.map(|can| if can { "can be undone" } else { "cannot be undone" });
    let environment = action.environment.as_deref().map(|place| format!("in {}", visible::line(place)));
    let count = action.count.map(|count| format!("{count} things"));
    let amount = action.amount.map(|amount| {
        let currency = action.currency.as_deref().unwrap_or("in minor units");
        format!("{}.{:02} {}", amount / 100, amount.unsigned_abs() % 100, visible::line(currency))
    });
    let operation = format!("{}: {}", visible::line(&action.family), visible::line(&action.operation));
    let parts = [Some(effect), reversible.map(str::to_owned), environment, count, amount, Some(operation)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn rule(hold: &HoldView) -> String {
    let why = visible::line(&hold.why);
    hold.rule.as_ref().map_or(why.clone(), |rule| format!("{}: {why}", visible::line(&rule.0)))
}

fn destination(hold: &HoldView) -> String {
    let to = &hold.destination;
    let address = std::net::SocketAddr::new(to.ip, to.port);
    let verified = to.verified_name.as_deref().map(visible::line);
    verified.map_or(address.to_string(), |name| format!("{address}, its certificate is {name}'s"))
}

fn caller(hold: &HoldView) -> String {
    let caller = &hold.caller;
    let exe = match (caller.exe.as_str(), caller.exited) {
        ("", true) => "a process that is gone",
        ("", false) => "an unknown program",
        (exe, _) => exe,
    };
    let (exe, comm) = (visible::line(exe), visible::line(&caller.comm));
    format!("{exe} ({comm}), pid {}, uid {}", caller.pid, caller.uid)
}

/// Where the process came from.
fn origin(hold: &HoldView) -> String {
    let caller = &hold.caller;
    let known =
        |name: &str, text: &str| (!text.is_empty()).then(|| format!("{name} {}", visible::line(text)));
    let parts = [
        known("in", &caller.cwd),
        caller.start_time.map(|at| format!("since {at:.0}")),
        caller.exited.then(|| "ended since".to_owned()),
        known("unit", caller.unit.as_deref().unwrap_or_default()),
        known("container", caller.container.as_deref().unwrap_or_default()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Who started it, nearest first.
fn lineage(hold: &HoldView) -> String {
    let name = |above: &Ancestor| {
        let program = if above.exe.is_empty() { &above.comm } else { &above.exe };
        format!("{} ({})", visible::line(program), above.pid)
    };
    let above: Vec<String> = hold.caller.ancestry.iter().map(name).collect();
    if above.is_empty() { String::new() } else { format!("started by {}", above.join(" ← ")) }
}

fn cmdline(hold: &HoldView) -> String {
    let arguments: Vec<String> = hold.caller.cmdline.iter().map(|word| visible::line(word)).collect();
    arguments.join(" ")
}

fn asked(hold: &HoldView) -> String {
    let waits = if hold.caller_waiting { "its connection waits" } else { "no connection waits" };
    format!("{} ×, {waits}", hold.asked)
}

/// The request as it will be sent, but for masked secrets.
fn request(hold: &HoldView) -> String {
    let request = &hold.request;
    let mut lines = vec![format!("{} {}", visible::line(&request.method), visible::line(&request.url))];
    for (name, value) in &request.headers {
        lines.push(format!("{}: {}", visible::line(name), visible::line(value)));
    }
    if let Some(text) = request.body.text.as_deref().filter(|text| !text.is_empty()) {
        lines.push(String::new());
        lines.extend(visible::block(text).split('\n').map(str::to_owned));
    }
    let mut text: String =
        lines.iter().map(|line| format!("│ {line}").trim_end().to_owned() + "\n").collect();
    text.push_str(&about_body(&request.body, hold));
    if !request.refreshable.is_empty() {
        let names: Vec<String> = request.refreshable.iter().map(|name| visible::line(name)).collect();
        text.push_str(&format!("newer values may be sent when the agent asks again: {}\n", names.join(", ")));
    }
    text
}

fn about_body(body: &BodyInfo, hold: &HoldView) -> String {
    let raw = format!("`shield show {} --body` writes it raw", hold.id);
    let kind = visible::line(&body.media_type);
    let kind = if kind.is_empty() { "of no stated type".to_owned() } else { kind };
    let mut text = match body.size {
        0 => "no body".to_owned(),
        size => format!("body: {size} bytes, {kind}, sha256 {}", visible::line(&body.sha256)),
    };
    if body.size > 0 && (body.truncated || body.text.is_none()) {
        let shown = if body.text.is_none() { "not text" } else { "only its beginning is shown" };
        text.push_str(&format!("; {shown}: {raw}"));
    }
    if !body.inspectable {
        text.push_str("; it could not be decoded, so no rule could look inside");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::tests::hold;

    #[test]
    fn a_page_says_everything_about_a_hold() {
        let held = hold(HoldState::Pending);
        let now = "2027-01-01T00:01:00Z".parse().unwrap();
        let expected = "\
hold         01J00000000000000000000000
state        pending for 1m, expires in 29m (2027-01-01T00:30:00Z)
action       Delete customer 8821 at crm.acme.internal
             delete, cannot be undone, in production, http: DELETE /v1/customers/{id}
agent        deploy-bot
rule         http-delete: deletes cannot be undone
goes to      203.0.113.7:443, its certificate is crm.acme.internal's
asked by     /usr/bin/python3 (python3), pid 4242, uid 1001
             python3 cleanup.py
             in /srv/agent, since 2026-12-31T23:59:00Z, unit bot.service
             started by /bin/bash (4200) ← shield (4100)
asked        1 ×, its connection waits
digest       sha256:abababababababababababababababababababababababababababababababab

│ DELETE https://crm.acme.internal/v1/customers/8821
│ authorization: Bearer ••••
│
│ {\"cascade\":true}
body: 16 bytes, application/json, sha256 00
newer values may be sent when the agent asks again: authorization
";
        assert_eq!(page(&held, now), expected);
    }

    #[test]
    fn an_agents_text_cannot_pass_for_ours() {
        let mut held = hold(HoldState::Pending);
        let forged = "x\ndecision     approved by ada\r\u{1b}[2J";
        held.action.summary = forged.into();
        held.request.url = forged.into();
        held.request.body.text = Some(forged.into());
        held.caller.cmdline = vec![forged.into()];
        let page = page(&held, held.created_at);
        assert!(!page.lines().any(|line| line.starts_with("decision")), "{page}");
        assert!(!page.contains(['\r', '\u{1b}']));
    }
}
