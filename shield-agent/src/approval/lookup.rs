//! Finding holds: by id or its beginning, by state, by agent. Reads only, and shows nothing secret but [`Engine::body`].

use bytes::Bytes;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::engine::Engine;
use super::error::FindError;
use super::held::{self, Held, SHOWN_BODY, Shown, Whole};
use super::listing::{HeldBody, HoldFilter, MAX_PAGE, Page, StateFilter};
use super::view::{HoldState, HoldView};
use crate::flow::http::canonical::lossy;
use crate::ipc::approver::{OwnHold, RequestLine};
use crate::names::{AgentName, HoldId};
use crate::store::StoreError;
use crate::store::holds::{COLUMNS, HoldRow, StoredRequest, damaged};

/// Ids suggested for one that is unknown.
const NEAREST: usize = 3;

/// Holds that are looked through for suggestions: the newest.
const LOOKED_THROUGH: i64 = 200;

/// Holds an agent is told of at a time.
const OWN: i64 = 50;

impl Engine {
    /// A page of holds: those pending oldest first, others newest first.
    pub async fn holds(&self, filter: &HoldFilter) -> Result<Page<HoldView>, StoreError> {
        let limit = page_length(filter.limit);
        let oldest_first = filter.state == StateFilter::Pending;
        let mut query = select("WHERE TRUE");
        match filter.state {
            StateFilter::Pending => drop(query.push(" AND state = 'pending'")),
            StateFilter::All => {}
            StateFilter::Only(state) => drop(query.push(" AND state = ").push_bind(state.as_str())),
        }
        if let Some(agent) = &filter.agent {
            query.push(" AND agent = ").push_bind(agent.as_str().to_owned());
        }
        if let Some(after) = filter.after {
            query.push(if oldest_first { " AND id > " } else { " AND id < " }).push_bind(after.to_string());
        }
        query.push(if oldest_first { " ORDER BY id ASC" } else { " ORDER BY id DESC" });
        query.push(" LIMIT ").push_bind(i64::from(limit) + 1);
        let mut rows = self.rows(query).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            items.push(self.show(&row).await?);
        }
        Ok(Page { items, next })
    }

    /// A hold by its id or a beginning of it that fits no other; upper or lower case.
    pub async fn hold(&self, id: &str) -> Result<HoldView, FindError> {
        let given = id.trim().to_ascii_uppercase();
        let plain = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let mut found = if plain {
            let mut query = select("WHERE id LIKE ");
            query.push_bind(format!("{given}%")).push(" ORDER BY id DESC LIMIT 4");
            self.rows(query).await?
        } else {
            Vec::new()
        };
        match found.len() {
            1 => Ok(self.show(&found.remove(0)).await?),
            0 => Err(FindError::Unknown { given: id.to_owned(), nearest: self.nearest(&given).await? }),
            _ => {
                let matches = found.iter().map(|row| row.id).collect();
                Err(FindError::Ambiguous { given: id.to_owned(), matches })
            }
        }
    }

    /// The body of a held request, unmasked: for reviewers only.
    pub async fn body(&self, id: HoldId) -> Result<HeldBody, FindError> {
        if self.view(id).await?.is_none() {
            return Err(FindError::Unknown { given: id.to_string(), nearest: vec![] });
        }
        let whole = self.whole(id).await?.ok_or(FindError::Dropped(id))?;
        let media_type = whole.held.head.header_values("content-type").next().map(lossy).unwrap_or_default();
        Ok(HeldBody { media_type, bytes: Bytes::clone(&whole.request.body) })
    }

    /// A hold by its id.
    pub(super) async fn view(&self, id: HoldId) -> Result<Option<HoldView>, StoreError> {
        let mut query = select("WHERE id = ");
        query.push_bind(id.to_string());
        match self.rows(query).await?.first() {
            Some(row) => self.show(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Every hold in a state, oldest first.
    pub(super) async fn in_state(&self, state: HoldState) -> Result<Vec<HoldRow>, StoreError> {
        let mut query = select("WHERE state = ");
        query.push_bind(state.as_str()).push(" ORDER BY id");
        self.rows(query).await
    }

    /// Every hold whose time to be decided or sent is over.
    pub(super) async fn overdue(&self, now: jiff::Timestamp) -> Result<Vec<HoldRow>, StoreError> {
        let mut query = select("WHERE state IN ('pending', 'approved') AND expires_at <= ");
        query.push_bind(now.as_microsecond());
        self.rows(query).await
    }

    /// Every hold that ended before `then` and whose request is still stored.
    pub(super) async fn ended_before(&self, then: jiff::Timestamp) -> Result<Vec<HoldRow>, StoreError> {
        let mut query = select("WHERE card IS NULL AND ended_at <= ");
        query.push_bind(then.as_microsecond()).push(" LIMIT 100");
        self.rows(query).await
    }

    /// What an agent may know of its own holds: one, or those it has, newest first.
    pub(super) async fn own_holds(
        &self,
        agent: &AgentName,
        id: Option<HoldId>,
    ) -> Result<Vec<OwnHold>, StoreError> {
        let mut query = select("WHERE agent = ");
        query.push_bind(agent.as_str().to_owned());
        if let Some(id) = id {
            query.push(" AND id = ").push_bind(id.to_string());
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(OWN);
        let mut own = Vec::new();
        for row in self.rows(query).await? {
            let view = self.show(&row).await?;
            own.push(OwnHold {
                id: view.id,
                state: view.state,
                request: RequestLine { method: view.request.method, url: view.request.url },
                why: view.why,
                expires_at: view.expires_at,
                reason: view.decision.map(|decision| decision.reason).unwrap_or_default(),
            });
        }
        Ok(own)
    }

    /// A hold as it is shown: from its request, or from what was kept when that was dropped. One whose request was
    /// damaged is shown too, as what it is, and can be denied.
    pub(super) async fn show(&self, row: &HoldRow) -> Result<HoldView, StoreError> {
        let waiting = self.inner.waiting.any(row.id);
        if let Some(card) = &row.card {
            return read_card(row, card, waiting);
        }
        match self.shown(row.id).await {
            Ok(Some(shown)) => Ok(shown.show(row, waiting)),
            Err(StoreError::Damaged(why)) => Ok(held::unreadable(row, &why, waiting)),
            Err(error) => Err(error),
            // Dropped between two reads, or lost.
            Ok(None) => {
                let mut query = select("WHERE id = ");
                query.push_bind(row.id.to_string());
                match self.rows(query).await?.first() {
                    Some(HoldRow { card: Some(card), .. }) => read_card(row, card, waiting),
                    _ => Ok(held::unreadable(row, "its stored request is gone", waiting)),
                }
            }
        }
    }

    /// What is shown of a held request: a page of holds must not read every byte of every body.
    async fn shown(&self, id: HoldId) -> Result<Option<Shown>, StoreError> {
        let query = sqlx::query("SELECT request, substr(body, 1, ?) FROM hold_requests WHERE hold = ?");
        let query = query.bind(SHOWN_BODY as i64).bind(id.to_string());
        let row = query.fetch_optional(self.store().readers()).await;
        let Some(row) = row.map_err(|error| self.store().unreadable(error))? else { return Ok(None) };
        Ok(Some(Shown { held: Held::read(id, row.get(0))?, beginning: row.get(1) }))
    }

    async fn whole(&self, id: HoldId) -> Result<Option<Whole>, StoreError> {
        let query = sqlx::query("SELECT request, body, seal FROM hold_requests WHERE hold = ?");
        let row = query.bind(id.to_string()).fetch_optional(self.store().readers()).await;
        let row = row.map_err(|error| self.store().unreadable(error))?;
        let stored = row.map(|row| StoredRequest { request: row.get(0), body: row.get(1), seal: row.get(2) });
        stored.map(|stored| Whole::read(id, stored)).transpose()
    }

    async fn rows(&self, mut query: QueryBuilder<Sqlite>) -> Result<Vec<HoldRow>, StoreError> {
        let rows = query.build().fetch_all(self.store().readers()).await;
        rows.map_err(|error| self.store().unreadable(error))?.iter().map(HoldRow::read).collect()
    }

    /// Ids that look like one that is unknown; pending holds first.
    async fn nearest(&self, given: &str) -> Result<Vec<HoldId>, StoreError> {
        let mut query = select("WHERE TRUE ORDER BY id DESC LIMIT ");
        query.push_bind(LOOKED_THROUGH);
        let mut rows = self.rows(query).await?;
        let alike = |row: &HoldRow| {
            let id = row.id.to_string();
            id.bytes().zip(given.bytes()).filter(|(a, b)| a == b).count()
        };
        rows.sort_by_key(|row| (row.state != HoldState::Pending, std::cmp::Reverse(alike(row))));
        Ok(rows.iter().take(NEAREST).map(|row| row.id).collect())
    }
}

/// How long a page is.
pub(super) fn page_length(asked: u32) -> u32 {
    if asked == 0 { MAX_PAGE } else { asked.min(MAX_PAGE) }
}

fn select(rest: &str) -> QueryBuilder<Sqlite> {
    QueryBuilder::new(format!("SELECT {COLUMNS} FROM holds {rest}"))
}

fn read_card(row: &HoldRow, card: &str, waiting: bool) -> Result<HoldView, StoreError> {
    let mut view: HoldView = serde_json::from_str(card)
        .map_err(|error| damaged(format!("the card of hold {}: {error}", row.id)))?;
    held::update(&mut view, row, waiting);
    Ok(view)
}
