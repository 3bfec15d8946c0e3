//! What stands before every handler: is this request meant for us, does it come from our own pages, and what browsers
//! may do with the answer.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::app::{App, Door};
use super::problem::Problem;

/// Nothing is loaded, framed, sent or run but what is ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Wrong tokens a minute, from everybody together.
const GUESSES: u32 = 20;

/// Sets what browsers may do with every answer.
pub(super) async fn seal(request: Request, next: Next) -> Response {
    let cached = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let fields: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: with it, browsers say of our own forms that they come from nowhere.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, if cached { "public, max-age=3600" } else { "no-store" }),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses what is meant for another host, and what another site makes a browser send.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Result<Response, Problem> {
    if app.door == Door::Console {
        let host =
            request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !app.site.hosts.contains(&host.to_ascii_lowercase()) {
            let open = format!("this console is {}: open that address", app.site.url);
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, open));
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads && !from_our_pages(&app, request.headers()) {
            let refused = "this came from another site: open the console and decide there";
            return Err(Problem::new(StatusCode::FORBIDDEN, refused));
        }
    }
    Ok(next.run(request).await)
}

fn from_our_pages(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own_origin = text("origin").is_none_or(|origin| app.site.is_own(origin));
    let own_site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    own_origin && own_site
}

/// Counts wrong guesses, and says when there were too many.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Option<(Instant, u32)>>);

impl Throttle {
    /// Whether another guess may be made now.
    pub(super) fn allows(&self) -> bool {
        self.lock().is_none_or(|(since, wrong)| since.elapsed() > MINUTE || wrong < GUESSES)
    }

    /// A guess was wrong.
    pub(super) fn wrong(&self) {
        let mut counted = self.lock();
        *counted = match *counted {
            Some((since, wrong)) if since.elapsed() <= MINUTE => Some((since, wrong + 1)),
            _ => Some((Instant::now(), 1)),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, u32)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
