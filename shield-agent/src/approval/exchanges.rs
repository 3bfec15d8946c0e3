//! Exchanges as the journal has them, with how each ended.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::engine::Engine;
use super::listing::{ExchangeFilter, ExchangeView, Page};
use super::lookup::page_length;
use super::view::HoldState;
use crate::flow::policy::verdict::Verdict;
use crate::journal::body::{FINISHED, Finished, Judged};
use crate::journal::entry::verdict_name;
use crate::store::StoreError;
use crate::store::holds::{damaged, time};

impl Engine {
    /// A page of journalled exchanges, newest first.
    pub async fn exchanges(&self, filter: &ExchangeFilter) -> Result<Page<ExchangeView>, StoreError> {
        let limit = page_length(filter.limit) as usize;
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT journal.seq, journal.at, journal.agent, journal.verdict, journal.body, holds.state, holds.status, \
             holds.error FROM journal LEFT JOIN holds ON holds.id = journal.subject WHERE journal.verdict IS NOT NULL",
        );
        if let Some(agent) = &filter.agent {
            query.push(" AND journal.agent = ").push_bind(agent.as_str().to_owned());
        }
        if let Some(verdict) = filter.verdict {
            query.push(" AND journal.verdict = ").push_bind(verdict_name(verdict));
        }
        if let Some(before) = filter.before {
            query.push(" AND journal.seq < ").push_bind(before);
        }
        query.push(" ORDER BY journal.seq DESC LIMIT ").push_bind(limit as i64 + 1);
        let rows = query.build().fetch_all(self.store().readers()).await;
        let rows = rows.map_err(|error| self.store().unreadable(error))?;
        let mut items = rows.iter().take(limit).map(read).collect::<Result<Vec<_>, _>>()?;
        self.add_endings(&mut items).await?;
        let next = (rows.len() > limit).then(|| items.last().map(|last| last.seq.to_string())).flatten();
        Ok(Page { items, next })
    }

    /// How exchanges ended whose own record does not say.
    async fn add_endings(&self, items: &mut [ExchangeView]) -> Result<(), StoreError> {
        let open = |item: &&mut ExchangeView| item.verdict == Verdict::Allow && item.sent.is_none();
        let mut items: Vec<&mut ExchangeView> = items.iter_mut().filter(open).collect();
        if items.is_empty() {
            return Ok(());
        }
        let mut query = QueryBuilder::<Sqlite>::new("SELECT subject, body FROM journal WHERE kind = ");
        query.push_bind(FINISHED).push(" AND subject IN (");
        let mut subjects = query.separated(", ");
        for item in &items {
            subjects.push_bind(item.exchange.to_string());
        }
        query.push(")");
        let rows = query.build().fetch_all(self.store().readers()).await;
        let rows = rows.map_err(|error| self.store().unreadable(error))?;
        let mut endings = HashMap::new();
        for row in &rows {
            let finished: Finished = serde_json::from_str(row.get("body")).map_err(damaged)?;
            endings.insert(row.get::<String, _>("subject"), finished);
        }
        for item in &mut items {
            if let Some(finished) = endings.remove(&item.exchange.to_string()) {
                end(item, finished);
            }
        }
        Ok(())
    }
}

fn end(item: &mut ExchangeView, finished: Finished) {
    item.status = finished.status;
    item.sent = Some(finished.sent);
    item.received = Some(finished.received);
    item.took_ms = Some(finished.took_ms);
    item.error = finished.error;
}

fn read(row: &SqliteRow) -> Result<ExchangeView, StoreError> {
    let judged: Judged = serde_json::from_str(row.get("body")).map_err(damaged)?;
    let summary = match &judged.action {
        Some(action) => action.summary.clone(),
        None => format!("Connect to {}", judged.url),
    };
    let mut view = ExchangeView {
        seq: row.get("seq"),
        at: time(row.get("at"))?,
        exchange: judged.exchange,
        agent: row.get::<String, _>("agent").parse().map_err(damaged)?,
        verdict: match row.get("verdict") {
            "allow" => Verdict::Allow,
            "hold" => Verdict::Hold,
            _ => Verdict::Deny,
        },
        rule: judged.rule,
        why: judged.why,
        method: judged.method,
        url: judged.url,
        summary,
        hold: judged.hold,
        hold_state: row.get::<Option<String>, _>("state").as_deref().and_then(HoldState::from_name),
        status: row.get("status"),
        sent: None,
        received: None,
        took_ms: None,
        error: row.get("error"),
    };
    if let Some(ended) = judged.ended {
        end(&mut view, ended);
    }
    Ok(view)
}
