//! The client against a socket that answers as the approver does, and against sockets that do not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use super::*;
use crate::approval::event::EventName;
use crate::approval::view::{Decision, HoldState};

/// An approver that gives prepared answers in order, and what it was asked.
struct Approver {
    dir: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Approver {
    fn answering(answers: Vec<(u16, Vec<u8>)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONTROL_SOCKET);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = mpsc::channel();
        let world = (Arc::new(Mutex::new(VecDeque::from(answers))), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(path, listening, world) => {}
                    _ = stopped => {}
                }
            });
        });
        listens.recv().unwrap();
        Self { dir, asked, stop: Some(stop), thread: Some(thread) }
    }

    fn control(&self) -> Control {
        Control::new(self.dir.path()).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Approver {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().map(JoinHandle::join);
    }
}

type World = (Arc<Mutex<VecDeque<(u16, Vec<u8>)>>>, Arc<Mutex<Vec<String>>>);

async fn serve(path: PathBuf, listening: mpsc::Sender<()>, world: World) {
    let listener = UnixListener::bind(path).unwrap();
    listening.send(()).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let world = world.clone();
        let service = service_fn(move |request| answer(request, world.clone()));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(
    request: Request<Incoming>,
    (answers, asked): World,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let question = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let question = format!("{question} {}", String::from_utf8_lossy(&body));
    asked.lock().unwrap().push(question.trim().to_owned());
    let (status, body) = answers.lock().unwrap().pop_front().expect("an answer for every question");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A hold as the contract shows it.
pub(crate) fn hold(state: HoldState) -> HoldView {
    let view = json!({
        "id": "01J00000000000000000000000", "state": state, "agent": "deploy-bot",
        "created_at": "2027-01-01T00:00:00Z", "expires_at": "2027-01-01T00:30:00Z",
        "rule": "http-delete", "why": "deletes cannot be undone",
        "action": { "effect": "delete", "family": "http", "operation": "DELETE /v1/customers/{id}",
            "resource": "customer 8821", "environment": "production", "reversible": false, "count": null,
            "amount": null, "currency": null, "summary": "Delete customer 8821 at crm.acme.internal" },
        "request": { "method": "DELETE", "url": "https://crm.acme.internal/v1/customers/8821",
            "headers": [["authorization", "Bearer ••••"]], "refreshable": ["authorization"],
            "body": { "size": 16, "sha256": "00", "media_type": "application/json",
                "text": "{\"cascade\":true}", "truncated": false, "inspectable": true } },
        "destination": { "ip": "203.0.113.7", "port": 443, "verified_name": "crm.acme.internal" },
        "caller": { "pid": 4242, "uid": 1001, "exe": "/usr/bin/python3", "comm": "python3",
            "start_time": "2026-12-31T23:59:00Z", "cwd": "/srv/agent", "unit": "bot.service", "ancestry": [
                { "pid": 4200, "comm": "bash", "exe": "/bin/bash" }, { "pid": 4100, "comm": "shield", "exe": "" }],
            "cmdline": ["python3", "cleanup.py"] },
        "digest": format!("sha256:{}", "ab".repeat(32)), "asked": 1, "caller_waiting": true,
        "decision": null, "result": null,
    });
    serde_json::from_value(view).unwrap()
}

#[test]
fn all_pages_of_a_list_are_followed() {
    let page = |next: Option<&str>| bytes(&json!({ "items": [hold(HoldState::Pending)], "next": next }));
    let approver = Approver::answering(vec![(200, page(Some("A B"))), (200, page(None))]);
    let agent = "deploy-bot".parse().unwrap();
    assert_eq!(approver.control().holds("all", Some(&agent)).unwrap().len(), 2);
    assert_eq!(
        approver.asked(),
        [
            "GET /api/v1/holds?state=all&limit=200&agent=deploy-bot",
            "GET /api/v1/holds?state=all&limit=200&agent=deploy-bot&cursor=A+B"
        ]
    );
}

#[test]
fn a_decision_names_the_digest_that_was_seen() {
    let approved = bytes(&json!(hold(HoldState::Approved)));
    let approver = Approver::answering(vec![(200, approved)]);
    let seen = hold(HoldState::Pending);
    let request = DecisionRequest { decision: Decision::Approve, digest: seen.digest, reason: "fine".into() };
    assert_eq!(approver.control().decide(seen.id, &request).unwrap().state, HoldState::Approved);
    let digest = seen.digest;
    let expected = format!(
        "POST /api/v1/holds/{}/decision {{\"decision\":\"approve\",\"digest\":\"{digest}\",\"reason\":\"fine\"}}",
        seen.id
    );
    assert_eq!(approver.asked(), [expected]);
}

#[test]
fn a_problem_is_its_sentence_and_carries_the_hold_as_it_is() {
    let conflict = json!({ "title": "Conflict", "status": 409, "detail": "somebody already denied this hold",
        "current": hold(HoldState::Denied) });
    let approver =
        Approver::answering(vec![(409, bytes(&conflict)), (400, b"bad query\n".to_vec()), (502, vec![])]);
    let control = approver.control();
    let ControlError::Problem(problem) = control.revoke(hold(HoldState::Done).id).unwrap_err() else {
        panic!("not a problem")
    };
    assert_eq!((problem.status, problem.to_string().as_str()), (409, "somebody already denied this hold"));
    assert_eq!(problem.current.unwrap().state, HoldState::Denied);
    assert_eq!(control.hold("01J").unwrap_err().to_string(), "bad query");
    assert_eq!(control.hold("01J").unwrap_err().to_string(), "the daemon answered 502 Bad Gateway");
}

#[test]
fn a_body_is_passed_on_byte_for_byte() {
    let approver = Approver::answering(vec![(200, vec![0, 255, 10, 13])]);
    assert_eq!(approver.control().body(hold(HoldState::Pending).id).unwrap().as_ref(), [0, 255, 10, 13]);
}

#[test]
fn changes_are_read_until_the_stream_ends() {
    let event = |name: &str| {
        format!("event: {name}\ndata: {{\"name\":\"{name}\",\"hold\":null,\"agent\":\"bot\"}}\n\n")
    };
    let stream = format!(":\n\n{}{}", event("hold.created"), event("agent.attached"));
    let approver = Approver::answering(vec![(200, stream.into_bytes())]);
    let control = approver.control();
    let names = control.events().unwrap().map(|event| event.unwrap().name);
    assert_eq!(names.collect::<Vec<_>>(), [EventName::HoldCreated, EventName::AgentAttached]);
}

#[test]
fn an_absent_daemon_is_named_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let error = Control::new(dir.path()).unwrap().hold("01J").unwrap_err();
    assert!(matches!(error, ControlError::NotReachable(..)));
    assert!(error.to_string().contains("shield daemon"));
}

#[test]
fn a_daemon_that_hangs_up_says_whether_we_may_ask() {
    let dir = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join(CONTROL_SOCKET)).unwrap();
    let hanging_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let error = Control::new(dir.path()).unwrap().hold("01J").unwrap_err();
    hanging_up.join().unwrap();
    match nix::unistd::Uid::effective().is_root() {
        true => assert!(matches!(error, ControlError::Broken(_)), "{error:?}"),
        false => assert!(matches!(error, ControlError::HungUp(_)), "{error:?}"),
    }
}
