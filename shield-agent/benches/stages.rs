//! What each stage of a request costs by itself, in the order a request meets them: `cargo xtask bench --stages`.
//!
//! Everything runs in this process, on one thread and without the kernel's hooks; nothing here says what a whole request
//! costs, which `cargo xtask bench` measures.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use http::{Request, Response};
use rustls::pki_types::ServerName;
use shield_agent::approval::channel;
use shield_agent::approval::engine::{Clock, Engine, Setup};
use shield_agent::approval::permit::Permit;
use shield_agent::config::HoldConfig;
use shield_agent::flow::accept::callers::Callers;
use shield_agent::flow::accept::forbidden::Forbidden;
use shield_agent::flow::accept::{self, Gate, Originals};
use shield_agent::flow::decrypt::leaf::Leaves;
use shield_agent::flow::decrypt::signer::Signer;
use shield_agent::flow::decrypt::{self, Opened, Readable};
use shield_agent::flow::http::canonical::{Header, RequestHead, Scheme};
use shield_agent::flow::http::parse::{Channel, canonical_head};
use shield_agent::flow::http::serve;
use shield_agent::flow::inspect;
use shield_agent::flow::judge::Judge as _;
use shield_agent::flow::limits::{HttpLimits, Limits};
use shield_agent::flow::origin::{Caller, Destination};
use shield_agent::flow::policy::Policy;
use shield_agent::flow::policy::verdict::{BodyView, Judgement, Subject};
use shield_agent::flow::review::approver::Approver;
use shield_agent::flow::review::reply::Reply;
use shield_agent::ipc::approver::{ExchangeOutcome, ExchangeRecord};
use shield_agent::ipc::worker::FromWorker;
use shield_agent::names::{AgentName, Digest, ExchangeId};
use shield_agent::signer::{self, Authority};
use shield_agent::store::{Place, Store};
use shield_common::original::Original;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Requests on one connection of the `http` stage.
const PIPELINED: u64 = 100;

const HOST: &str = "api.acme.example";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    accept(&mut criterion);
    decrypt(&mut criterion);
    http(&mut criterion);
    inspect(&mut criterion);
    policy(&mut criterion);
    journal(&mut criterion);
    criterion.final_summary();
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn agent() -> AgentName {
    "bench".parse().expect("a name")
}

fn head() -> RequestHead {
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    RequestHead {
        scheme: Scheme::Https,
        host: HOST.into(),
        port: 443,
        method: "POST".into(),
        target: "/v1/customers/8821/notes?draft=true".into(),
        headers: vec![
            header("accept", "*/*"),
            header("authorization", "Bearer 0123456789abcdef"),
            header("content-type", "application/json"),
            header("user-agent", "bench/1"),
        ],
    }
}

const BODY: &[u8] = br#"{"text": "hello", "tags": ["a", "b"], "priority": 3}"#;

/// The kernel's record of every socket.
struct Records;

impl Originals for Records {
    fn lookup(&self, _socket: BorrowedFd<'_>) -> io::Result<Option<Original>> {
        Ok(Some(Original {
            address: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets(),
            cookie: 1,
            cgroup_id: 1,
            netns_cookie: 1,
            connected_at_ns: 1,
            port: 443,
            family: 2,
            pid: std::process::id(),
            uid: 1001,
            gid: 1001,
            comm: *b"client\0\0\0\0\0\0\0\0\0\0",
        }))
    }
}

/// Whose connection it is, with a supervisor that answers at once.
fn accept(criterion: &mut Criterion) {
    let runtime = runtime();
    let gate = Gate {
        agent: agent(),
        originals: Arc::new(Records),
        turns: Arc::new(tokio::sync::Semaphore::new(1)),
    };
    let (outbox, mut asked) = mpsc::unbounded_channel();
    let callers = Arc::new(Callers::new(outbox));
    let supervisor = Arc::clone(&callers);
    runtime.spawn(async move {
        while let Some(FromWorker::WhichCaller { ask, .. }) = asked.recv().await {
            supervisor.answered(ask, Box::default());
        }
    });
    let forbidden = Forbidden::default();
    let (socket, _other) = io::pipe().expect("a pipe");
    criterion.bench_function("accept", |bencher| {
        bencher
            .to_async(&runtime)
            .iter(async || accept::identify(&gate, (&forbidden, &callers), socket.as_fd()).await.is_ok());
    });
}

/// A whole TLS handshake over loopback for a name whose leaf is kept, the client's half included.
fn decrypt(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(folder.path()).expect("a CA");
    let ca = authority.certificate().clone();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let limits = decrypt::Limits { first_byte: decrypt::FIRST_BYTE, handshake: Limits::default().handshake };
    let (leaves, listener) = runtime.block_on(async {
        let (worker, signer) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { signer::serve(signer, &authority, 50).await });
        let leaves = Leaves::new(Signer::start(worker), ca.to_vec(), Arc::clone(&provider));
        (leaves.expect("leaves"), TcpListener::bind("127.0.0.1:0").await.expect("a listener"))
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).expect("a root");
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(client));
    let address = listener.local_addr().expect("an address");
    criterion.bench_function("decrypt", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let client = async {
                let stream = TcpStream::connect(address).await.expect("connected");
                connector.connect(ServerName::try_from(HOST).expect("a name"), stream).await
            };
            let server = async {
                let (stream, from) = listener.accept().await.expect("accepted");
                decrypt::open(stream, from.ip(), &leaves, limits, |_| false).await
            };
            let (connected, opened) = tokio::join!(client, server);
            assert!(connected.is_ok() && matches!(opened, Ok(Opened::Readable(Readable::Tls { .. }))));
        });
    });
}

/// From the bytes of a connection to canonical requests and back to answers.
fn http(criterion: &mut Criterion) {
    let runtime = runtime();
    let one = format!(
        "POST /v1/customers/8821/notes?draft=true HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\nAuthorization: Bearer \
         0123456789abcdef\r\nContent-Type: application/json\r\nUser-Agent: bench/1\r\nContent-Length: {}\r\n\r\n{}",
        BODY.len(),
        String::from_utf8_lossy(BODY),
    );
    // The last one is still under way when the client leaves, and is not counted.
    let bytes: Arc<[u8]> = one.repeat(PIPELINED as usize + 1).into_bytes().into();
    let channel = Channel {
        scheme: Scheme::Https,
        name: Some(HOST.into()),
        port: 443,
        most_fields: HttpLimits::default().fields,
    };
    let mut group = criterion.benchmark_group("http");
    group.throughput(Throughput::Elements(PIPELINED));
    group.bench_function("100 requests", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let served = Arc::new(AtomicU64::new(0));
            let answer = |request: Request<_>| {
                let (channel, served) = (&channel, &served);
                async move {
                    let (parts, _body) = request.into_parts();
                    let head = canonical_head(&parts, channel).expect("a clear request");
                    served.fetch_add(1, Ordering::Relaxed);
                    Reply::to(&parts, Reply::ours(Response::new(black_box(head).target.into())))
                }
            };
            let stream = tokio::io::join(io::Cursor::new(Arc::clone(&bytes)), tokio::io::sink());
            serve::http1(stream, (None, HttpLimits::default()), answer, &CancellationToken::new()).await;
            assert!(served.load(Ordering::Relaxed) >= PIPELINED);
        });
    });
    group.finish();
}

/// What a request means.
fn inspect(criterion: &mut Criterion) {
    let head = head();
    let mut sql = head.clone();
    sql.target = "/sql".into();
    let statement = br#"{"statement": "delete from customers where id in (select id from old)"}"#;
    let mut group = criterion.benchmark_group("inspect");
    group.bench_function("rest", |bencher| bencher.iter(|| inspect::classify(black_box(&head), Some(BODY))));
    group.bench_function("sql", |bencher| {
        bencher.iter(|| inspect::classify(black_box(&sql), Some(statement)));
    });
    group.finish();
}

/// A tenth of the rules is about the host that is asked, the rest about others; one looks at every request.
fn rules(count: usize) -> Policy {
    let mut text = "version: 1\nrules:\n  - { id: delete, verdict: hold, why: deletes cannot be undone, match: { method: \
                    [DELETE] } }\n"
        .to_owned();
    for number in 1..count {
        let host =
            if number % 10 == 0 { "*.acme.example".to_owned() } else { format!("*.v{number}.example") };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  - {{ id: rule-{number}, verdict: hold, why: people change these, match: {{ host: [\"{host}\"], method: \
             [POST, PUT], path: \"/v1/things-{number}/{{id}}\" }} }}"
        );
    }
    Policy::compile(&[("bench.yaml".into(), text)]).expect("a policy")
}

fn judge(policy: &Policy, head: &RequestHead) -> Judgement {
    let (agent, now) = (agent(), jiff::Timestamp::UNIX_EPOCH);
    let caller = Caller { comm: "client".into(), ..Caller::default() };
    let destination = Destination { ip: IpAddr::from([192, 0, 2, 7]), port: 443, verified_name: None };
    let action = inspect::classify(head, None);
    black_box(policy.body_need(&agent, head, now));
    let body = BodyView::NotRead;
    policy.judge(&Subject {
        agent: &agent,
        caller: &caller,
        destination: &destination,
        head,
        body,
        action: &action,
        now,
    })
}

/// Classification and the verdict, by the number of rules.
fn policy(criterion: &mut Criterion) {
    let head = head();
    let mut group = criterion.benchmark_group("policy");
    for count in [10, 100, 1000] {
        let policy = rules(count);
        group.bench_function(format!("{count} rules"), |bencher| {
            bencher.iter(|| judge(&policy, black_box(&head)));
        });
    }
    group.finish();
}

/// An approver on a store of its own.
async fn approver(folder: &Path) -> Arc<Approver> {
    let store = Store::open(Place::file(&folder.join("shield.db"))).await.expect("a store");
    let (to_worker, said) = mpsc::unbounded_channel();
    let (to_supervisor, _nobody) = mpsc::unbounded_channel();
    let hold = HoldConfig {
        wait: Duration::from_secs(50),
        expires: Duration::from_secs(1800),
        result_ttl: Duration::from_secs(600),
        max_body: 8 << 20,
        max_pending_per_agent: 100,
    };
    let (policy, clock) = (rules(10), Clock::real());
    let setup =
        Setup { store, hold, policy, trust: "/run/shield/trust".into(), clock, to_worker, to_supervisor };
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(channel::serve(Engine::new(setup), theirs, said));
    Approver::start(ours).0
}

/// An exchange on the record, its permit and its outcome, as fast as the journal becomes durable.
fn journal(criterion: &mut Criterion) {
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a folder");
    let approver = runtime.block_on(approver(folder.path()));
    let (head, body) = (head(), Digest::of(BODY));
    let judgement = judge(&rules(10), &head);
    criterion.bench_function("permit and journal", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let exchange = ExchangeId(ulid::Ulid::new());
            let digest = head.digest(Some(body));
            let record = ExchangeRecord {
                exchange,
                agent: agent(),
                caller: Caller::default(),
                destination: Destination { ip: IpAddr::from([192, 0, 2, 7]), port: 443, verified_name: None },
                request: Some((&head).into()),
                action: Some(inspect::classify(&head, Some(BODY))),
                judgement: judgement.clone(),
                digest: Some(digest),
            };
            let permit =
                Permit::by_rule(approver.recorder.accept(record.into(), digest).await.expect("recorded"));
            let took = Duration::from_millis(1);
            let outcome =
                ExchangeOutcome { exchange, status: Some(200), sent: 0, received: 0, took, error: None };
            approver.recorder.finished(outcome);
            permit
        });
    });
}
