//! `/agents/{name}`: what the kernel let one agent do, what it refused, and what that means.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use shield_common::event::{Reason, Sort};

use super::reasons::{Words, target, words};
use super::words::Moment;
use super::{Frame, rendered};
use crate::approval::listing::{AgentDetail, AgentView};
use crate::approval::visible;
use crate::console::app::App;
use crate::console::auth::Visitor;
use crate::console::problem::{Problem, for_people};
use crate::finding::Severity;
use crate::ipc::attempt::Attempt;
use crate::names::AgentName;

/// Refusals on the page; the API has the rest.
const SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "agent.html")]
pub(super) struct AgentPage {
    frame: Frame,
    agent: AgentView,
    since: Option<Moment>,
    refused: Vec<Counted>,
    counted: Vec<Counted>,
    lately: Vec<Refusal>,
}

/// A counter that is not zero.
struct Counted {
    count: u64,
    words: Words,
}

/// One refusal.
struct Refusal {
    at: Moment,
    target: String,
    what: &'static str,
    who: String,
    times: u64,
}

pub(in crate::console) async fn agent(
    Visitor(reviewer): Visitor,
    State(app): State<App>,
    Path(agent): Path<String>,
) -> Result<Response, Problem> {
    let agent: AgentName = agent.parse().map_err(for_people)?;
    let detail = app.engine.agent_detail(&agent).await.map_err(for_people)?;
    let detail = detail.ok_or_else(|| Problem::no_such_agent(&agent).into_page())?;
    let frame = Frame::new(agent.as_str(), "agents", &app, &reviewer);
    Ok(rendered(&AgentPage::new(frame, detail, Timestamp::now())))
}

impl AgentPage {
    pub(super) fn new(frame: Frame, detail: AgentDetail, now: Timestamp) -> Self {
        let counted = |refused: bool| {
            let happened = Reason::ALL.iter().filter_map(|reason| {
                let count = detail.counters.get(reason.name()).copied().filter(|count| *count > 0)?;
                let sorted = (reason.sort() == Sort::Refused) == refused;
                sorted.then(|| Counted { count, words: words(*reason) })
            });
            happened.collect::<Vec<_>>()
        };
        let mut refused = counted(true);
        refused.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        let lately = detail.refused_lately.iter().take(SHOWN).map(|attempt| refusal(attempt, now));
        Self {
            frame,
            since: detail.agent.attached_since.map(|at| Moment::new(at, now)),
            counted: counted(false),
            refused,
            lately: lately.collect(),
            agent: detail.agent,
        }
    }
}

fn refusal(attempt: &Attempt, now: Timestamp) -> Refusal {
    let who = match (attempt.pid, attempt.uid) {
        (Some(pid), _) => format!("{}, process {pid}", visible::line(&attempt.comm)),
        (None, Some(uid)) => format!("a packet of user {uid}"),
        (None, None) => "a packet".to_owned(),
    };
    Refusal {
        at: Moment::new(attempt.at, now),
        target: target(attempt),
        what: words(attempt.reason).what,
        who,
        times: attempt.times,
    }
}
