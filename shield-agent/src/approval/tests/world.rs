//! An engine with a store of its own, a worker and a supervisor that a test plays, and a clock it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use ulid::Ulid;

use crate::approval::channel;
use crate::approval::engine::{Clock, Engine, Setup};
use crate::approval::view::{Decision, DecisionRequest, HoldView};
use crate::config::HoldConfig;
use crate::flow::http::canonical::{CanonicalRequest, Header, RequestHead, Scheme};
use crate::flow::inspect::classify;
use crate::flow::origin::{Caller, Destination};
use crate::flow::policy::Policy;
use crate::flow::policy::verdict::{HoldTerms, Judgement, Verdict};
use crate::ipc::approver::{
    ExchangeRecord, FromApprover, HoldRequest, RequestLine, SendFailure, SendOrder, StoredResponse,
    ToApprover,
};
use crate::ipc::frame;
use crate::ipc::supervisor::FromApproverRole;
use crate::names::{Digest, ExchangeId, HoldId, RuleId};
use crate::store::{Place, Store};

/// Holds every DELETE.
pub(crate) const POLICY: &str = "version: 1\nrules:\n  - { id: http-delete, verdict: hold, why: deletes cannot be \
                                 undone, match: { method: [DELETE] } }\n";

/// See the module.
pub(crate) struct World {
    /// What is tested.
    pub(crate) engine: Engine,
    /// What the supervisor is told.
    pub(crate) supervisor: mpsc::UnboundedReceiver<FromApproverRole>,
    clock: Arc<AtomicI64>,
    to_approver: WriteHalf<DuplexStream>,
    from_approver: ReadHalf<DuplexStream>,
    asks: u64,
}

impl World {
    /// On a new store in `dir`, with a worker that listens.
    pub(crate) async fn new(dir: &tempfile::TempDir) -> Self {
        let mut world = Self::on(Place::file(&dir.path().join("shield.db"))).await;
        world.say(ToApprover::Listening).await;
        world
    }

    /// On any store; its worker has said nothing yet.
    pub(crate) async fn on(place: Place) -> Self {
        let store = Store::open(place).await.unwrap();
        let clock = Arc::new(AtomicI64::new(Timestamp::now().as_microsecond()));
        let reads = Arc::clone(&clock);
        let read = move || Timestamp::from_microsecond(reads.load(Ordering::SeqCst)).unwrap();
        let (to_worker, said) = mpsc::unbounded_channel();
        let (to_supervisor, supervisor) = mpsc::unbounded_channel();
        let engine = Engine::new(Setup {
            store,
            hold: hold_config(),
            trust: "/run/shield/trust".into(),
            policy: policy(POLICY),
            clock: Clock(Arc::new(read)),
            to_worker,
            to_supervisor,
        });
        engine.recover().await.unwrap();
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(channel::serve(engine.clone(), theirs, said));
        let (from_approver, to_approver) = tokio::io::split(ours);
        Self { engine, supervisor, clock, to_approver, from_approver, asks: 0 }
    }

    /// Lets time pass.
    pub(crate) fn later(&self, time: Duration) {
        self.clock.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// The worker says something.
    pub(crate) async fn say(&mut self, message: ToApprover) {
        frame::write(&mut self.to_approver, &message).await.unwrap();
    }

    /// The next thing the worker is told, records aside.
    pub(crate) async fn hear(&mut self) -> FromApprover {
        loop {
            match frame::read(&mut self.from_approver).await.unwrap() {
                FromApprover::Recorded { .. } => {}
                told => return told,
            }
        }
    }

    /// Whatever the worker is told next, records included.
    pub(crate) async fn hear_anything(&mut self) -> FromApprover {
        frame::read(&mut self.from_approver).await.unwrap()
    }

    /// Asks for a hold and gives the question's number.
    pub(crate) async fn ask(&mut self, request: &HoldRequest) -> u64 {
        self.asks += 1;
        self.say(ToApprover::Hold { ask: self.asks, request: Box::new(request.clone()) }).await;
        self.asks
    }

    /// Asks for a hold that is taken or joined.
    pub(crate) async fn hold(&mut self, request: &HoldRequest) -> HoldId {
        let asked = self.ask(request).await;
        match self.hear().await {
            FromApprover::Held { ask, hold, .. } if ask == asked => hold,
            other => panic!("not held: {other:?}"),
        }
    }

    /// Decides as Ada.
    pub(crate) async fn decide(&self, hold: HoldId, decision: Decision) -> HoldView {
        let digest = self.engine.hold(&hold.to_string()).await.unwrap().digest;
        let request = DecisionRequest { decision, digest, reason: "looked at it".into() };
        self.engine.decide(hold, &request, "Ada").await.unwrap()
    }

    /// The order to send that the worker gets next.
    pub(crate) async fn order(&mut self) -> SendOrder {
        match self.hear().await {
            FromApprover::Send(order) => *order,
            other => panic!("no order: {other:?}"),
        }
    }

    /// The worker reports a send; returns what those who wait are told.
    pub(crate) async fn report(&mut self, hold: HoldId, result: Result<StoredResponse, SendFailure>) {
        self.say(ToApprover::Sent { hold, result }).await;
    }

    /// Waits until a hold looks as wanted.
    pub(crate) async fn until(&self, hold: HoldId, wanted: impl Fn(&HoldView) -> bool) -> HoldView {
        loop {
            let view = self.engine.hold(&hold.to_string()).await.unwrap();
            if wanted(&view) {
                return view;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Every record's kind, in order.
    pub(crate) async fn kinds(&self) -> Vec<String> {
        let query = sqlx::query_scalar("SELECT kind FROM journal ORDER BY seq");
        query.fetch_all(self.engine.store().readers()).await.unwrap()
    }
}

/// Times as a user would have them.
pub(crate) fn hold_config() -> HoldConfig {
    HoldConfig {
        wait: Duration::from_secs(50),
        expires: Duration::from_secs(30 * 60),
        result_ttl: Duration::from_secs(10 * 60),
        max_body: 8 << 20,
        max_pending_per_agent: 3,
    }
}

/// A policy of one file.
pub(crate) fn policy(text: &str) -> Policy {
    Policy::compile(&[("policy.yaml".to_owned(), text.to_owned())]).unwrap()
}

/// `DELETE` of a customer, with a credential.
pub(crate) fn request(path: &str) -> HoldRequest {
    let head = RequestHead {
        scheme: Scheme::Https,
        host: "crm.acme.internal".into(),
        port: 443,
        method: "DELETE".into(),
        target: path.into(),
        headers: vec![
            Header { name: "authorization".into(), value: b"Bearer s3cret-token-1".to_vec() },
            Header { name: "content-type".into(), value: b"application/json".to_vec() },
        ],
    };
    let body = Bytes::from_static(b"{\"cascade\":true}");
    let action = classify(&head, Some(&body));
    let request = CanonicalRequest { head, body };
    HoldRequest {
        exchange: ExchangeId(Ulid::new()),
        agent: "bot".parse().unwrap(),
        caller: caller(),
        destination: destination(),
        digest: request.digest(),
        request,
        action,
        judgement: judgement(Verdict::Hold),
    }
}

/// The same request with another credential, as a retry would bring it.
pub(crate) fn retried(path: &str, credential: &str) -> HoldRequest {
    let mut again = request(path);
    again.request.head.headers[0].value = format!("Bearer {credential}").into_bytes();
    again
}

/// A record of an exchange that was judged.
pub(crate) fn record(verdict: Verdict, url: &str) -> ExchangeRecord {
    ExchangeRecord {
        exchange: ExchangeId(Ulid::new()),
        agent: "bot".parse().unwrap(),
        caller: caller(),
        destination: destination(),
        request: Some(RequestLine { method: "GET".into(), url: url.into() }),
        action: None,
        judgement: judgement(verdict),
        digest: Some(Digest::of(url.as_bytes())),
    }
}

/// An answer of the destination.
pub(crate) fn answer(body: &'static str) -> StoredResponse {
    let verified_name = Some("crm.acme.internal".to_owned());
    let body = Bytes::from_static(body.as_bytes());
    StoredResponse { status: 200, headers: vec![], body, trailers: vec![], verified_name }
}

fn caller() -> Caller {
    let cmdline = ["cleanup.py", "--token", "s3cret-token-2"].map(str::to_owned).to_vec();
    Caller {
        pid: 4242,
        uid: 1001,
        exe: "/usr/bin/python3".into(),
        comm: "python3".into(),
        cmdline,
        ..Caller::default()
    }
}

fn destination() -> Destination {
    Destination { ip: [203, 0, 113, 7].into(), port: 443, verified_name: None }
}

fn judgement(verdict: Verdict) -> Judgement {
    Judgement {
        verdict,
        rule: Some(RuleId("http-delete".into())),
        why: "deletes cannot be undone".into(),
        terms: HoldTerms::default(),
        observed: vec![],
        policy: policy(POLICY).digest(),
    }
}

use crate::flow::judge::Judge as _;
