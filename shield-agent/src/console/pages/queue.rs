//! `/`: what waits for a decision, oldest first. It keeps itself fresh; deciding happens on a hold's own page.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::words::{Chip, Moment, chips};
use super::{Frame, rendered, spelled};
use crate::approval::listing::{AgentView, HoldFilter, StateFilter};
use crate::approval::view::HoldView;
use crate::console::app::App;
use crate::console::auth::Visitor;
use crate::console::problem::{Problem, for_people};
use crate::names::HoldId;

/// Cards of a page.
const CARDS: u32 = 50;

/// `?after=`
#[derive(Debug, Deserialize)]
pub(in crate::console) struct QueueQuery {
    after: Option<HoldId>,
}

#[derive(Template)]
#[template(path = "queue.html")]
pub(super) struct QueuePage {
    frame: Frame,
    cards: Vec<Card>,
    /// Where the next page begins.
    next: Option<String>,
    /// Whether this is not the first page.
    later: bool,
    calm: Calm,
}

/// A hold at a glance.
struct Card {
    hold: HoldView,
    chips: Vec<Chip>,
    created: Moment,
    expires: Moment,
}

/// What there is to say when nothing waits.
#[derive(Default)]
struct Calm {
    agents: Vec<AgentView>,
    exchanges: u64,
    held: u64,
    denied: u64,
}

pub(in crate::console) async fn queue(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Query(query): Query<QueueQuery>,
) -> Result<Response, Problem> {
    let filter = HoldFilter { state: StateFilter::Pending, agent: None, after: query.after, limit: CARDS };
    let page = app.engine.holds(&filter).await.map_err(for_people)?;
    let agents = match page.items.is_empty() {
        true => app.engine.agents().await.map_err(for_people)?,
        false => Vec::new(),
    };
    let frame = Frame::new("", "queue", &app, &reviewer);
    let later = query.after.is_some();
    Ok(rendered(&QueuePage::new(frame, page.items, page.next, agents, Timestamp::now()).later(later)))
}

impl QueuePage {
    pub(super) fn new(
        mut frame: Frame,
        holds: Vec<HoldView>,
        next: Option<String>,
        agents: Vec<AgentView>,
        now: Timestamp,
    ) -> Self {
        let cards: Vec<Card> = holds.into_iter().map(|hold| Card::new(hold, now)).collect();
        frame.title = match cards.len() {
            0 => "Nothing is waiting".into(),
            count => format!("({count}{}) Waiting", if next.is_some() { "+" } else { "" }),
        };
        Self { frame, cards, next, later: false, calm: Calm::new(agents) }
    }

    fn later(self, later: bool) -> Self {
        Self { later, ..self }
    }

    /// How many wait, in words.
    fn count(&self) -> String {
        match (self.cards.len(), &self.next) {
            (0, _) => "Nothing is waiting".into(),
            (1, None) => "1 request is waiting".into(),
            (count, None) => format!("{count} requests are waiting"),
            (count, Some(_)) => format!("More than {count} requests are waiting"),
        }
    }
}

impl Card {
    fn new(hold: HoldView, now: Timestamp) -> Self {
        let hold = spelled::hold(hold);
        let (created, expires) = (Moment::new(hold.created_at, now), Moment::new(hold.expires_at, now));
        Self { chips: chips(&hold.action), created, expires, hold }
    }
}

impl Calm {
    fn new(agents: Vec<AgentView>) -> Self {
        let sum = |of: fn(&AgentView) -> u64| agents.iter().map(of).sum();
        Self {
            exchanges: sum(|agent| agent.exchanges),
            held: sum(|agent| agent.held),
            denied: sum(|agent| agent.denied),
            agents: agents.into_iter().filter(|agent| agent.attached).collect(),
        }
    }
}
