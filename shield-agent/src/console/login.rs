//! Logging in by a link that works once, and out.
//!
//! Opening the link only shows a form: what previews links for people must not use it up.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::app::App;
use super::auth::{Visitor, cookie_name};
use super::pages::login_page;
use super::problem::{Problem, for_people};
use crate::approval::visible;
use crate::store::sessions::{SESSION_LIFE, Token};

/// Longest name of a reviewer, in characters.
const MAX_NAME: usize = 60;

/// `?token=`
#[derive(Debug, Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    token: String,
}

/// The login form.
#[derive(Debug, Deserialize)]
pub(super) struct LoginForm {
    token: String,
    name: String,
}

/// A form that carries nothing but its token.
#[derive(Debug, Deserialize)]
pub(super) struct Bare {
    csrf: String,
}

/// The page a link opens.
pub(super) async fn show(Query(link): Query<Link>) -> Response {
    login_page(&link.token, "", "")
}

/// Uses the link up and begins a session.
pub(super) async fn log_in(State(app): State<App>, Form(form): Form<LoginForm>) -> Result<Response, Problem> {
    if !app.guesses.allows() {
        let wait = "too many links were wrong: wait a minute, then make a new one with `shield login`";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, wait).into_page());
    }
    let name = form.name.trim();
    // A name nobody can read is none.
    if name.is_empty() || name.chars().count() > MAX_NAME || visible::line(name) != name {
        let wanted =
            format!("Say who you are, in at most {MAX_NAME} ordinary characters: decisions carry your name.");
        return Ok(with_status(StatusCode::UNPROCESSABLE_ENTITY, login_page(&form.token, name, &wanted)));
    }
    let used = app.sessions.consume_link(&Token::given(&form.token), name, Timestamp::now()).await;
    let Some((token, _)) = used.map_err(for_people)? else {
        app.guesses.wrong();
        let used = "This link was used before or is older than ten minutes. `shield login` on the host makes another.";
        return Ok(with_status(StatusCode::FORBIDDEN, login_page("", name, used)));
    };
    Ok(set_cookie(&app, token.reveal(), SESSION_LIFE.as_secs()))
}

/// Ends the session.
pub(super) async fn log_out(
    State(app): State<App>,
    Visitor(reviewer): Visitor,
    Form(form): Form<Bare>,
) -> Result<Response, Problem> {
    reviewer.sent_form(&form.csrf)?;
    if let Some(token) = &reviewer.token {
        app.sessions.end(token, Timestamp::now()).await.map_err(for_people)?;
    }
    Ok(set_cookie(&app, "", 0))
}

fn set_cookie(app: &App, value: &str, seconds: u64) -> Response {
    let secure = if app.site.secure { "; Secure" } else { "" };
    let name = cookie_name(app);
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut response = Redirect::to("/").into_response();
    let cookie = HeaderValue::try_from(cookie).expect("a cookie of ours is plain text");
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}
