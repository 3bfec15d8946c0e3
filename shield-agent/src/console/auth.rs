//! Who decides: a session's reviewer, or root on the local socket.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;

use super::app::{App, Door};
use super::pages::opening_page;
use super::problem::Problem;
use crate::store::sessions::Token;

/// Name of whoever decides on the local socket.
const ROOT: &str = "root (uid 0) on the control socket";

/// What calls that change something are: no other site can make a browser send it without asking first, and we say no.
const JSON: &str = "application/json";

/// What a page's token is derived for.
const CSRF: &str = "csrf";

/// Somebody who may decide.
#[derive(Clone, Debug)]
pub(super) struct Reviewer {
    /// Their name, as decisions record it.
    pub(super) name: String,
    /// What their forms must carry; empty on the local socket, where no other site can reach.
    pub(super) csrf: String,
    /// Their session.
    pub(super) token: Option<Token>,
}

/// A reviewer looking at a page: without a session they are asked to log in.
#[derive(Clone, Debug)]
pub(super) struct Visitor(pub(super) Reviewer);

impl Reviewer {
    /// Checks the token a form carries.
    pub(super) fn sent_form(&self, given: &str) -> Result<(), Problem> {
        let equal = subtle::ConstantTimeEq::ct_eq(self.csrf.as_bytes(), given.as_bytes());
        if bool::from(equal) {
            return Ok(());
        }
        let stale = "this form is from an earlier session: reload the page and decide again";
        Err(Problem::new(StatusCode::FORBIDDEN, stale).into_page())
    }

    async fn find(parts: &Parts, app: &App) -> Result<Option<Self>, Problem> {
        if app.door == Door::Control {
            return Ok(Some(Self { name: ROOT.into(), csrf: String::new(), token: None }));
        }
        let Some(token) = cookie(&parts.headers, cookie_name(app)) else { return Ok(None) };
        let session = app.sessions.find(&token, Timestamp::now()).await?;
        Ok(session.map(|session| Self {
            name: session.reviewer,
            csrf: token.derived(CSRF),
            token: Some(token),
        }))
    }
}

impl FromRequestParts<App> for Reviewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let found = Self::find(parts, app).await?;
        let reviewer = found.ok_or_else(|| {
            Problem::new(StatusCode::UNAUTHORIZED, "log in first: `shield login` on the host prints a link")
        })?;
        if app.door == Door::Console && !parts.method.is_safe() && !is_json(&parts.headers) {
            let wanted = format!("send content-type: {JSON}, also without a body");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
        }
        Ok(reviewer)
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match Reviewer::find(parts, app).await {
            Ok(Some(reviewer)) => Ok(Self(reviewer)),
            Ok(None) if from_elsewhere(parts) => Err(opening_page(parts.uri.path())),
            Ok(None) => Err(Redirect::to("/login").into_response()),
            Err(problem) => Err(problem.into_page().into_response()),
        }
    }
}

/// The session's cookie. Over TLS its prefix keeps other hosts of the domain from setting it.
pub(super) fn cookie_name(app: &App) -> &'static str {
    if app.site.secure { "__Host-shield" } else { "shield" }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON)
}

/// Whether a link in a chat or a mail was followed: the browser leaves a strict cookie out then, but not for a page that
/// our own page leads to.
fn from_elsewhere(parts: &Parts) -> bool {
    let site = parts.headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    parts.method == Method::GET && matches!(site, Some("cross-site" | "same-site"))
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Token> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| Token::given(value))
}
