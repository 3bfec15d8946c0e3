//! Files of the pages, inside the program.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

const FILES: [(&str, &str, &[u8]); 4] = [
    ("style.css", "text/css; charset=utf-8", include_bytes!("ui/assets/style.css")),
    ("htmx.js", "text/javascript; charset=utf-8", include_bytes!("ui/assets/htmx.min.js")),
    ("sse.js", "text/javascript; charset=utf-8", include_bytes!("ui/assets/sse.min.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("ui/assets/icon.svg")),
];

/// `GET /assets/{name}`
pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, bytes) =
        found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such file"))?;
    Ok(([(header::CONTENT_TYPE, *kind)], *bytes).into_response())
}
