//! The console's pages, made on the server: every one works without JavaScript, which only keeps them fresh.
//!
//! Everything an agent wrote passes `spelled` on its way into a page. A page decides nothing: its forms do what the API does.

mod agent;
mod agents;
mod fold;
mod history;
mod hold;
mod queue;
mod reasons;
mod spelled;
mod words;

use askama::Template;
use axum::extract::{OriginalUri, State};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};

pub(super) use self::agent::agent;
pub(super) use self::agents::{agents, freeze, thaw};
pub(super) use self::history::history;
pub(super) use self::hold::{decide, hold, revoke};
pub(super) use self::queue::queue;
use super::app::{App, Door};
use super::auth::Reviewer;
use super::problem::Problem;

/// What is around every page.
#[derive(Clone, Debug, Default)]
struct Frame {
    title: String,
    /// The name of the tab that is open; empty on pages without.
    here: &'static str,
    /// Who looks; `None` when nobody is logged in.
    reviewer: Option<Reviewer>,
    /// What is wrong, most important first.
    banners: Vec<Banner>,
}

/// Something is wrong, and who looks at any page should know.
#[derive(Clone, Debug)]
struct Banner {
    /// `bad` or `warn`, a class of the style sheet.
    tone: &'static str,
    what: &'static str,
    why: String,
}

impl Frame {
    fn bare(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::default() }
    }

    fn new(title: &str, here: &'static str, app: &App, reviewer: &Reviewer) -> Self {
        let stopped = app.engine.trouble().map(|why| Banner {
            tone: "bad",
            what: "Nothing can be recorded, so agents’ requests are stopped.",
            why,
        });
        let stale = app.engine.policy_trouble().map(|why| Banner {
            tone: "warn",
            what: "The newest policy could not be loaded; the one before stays in force.",
            why,
        });
        let banners = stopped.into_iter().chain(stale).collect();
        Self { title: title.to_owned(), here, reviewer: Some(reviewer.clone()), banners }
    }

    fn csrf(&self) -> &str {
        self.reviewer.as_ref().map_or("", |reviewer| &reviewer.csrf)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    detail: &'a str,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: Frame,
    token: &'a str,
    name: &'a str,
    wrong: &'a str,
}

#[derive(Template)]
#[template(path = "opening.html")]
struct OpeningPage<'a> {
    path: &'a str,
}

/// What went wrong, as a page.
pub(super) fn error_page(status: StatusCode, detail: &str) -> Response {
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::GONE => "Not kept any more",
        StatusCode::CONFLICT => "Not done",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "Not allowed",
        StatusCode::TOO_MANY_REQUESTS => "Wait a minute",
        StatusCode::SERVICE_UNAVAILABLE => "Not possible now",
        _ => "That did not work",
    };
    let page = ErrorPage { frame: Frame::bare(title), status: status.as_u16(), detail };
    (status, rendered(&page)).into_response()
}

/// The form that uses a login link up; without a token, how to get one. `wrong` says what to do differently.
pub(super) fn login_page(token: &str, name: &str, wrong: &str) -> Response {
    rendered(&LoginPage { frame: Frame::bare("Log in"), token, name, wrong })
}

/// Leads to `path` once more, as a page of ours.
pub(super) fn opening_page(path: &str) -> Response {
    rendered(&OpeningPage { path })
}

/// For addresses there are not.
pub(super) async fn not_found(State(app): State<App>, OriginalUri(uri): OriginalUri) -> Problem {
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()));
    for_whom(&app, &uri, problem)
}

/// For addresses that do something else.
pub(super) async fn not_allowed(State(app): State<App>, OriginalUri(uri): OriginalUri) -> Problem {
    let problem =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} takes another method", uri.path()));
    for_whom(&app, &uri, problem)
}

fn for_whom(app: &App, uri: &Uri, problem: Problem) -> Problem {
    let page = app.door == Door::Console && !uri.path().starts_with("/api/");
    if page { problem.into_page() } else { problem }
}

fn rendered(page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!("a page could not be made: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "this page could not be made; see the log of the approver\n")
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests;
