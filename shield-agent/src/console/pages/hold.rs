//! `/h/{id}`: one hold in full, the form that decides on it, and what became of it.

mod outlook;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use self::outlook::{Outlook, outlook};
use super::fold::{Folded, end_of, fold, fold_line};
use super::words::{self, Chip, Moment, chips};
use super::{Frame, rendered, spelled};
use crate::approval::error::DecideError;
use crate::approval::mask;
use crate::approval::view::{Decision, DecisionRequest, HoldState, HoldView};
use crate::console::app::App;
use crate::console::auth::Visitor;
use crate::console::problem::{Problem, for_people};
use crate::names::Digest;

/// What the decision form sends.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct DecisionForm {
    csrf: String,
    decision: Decision,
    digest: Digest,
    #[serde(default)]
    reason: String,
}

/// What the form that takes an approval back sends.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct RevokeForm {
    csrf: String,
}

#[derive(Template)]
#[template(path = "hold.html")]
pub(super) struct HoldPage {
    frame: Frame,
    chips: Vec<Chip>,
    outlook: Outlook,
    created: Moment,
    expires: Moment,
    decided: Option<Moment>,
    answered: Option<Answered>,
    url: Folded,
    headers: Vec<Field>,
    /// Fields that a retry may bring, and that this request does not have.
    absent: String,
    body: Folded,
    /// The end of a body that is too long for its page.
    end: String,
    body_size: String,
    command: Folded,
    started: Option<Moment>,
    /// What stands where something about the process cannot be told.
    unknown: &'static str,
    hold: HoldView,
}

/// A header field.
struct Field {
    name: String,
    value: Folded,
    refreshable: bool,
}

/// The destination's answer.
struct Answered {
    at: Moment,
    size: String,
    collected: String,
}

#[derive(Template)]
#[template(path = "conflict.html")]
pub(super) struct ConflictPage {
    frame: Frame,
    why: String,
    state: Chip,
    hold: HoldView,
}

pub(in crate::console) async fn hold(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let hold = app.engine.hold(&id).await.map_err(for_people)?;
    let end = end(&app, &hold).await;
    let frame = Frame::new("", "queue", &app, &reviewer);
    Ok(rendered(&HoldPage::new(frame, hold, end, Timestamp::now())))
}

pub(in crate::console) async fn decide(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Result<Response, Problem> {
    reviewer.sent_form(&form.csrf)?;
    let frame = Frame::new("Not decided", "queue", &app, &reviewer);
    let hold = app.engine.hold(&id).await.map_err(for_people)?;
    let reason = form.reason.trim().to_owned();
    let request = DecisionRequest { decision: form.decision, digest: form.digest, reason };
    settled(frame, app.engine.decide(hold.id, &request, &reviewer.name).await)
}

pub(in crate::console) async fn revoke(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Path(id): Path<String>,
    Form(form): Form<RevokeForm>,
) -> Result<Response, Problem> {
    reviewer.sent_form(&form.csrf)?;
    let frame = Frame::new("Not taken back", "queue", &app, &reviewer);
    let hold = app.engine.hold(&id).await.map_err(for_people)?;
    settled(frame, app.engine.revoke(hold.id, &reviewer.name).await)
}

/// Back to the hold, or why not.
fn settled(frame: Frame, done: Result<HoldView, DecideError>) -> Result<Response, Problem> {
    match done {
        Ok(hold) => Ok(Redirect::to(&format!("/h/{}", hold.id)).into_response()),
        Err(DecideError::Conflict { why, current }) => {
            let page = ConflictPage::new(frame, why.to_string(), *current);
            Ok((StatusCode::CONFLICT, rendered(&page)).into_response())
        }
        Err(DecideError::Find(error)) => Err(for_people(error)),
    }
}

/// The end of a body of which the hold shows only the beginning: a reviewer must see where it leads.
async fn end(app: &App, hold: &HoldView) -> String {
    let shown = &hold.request.body;
    if !shown.truncated || shown.text.is_none() {
        return String::new();
    }
    match app.engine.body(hold.id).await {
        Ok(body) => end_of(&mask::body(&body.media_type, &String::from_utf8_lossy(&body.bytes))),
        Err(error) => {
            tracing::debug!("the end of a long body is not shown: {error}");
            String::new()
        }
    }
}

impl HoldPage {
    /// `end` is the end of a body that the hold does not show whole.
    pub(super) fn new(mut frame: Frame, hold: HoldView, end: String, now: Timestamp) -> Self {
        let hold = spelled::hold(hold);
        frame.title = hold.action.summary.clone();
        let (headers, absent) = fields(&hold);
        let answered = hold.result.as_ref().map(|result| Answered {
            at: Moment::new(result.at, now),
            size: words::size(result.size),
            collected: match result.collected {
                0 => "not collected by the agent yet".into(),
                1 => "collected by the agent once".into(),
                times => format!("collected by the agent {times} times"),
            },
        });
        Self {
            chips: chips(&hold.action),
            outlook: outlook(&hold),
            created: Moment::new(hold.created_at, now),
            expires: Moment::new(hold.expires_at, now),
            decided: hold.decision.as_ref().map(|decision| Moment::new(decision.at, now)),
            answered,
            url: fold_line(&hold.request.url),
            headers,
            absent,
            body: fold(hold.request.body.text.as_deref().unwrap_or_default()),
            end,
            body_size: words::size(hold.request.body.size),
            command: fold_line(&command(&hold.caller.cmdline)),
            started: hold.caller.start_time.map(|at| Moment::new(at, now)),
            unknown: if hold.caller.exited { "it was gone already" } else { "cannot be told" },
            frame,
            hold,
        }
    }

    fn pending(&self) -> bool {
        self.hold.state == HoldState::Pending
    }

    fn approved(&self) -> bool {
        self.hold.state == HoldState::Approved
    }

    fn over(&self) -> bool {
        !self.hold.state.is_open()
    }
}

impl ConflictPage {
    pub(super) fn new(frame: Frame, why: String, hold: HoldView) -> Self {
        Self { frame, why: sentence(&why), state: words::state(hold.state), hold: spelled::hold(hold) }
    }
}

fn fields(hold: &HoldView) -> (Vec<Field>, String) {
    let refreshable = |name: &str| hold.request.refreshable.iter().any(|one| one.eq_ignore_ascii_case(name));
    let has = |name: &String| hold.request.headers.iter().any(|(one, _)| one.eq_ignore_ascii_case(name));
    let field = |(name, value): &(String, String)| Field {
        name: name.clone(),
        value: fold_line(value),
        refreshable: refreshable(name),
    };
    let absent: Vec<&str> =
        hold.request.refreshable.iter().filter(|name| !has(name)).map(String::as_str).collect();
    (hold.request.headers.iter().map(field).collect(), absent.join(", "))
}

/// Errors begin small, to be chained; on a page they are sentences.
fn sentence(error: &str) -> String {
    let mut characters = error.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

/// Arguments as one line; quoted where they would run together.
fn command(arguments: &[String]) -> String {
    let plain = |argument: &str| !argument.is_empty() && !argument.contains([' ', '\'', '"', '\\']);
    let quoted = arguments.iter().map(|argument| match plain(argument) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}
