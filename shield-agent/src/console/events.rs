//! Changes as they happen, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;

use super::app::App;
use super::auth::Reviewer;
use super::problem::Problem;
use crate::approval::event::Event as Change;
use crate::names::HoldId;

/// How often a silent stream shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Of one hold only.
    hold: Option<HoldId>,
}

/// `GET /api/v1/events`
pub(super) async fn events(
    _: Reviewer,
    State(app): State<App>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Query(query) = query?;
    Ok(Sse::new(follow(app.engine.subscribe(), query.hold)).keep_alive(KeepAlive::new().interval(ALIVE)))
}

/// Every change from now on. Ends when the reader was too slow to see all of them: it connects again and looks anew.
fn follow(changes: Receiver<Change>, only: Option<HoldId>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(changes, move |mut changes| async move {
        loop {
            let change = changes.recv().await.ok()?;
            if only.is_some() && only != change.hold {
                continue;
            }
            let event = Event::default().event(change.name.as_str()).json_data(&change).ok()?;
            return Some((Ok(event), changes));
        }
    })
}
