//! `/agents`: who is gated, what they did, and a brake for each.

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::words::Moment;
use super::{Frame, rendered};
use crate::approval::listing::AgentView;
use crate::console::app::App;
use crate::console::auth::Visitor;
use crate::console::problem::{Problem, for_people};
use crate::finding::{Finding, Severity};
use crate::names::AgentName;

/// A form that carries nothing but its token.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Brake {
    csrf: String,
}

#[derive(Template)]
#[template(path = "agents.html")]
pub(super) struct AgentsPage {
    frame: Frame,
    host: Vec<Finding>,
    rows: Vec<Row>,
}

struct Row {
    agent: AgentView,
    since: Option<Moment>,
    seen: Option<Moment>,
}

pub(in crate::console) async fn agents(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
) -> Result<Response, Problem> {
    let agents = app.engine.agents().await.map_err(for_people)?;
    let frame = Frame::new("Agents", "agents", &app, &reviewer);
    Ok(rendered(&AgentsPage::new(frame, app.engine.host_findings(), agents, Timestamp::now())))
}

pub(in crate::console) async fn freeze(
    visitor: Visitor,
    state: State<App>,
    path: Path<String>,
    form: Form<Brake>,
) -> Result<Response, Problem> {
    brake(visitor, state, path, form, true).await
}

pub(in crate::console) async fn thaw(
    visitor: Visitor,
    state: State<App>,
    path: Path<String>,
    form: Form<Brake>,
) -> Result<Response, Problem> {
    brake(visitor, state, path, form, false).await
}

async fn brake(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Path(agent): Path<String>,
    Form(form): Form<Brake>,
    frozen: bool,
) -> Result<Response, Problem> {
    reviewer.sent_form(&form.csrf)?;
    let agent: AgentName = agent.parse().map_err(for_people)?;
    let done = app.engine.freeze(&agent, frozen, &reviewer.name).await;
    done.map_err(for_people)?;
    Ok(Redirect::to("/agents").into_response())
}

impl AgentsPage {
    pub(super) fn new(frame: Frame, host: Vec<Finding>, agents: Vec<AgentView>, now: Timestamp) -> Self {
        let moment = |at: Option<Timestamp>| at.map(|at| Moment::new(at, now));
        let row = |agent: AgentView| Row {
            since: moment(agent.attached_since),
            seen: moment(agent.last_seen),
            agent,
        };
        Self { frame, host, rows: agents.into_iter().map(row).collect() }
    }
}
