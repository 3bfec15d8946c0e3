//! Pages made of invented holds: what an agent writes is shown as text, and nothing a reviewer needs is missing.

use super::agent::AgentPage;
use super::agents::AgentsPage;
use super::history::HistoryPage;
use super::hold::{ConflictPage, HoldPage};
use super::queue::QueuePage;
use super::*;
use crate::approval::listing::Page;
use crate::approval::view::{BodyInfo, Decision, DecisionView, HoldState, HoldView};
use crate::approval::visible;
use crate::console::tests::samples::{self, hold};
use crate::flow::origin::Ancestor;
use crate::names::RuleId;

/// Texts that try to become markup.
const MARKUP: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</textarea></pre></title><svg onload=alert(1)>",
    "<!-- --><iframe src=//evil.example>",
    "{{7*7}}{% raw %}",
    "<div hx-get=/evil hx-trigger=load>",
    "javascript:alert(1)//",
];

/// Texts that try to be read as others.
const UNSEEN: [&str; 5] =
    ["user\u{202e}nimda", "a\u{200b}b", "x\u{e0041}y", "z\u{0}\u{1b}[2J", "w\u{2028}w\u{2066}"];

fn frame() -> Frame {
    Frame { reviewer: Some(samples::reviewer()), ..Frame::bare("t") }
}

fn hold_page(hold: HoldView) -> String {
    HoldPage::new(frame(), hold, String::new(), samples::now()).render().unwrap()
}

fn every_page(hold: &HoldView) -> Vec<String> {
    let exchange = samples::exchange_of(hold);
    let history = Page { items: vec![exchange], next: Some("7".into()) };
    let mut detail = samples::agent_detail();
    detail.refused_lately[0].comm.clone_from(&hold.caller.comm);
    vec![
        AgentPage::new(frame(), detail, samples::now()).render().unwrap(),
        hold_page(hold.clone()),
        QueuePage::new(frame(), vec![hold.clone()], None, Vec::new(), samples::now()).render().unwrap(),
        ConflictPage::new(frame(), "somebody already denied this hold".into(), hold.clone())
            .render()
            .unwrap(),
        HistoryPage::new(frame(), Default::default(), samples::agents(), history, samples::now())
            .render()
            .unwrap(),
        AgentsPage::new(frame(), vec![samples::finding()], samples::agents(), samples::now())
            .render()
            .unwrap(),
    ]
}

/// A hold with `text` everywhere an agent, a rule or a destination can put some.
fn hostile(text: &str) -> HoldView {
    let mut hold = samples::decided(HoldState::OutcomeUnknown);
    hold.rule = Some(RuleId(text.into()));
    hold.why = text.into();
    for place in [
        &mut hold.action.family,
        &mut hold.action.operation,
        &mut hold.action.summary,
        &mut hold.request.method,
        &mut hold.request.url,
        &mut hold.request.body.media_type,
        &mut hold.caller.exe,
        &mut hold.caller.comm,
    ] {
        place.clear();
        place.push_str(text);
    }
    hold.decision = Some(DecisionView {
        reason: text.into(),
        by: text.into(),
        decision: Decision::Approve,
        at: samples::now(),
    });
    hold.action.resource = Some(text.into());
    hold.action.environment = Some(text.into());
    hold.action.currency = Some(text.into());
    hold.request.headers = vec![(text.into(), text.into())];
    hold.request.refreshable = vec![format!("other {text}")];
    hold.request.body.text = Some(text.into());
    hold.destination.verified_name = Some(text.into());
    hold.caller.cmdline = vec![text.into()];
    hold.caller.cwd = text.into();
    hold.caller.ancestry = [Ancestor { pid: 1, comm: text.into(), exe: text.into() }].into();
    (hold.caller.container, hold.caller.unit) = (Some(text.into()), Some(text.into()));
    hold.result.as_mut().unwrap().error = Some(text.into());
    hold
}

#[test]
fn markup_of_an_agent_is_shown_as_text() {
    for text in MARKUP {
        for page in every_page(&hostile(text)) {
            for harm in
                ["<script>alert", "<img src=x", "<svg ", "<iframe", "<div hx-get=/evil", "</textarea>"]
            {
                assert!(!page.contains(harm), "{text} became markup");
            }
            assert!(!page.contains("' onmouseover='"), "{text} left its attribute");
            let (without, escaped) = (page.contains(text), text.contains(['<', '"', '\'']));
            assert!(!(without && escaped), "{text} is there unescaped");
        }
    }
}

#[test]
fn characters_nobody_sees_are_spelled_out_on_every_page() {
    for text in UNSEEN {
        let spelled = visible::line(text);
        for page in every_page(&hostile(text)) {
            let seen = |c: char| c == '\n' || visible::line(&c.to_string()).starts_with(c) || c == '‹';
            assert!(page.chars().all(seen), "{text:?} is there as it is");
        }
        assert!(
            hold_page(hostile(text)).matches(&spelled).count() >= 16,
            "{text:?} is spelled where it stands"
        );
    }
}

#[test]
fn a_hold_shows_all_that_its_json_has() {
    let hold = samples::decided(HoldState::Done);
    let page = hold_page(hold.clone());
    for shown in [
        hold.id.to_string(),
        hold.agent.to_string(),
        hold.digest.to_string(),
        hold.action.summary.clone(),
        hold.why.clone(),
        hold.request.url.clone(),
        hold.request.body.sha256.clone(),
        hold.caller.exe.clone(),
        hold.caller.pid.to_string(),
        hold.caller.uid.to_string(),
        hold.caller.cwd.clone(),
        hold.caller.ancestry[0].exe.clone(),
        hold.caller.container.clone().unwrap(),
        hold.caller.unit.clone().unwrap(),
        hold.destination.ip.to_string(),
        hold.destination.port.to_string(),
        "python3 cleanup.py &#39;two words&#39;".into(),
        "Bearer ••••".into(),
        "a retry may refresh this".into(),
        "cannot be undone".into(),
        "production".into(),
        "http-delete".into(),
        "The destination answered 204".into(),
        "2026-11-25 17:40:00 UTC".into(),
        "the customer asked for it".into(),
    ] {
        assert!(page.contains(&shown), "{shown} is missing");
    }
    assert!(!page.contains("<h1 class=\"headline\" dir=\"ltr\">https://"), "a URL is no headline");
}

#[test]
fn only_what_waits_can_be_decided_and_only_what_is_approved_taken_back() {
    for (state, _) in HoldState::ALL {
        let page = hold_page(samples::decided(state));
        assert_eq!(page.contains("value=\"approve\""), state == HoldState::Pending, "{state:?}");
        assert_eq!(page.contains("/revoke\""), state == HoldState::Approved, "{state:?}");
        assert_eq!(
            page.contains("sse-connect"),
            state.is_open(),
            "{state:?} is followed while something can change"
        );
    }
    let page = hold_page(hold());
    assert!(page.contains(&format!("name=\"digest\" value=\"{}\"", hold().digest)));
    assert!(page.contains(&format!("name=\"csrf\" value=\"{}\"", samples::reviewer().csrf)));
}

#[test]
fn the_end_of_a_long_body_is_shown() {
    let text = format!("SELECT 1;{} DROP TABLE users", " -- filling\n".repeat(9000));
    let body = BodyInfo { text: Some(text), ..hold().request.body };
    let mut long = hold();
    long.request.body = body;
    assert!(hold_page(long.clone()).contains("DROP TABLE users</span></pre>"));
    long.request.body.truncated = true;
    assert!(hold_page(long.clone()).contains("Its end is not shown"));
    let page = HoldPage::new(frame(), long, "DELETE FROM all".into(), samples::now()).render().unwrap();
    assert!(page.contains("DELETE FROM all</span></pre>"));
}

#[test]
fn a_body_that_cannot_be_judged_says_so() {
    let mut opaque = hold();
    opaque.request.body.text = None;
    opaque.request.body.inspectable = false;
    let page = hold_page(opaque);
    assert!(page.contains("Uninspectable.") && page.contains("Not text."));
}

#[test]
fn no_page_has_scripts_or_styles_in_it() {
    let mut pages = every_page(&hold());
    pages
        .push(QueuePage::new(frame(), Vec::new(), None, samples::agents(), samples::now()).render().unwrap());
    pages.push(LoginPage { frame: Frame::bare("x"), token: "t", name: "", wrong: "w" }.render().unwrap());
    for page in pages {
        assert!(!page.contains("<style") && !page.contains(" style="), "the policy forbids inline styles");
        assert!(!page.contains(" onclick") && !page.contains("javascript:"));
        for script in page.match_indices("<script") {
            assert!(page[script.0..].starts_with("<script src=\"/assets/"));
        }
    }
}

#[test]
fn an_agents_page_says_what_was_refused_how_often_and_what_that_means() {
    let page = AgentPage::new(frame(), samples::agent_detail(), samples::now()).render().unwrap();
    for shown in [
        "<b>41</b> <span>UDP other than names",
        "Usually HTTP/3",
        "203.0.113.7:443 UDP",
        "python3, process 4242",
        "40 times",
        "<b>602</b> <span>Connections taken",
    ] {
        assert!(page.contains(shown), "{shown} is missing");
    }
}

#[test]
fn an_empty_queue_is_calm_and_counts() {
    let page = QueuePage::new(frame(), Vec::new(), None, samples::agents(), samples::now()).render().unwrap();
    assert!(page.contains("Nothing is waiting") && page.contains("<dd>1204</dd>"));
    let many = vec![hold(), hold()];
    let page =
        QueuePage::new(frame(), many, Some("01X".into()), Vec::new(), samples::now()).render().unwrap();
    assert!(page.contains("<title>(2+) Waiting") && page.contains("href=\"/?after=01X\""));
}

#[test]
fn pages_of_the_history_keep_the_filter() {
    let query: history::HistoryQuery =
        serde_json::from_value(serde_json::json!({"agent": "deploy-bot", "verdict": "hold"})).unwrap();
    let page = Page { items: vec![samples::exchange_of(&hold())], next: Some("41".into()) };
    let html = HistoryPage::new(frame(), query, samples::agents(), page, samples::now()).render().unwrap();
    assert!(html.contains("/history?agent=deploy-bot&#38;verdict=hold&#38;before=41"));
    assert!(html.contains("<option selected>deploy-bot</option>"));
}

#[test]
fn trouble_stands_on_top_of_every_page() {
    let banner = Banner { tone: "bad", what: "Nothing can be recorded.", why: "disk full".into() };
    let framed = Frame { banners: vec![banner], ..frame() };
    let page = HoldPage::new(framed, hold(), String::new(), samples::now()).render().unwrap();
    assert!(page.contains("role=\"alert\"") && page.contains("disk full"));
}
