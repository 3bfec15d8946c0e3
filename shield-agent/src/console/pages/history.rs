//! `/history`: what agents did, as it was journalled, newest first, a page at a time.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::words::{self, Chip, Moment};
use super::{Frame, rendered, spelled};
use crate::approval::listing::{AgentView, ExchangeFilter, ExchangeView, Page};
use crate::console::app::App;
use crate::console::auth::Visitor;
use crate::console::problem::{Problem, for_people};
use crate::flow::policy::verdict::Verdict;

/// Rows of a page.
const ROWS: u32 = 50;

/// The filter as its form sends it: what is empty is not asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::console) struct HistoryQuery {
    #[serde(default)]
    agent: String,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    before: String,
}

#[derive(Template)]
#[template(path = "history.html")]
pub(super) struct HistoryPage {
    frame: Frame,
    query: HistoryQuery,
    agents: Vec<AgentView>,
    verdicts: [Choice; 3],
    rows: Vec<Row>,
    /// The address of the next page.
    older: Option<String>,
}

/// An option of the filter.
struct Choice {
    value: String,
    text: String,
}

struct Row {
    exchange: ExchangeView,
    at: Moment,
    verdict: Chip,
    state: Option<Chip>,
    took: Option<String>,
    sizes: String,
}

pub(in crate::console) async fn history(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Query(query): Query<HistoryQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter();
    let page = app.engine.exchanges(&filter).await.map_err(for_people)?;
    let agents = app.engine.agents().await.map_err(for_people)?;
    let frame = Frame::new("History", "history", &app, &reviewer);
    Ok(rendered(&HistoryPage::new(frame, query, agents, page, Timestamp::now())))
}

impl HistoryQuery {
    /// A value that means nothing asks for nothing.
    fn filter(&self) -> ExchangeFilter {
        ExchangeFilter {
            agent: self.agent.parse().ok(),
            verdict: verdicts().into_iter().find(|verdict| verdict.to_string() == self.verdict),
            before: self.before.parse().ok(),
            limit: ROWS,
        }
    }

    fn older(&self, next: &str) -> String {
        let path = "/history?";
        let mut query = Serializer::for_suffix(path.to_owned(), path.len());
        for (name, value) in [("agent", &*self.agent), ("verdict", &*self.verdict), ("before", next)] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

impl HistoryPage {
    pub(super) fn new(
        frame: Frame,
        query: HistoryQuery,
        agents: Vec<AgentView>,
        page: Page<ExchangeView>,
        now: Timestamp,
    ) -> Self {
        let choice =
            |verdict: Verdict| Choice { value: verdict.to_string(), text: words::verdict(verdict).text };
        let rows = page.items.into_iter().map(|exchange| Row::new(exchange, now)).collect();
        let older = page.next.map(|next| query.older(&next));
        Self { frame, verdicts: verdicts().map(choice), query, agents, rows, older }
    }
}

impl Row {
    fn new(exchange: ExchangeView, now: Timestamp) -> Self {
        let exchange = spelled::exchange(exchange);
        let sizes = [("sent", exchange.sent), ("received", exchange.received)];
        let sizes = sizes.map(|(what, size)| size.map(|size| format!("{} {what}", words::size(size))));
        Self {
            at: Moment::new(exchange.at, now),
            verdict: words::verdict(exchange.verdict),
            state: exchange.hold_state.map(words::state),
            took: exchange.took_ms.map(words::took),
            sizes: sizes.into_iter().flatten().collect::<Vec<_>>().join(" · "),
            exchange,
        }
    }
}

fn verdicts() -> [Verdict; 3] {
    [Verdict::Allow, Verdict::Hold, Verdict::Deny]
}
