//! The connection a request came over, with everything its exchange needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answers::OurAnswer;
use super::websocket::Opened;
use crate::flow::accept::Flow;
use crate::flow::http::body::Intake;
use crate::flow::http::canonical::Scheme;
use crate::flow::http::parse::Channel;
use crate::flow::limits::TURN_WITHIN;
use crate::flow::services::Services;

/// See the module.
pub struct Via {
    /// What every flow uses.
    pub services: Arc<Services>,
    /// The flow.
    pub flow: Flow,
    /// Cancelled when the worker stops: whoever waits is told where things stand.
    pub stop: CancellationToken,
    /// What its requests must agree with.
    pub channel: Channel,
    /// The host that plain HTTP was found to be at the connection's other end.
    pub is_at: OnceLock<String>,
    h2: bool,
    asked: AtomicBool,
    turns: Arc<Semaphore>,
    websocket: Mutex<Option<Opened>>,
}

/// What a connection turned out to speak.
#[derive(Debug)]
pub enum Spoken {
    /// HTTP in the clear.
    Plain {
        /// Whether it is HTTP/2.
        h2: bool,
    },
    /// HTTP inside TLS for a name.
    Tls {
        /// Canonical name of the TLS session.
        name: String,
        /// Whether it is HTTP/2.
        h2: bool,
    },
}

/// Leave to be under way, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Via {
    /// A connection that speaks HTTP.
    pub fn new(
        services: Arc<Services>,
        (flow, turns): (Flow, Arc<Semaphore>),
        stop: CancellationToken,
        spoken: Spoken,
    ) -> Arc<Self> {
        let (scheme, name, h2) = match spoken {
            Spoken::Plain { h2 } => (Scheme::Http, None, h2),
            Spoken::Tls { name, h2 } => (Scheme::Https, Some(name), h2),
        };
        let most_fields = services.limits.http.fields;
        let channel = Channel { scheme, name, port: flow.original.port(), most_fields };
        Arc::new(Self {
            services,
            flow,
            stop,
            channel,
            is_at: OnceLock::new(),
            h2,
            asked: AtomicBool::new(false),
            turns,
            websocket: Mutex::default(),
        })
    }

    /// A request came.
    pub fn note_asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether any request came.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether the client knew that its server speaks HTTP/2 in the clear.
    pub fn knows_h2(&self) -> bool {
        self.h2 && self.channel.scheme == Scheme::Http
    }

    /// The connection goes on with a WebSocket once the request under way is answered.
    pub fn go_on_with(&self, opened: Opened) {
        *self.lock() = Some(opened);
    }

    /// What the connection goes on with.
    pub fn websocket(&self) -> Option<Opened> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Opened>> {
        // Nothing panics while holding the lock.
        self.websocket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for a request to be under way, when it is its turn.
    pub async fn turn(&self) -> Result<Turn, OurAnswer> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(Turn(turn));
        }
        match timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(turn) => Ok(Turn(turn.expect("the semaphore is never closed"))),
            Err(_) => Err(OurAnswer::too_many_requests(self.services.limits.requests)),
        }
    }

    /// The body of a request, whole up to the limit when it is `needed` for judging.
    pub async fn take_body(&self, body: Incoming, needed: bool) -> Result<Intake, OurAnswer> {
        // An HTTP/2 client may wait for an answer before it goes on; an HTTP/1.1 client sends.
        let silence = self.services.limits.http.body_silence;
        let body = Intake::streaming(body, !self.h2, silence).await;
        let body = body.map_err(|why| OurAnswer::broken_body(&why))?;
        if needed { self.read_whole(body).await } else { Ok(body) }
    }

    /// Reads a body to its end or the limit.
    pub async fn read_whole(&self, body: Intake) -> Result<Intake, OurAnswer> {
        let silence = self.services.limits.http.body_silence;
        body.read(self.services.max_body, silence).await.map_err(|why| OurAnswer::broken_body(&why))
    }
}
