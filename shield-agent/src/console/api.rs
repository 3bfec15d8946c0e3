//! `/api/v1`: everything the pages show and do, as JSON. `openapi.json` beside this file describes it.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::App;
use super::auth::Reviewer;
use super::problem::Problem;
use crate::approval::listing::{
    AgentDetail, AgentView, ExchangeFilter, ExchangeView, HoldFilter, Page, StateFilter,
};
use crate::approval::view::{DecisionRequest, HoldState, HoldView};
use crate::flow::policy::verdict::Verdict;
use crate::names::AgentName;

/// The description of this API.
const DESCRIPTION: &str = include_str!("openapi.json");

/// Which holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldsQuery {
    state: Option<String>,
    agent: Option<AgentName>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Which exchanges.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangesQuery {
    agent: Option<AgentName>,
    verdict: Option<Verdict>,
    cursor: Option<i64>,
    limit: Option<u32>,
}

impl HoldsQuery {
    fn filter(self) -> Result<HoldFilter, Problem> {
        let bad = |what: &str| Problem::new(StatusCode::BAD_REQUEST, what);
        let state = match self.state.as_deref() {
            None | Some("pending") => StateFilter::Pending,
            Some("all") => StateFilter::All,
            Some(word) => {
                let state = HoldState::from_name(word);
                StateFilter::Only(state.ok_or_else(|| bad("state is pending, all, or a state of a hold"))?)
            }
        };
        let after = self.cursor.map(|cursor| serde_json::from_value(Value::String(cursor))).transpose();
        let after = after.map_err(|_| bad("cursor is not one that a page gave"))?;
        Ok(HoldFilter { state, agent: self.agent, after, limit: self.limit.unwrap_or_default() })
    }
}

pub(super) async fn holds(
    _: Reviewer,
    State(app): State<App>,
    query: Result<Query<HoldsQuery>, QueryRejection>,
) -> Result<Json<Page<HoldView>>, Problem> {
    let Query(query) = query?;
    Ok(Json(app.engine.holds(&query.filter()?).await?))
}

pub(super) async fn hold(
    _: Reviewer,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<HoldView>, Problem> {
    Ok(Json(app.engine.hold(&id).await?))
}

/// The raw body. It is an agent's: browsers must not show it as a page.
pub(super) async fn body(
    _: Reviewer,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let hold = app.engine.hold(&id).await?;
    let body = app.engine.body(hold.id).await?;
    let saved_as = format!("attachment; filename=\"{}.body\"", hold.id);
    let fields = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, saved_as),
    ];
    Ok((fields, body.bytes).into_response())
}

pub(super) async fn decide(
    reviewer: Reviewer,
    State(app): State<App>,
    Path(id): Path<String>,
    request: Result<Json<DecisionRequest>, JsonRejection>,
) -> Result<Json<HoldView>, Problem> {
    let Json(request) = request?;
    let hold = app.engine.hold(&id).await?;
    Ok(Json(app.engine.decide(hold.id, &request, &reviewer.name).await?))
}

pub(super) async fn revoke(
    reviewer: Reviewer,
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<HoldView>, Problem> {
    let hold = app.engine.hold(&id).await?;
    Ok(Json(app.engine.revoke(hold.id, &reviewer.name).await?))
}

pub(super) async fn agents(_: Reviewer, State(app): State<App>) -> Result<Json<Vec<AgentView>>, Problem> {
    Ok(Json(app.engine.agents().await?))
}

pub(super) async fn agent(
    _: Reviewer,
    State(app): State<App>,
    Path(agent): Path<String>,
) -> Result<Json<AgentDetail>, Problem> {
    let agent = agent.parse()?;
    let detail = app.engine.agent_detail(&agent).await?;
    Ok(Json(detail.ok_or_else(|| Problem::no_such_agent(&agent))?))
}

pub(super) async fn freeze(
    reviewer: Reviewer,
    State(app): State<App>,
    Path(agent): Path<String>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(app.engine.freeze(&agent.parse()?, true, &reviewer.name).await?))
}

pub(super) async fn thaw(
    reviewer: Reviewer,
    State(app): State<App>,
    Path(agent): Path<String>,
) -> Result<Json<AgentView>, Problem> {
    Ok(Json(app.engine.freeze(&agent.parse()?, false, &reviewer.name).await?))
}

pub(super) async fn exchanges(
    _: Reviewer,
    State(app): State<App>,
    query: Result<Query<ExchangesQuery>, QueryRejection>,
) -> Result<Json<Page<ExchangeView>>, Problem> {
    let Query(ExchangesQuery { agent, verdict, cursor, limit }) = query?;
    let filter = ExchangeFilter { agent, verdict, before: cursor, limit: limit.unwrap_or_default() };
    Ok(Json(app.engine.exchanges(&filter).await?))
}

pub(super) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

/// A link that logs a reviewer in: only root on the local socket can make one.
pub(super) async fn login_link(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let (token, expires_at) = app.sessions.create_link(Timestamp::now()).await?;
    let url = format!("{}/login?token={}", app.site.url, token.reveal());
    Ok(Json(json!({ "url": url, "expires_at": expires_at })))
}

/// Whether the process answers.
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// Whether holds and records can be stored.
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    match app.engine.trouble() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
