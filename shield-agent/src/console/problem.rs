//! Answers that say what went wrong: JSON for programs (RFC 9457), a page for people.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::pages::error_page;
use crate::approval::error::{DecideError, FindError, FreezeError};
use crate::names::{AgentName, BadAgentName};
use crate::report::Chain;
use crate::store::StoreError;

/// Something went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// One sentence: the act, the thing and the remedy.
    pub(super) detail: String,
    /// More for programs, such as the hold as it is now.
    pub(super) more: Map<String, Value>,
    /// Whether a person reads it.
    page: bool,
}

impl Problem {
    /// With a sentence.
    pub(super) fn new(status: StatusCode, detail: impl ToString) -> Self {
        Self { status, detail: detail.to_string(), more: Map::new(), page: false }
    }

    /// There is no agent by that name.
    pub(super) fn no_such_agent(agent: &AgentName) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("no agent {agent} is known: see the list of agents"))
    }

    /// As a page.
    pub(super) fn into_page(self) -> Self {
        Self { page: true, ..self }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

/// An error that a person reads.
pub(super) fn for_people(error: impl Into<Problem>) -> Problem {
    error.into().into_page()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.page {
            return error_page(self.status, &self.detail);
        }
        let mut body = self.more;
        body.insert("title".into(), json!(self.status.canonical_reason().unwrap_or_default()));
        body.insert("status".into(), json!(self.status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        let kind = HeaderValue::from_static("application/problem+json");
        (self.status, [(header::CONTENT_TYPE, kind)], Value::Object(body).to_string()).into_response()
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<BadAgentName> for Problem {
    fn from(error: BadAgentName) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Chain(&error))
    }
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        match &error {
            FindError::Unknown { nearest, .. } => {
                Self::new(StatusCode::NOT_FOUND, &error).with("nearest", json!(nearest))
            }
            FindError::Ambiguous { matches, .. } => {
                Self::new(StatusCode::NOT_FOUND, &error).with("nearest", json!(matches))
            }
            FindError::Dropped(_) => Self::new(StatusCode::GONE, &error),
            FindError::Store(error) => error.clone().into(),
        }
    }
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::Conflict { why, current } => {
                Self::new(StatusCode::CONFLICT, why).with("current", json!(current))
            }
            DecideError::Find(error) => error.into(),
        }
    }
}

impl From<FreezeError> for Problem {
    fn from(error: FreezeError) -> Self {
        let status = match &error {
            FreezeError::Unknown(_) => StatusCode::NOT_FOUND,
            FreezeError::Refused(_) => StatusCode::CONFLICT,
            FreezeError::NoAnswer | FreezeError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, Chain(&error))
    }
}
