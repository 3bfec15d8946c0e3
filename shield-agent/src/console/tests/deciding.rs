//! Forms: what they change, what they refuse, and what a person reads then.

use axum::http::StatusCode;

use super::browser::Console;
use crate::approval::tests::world::request;
use crate::approval::view::{Decision, HoldState};
use crate::names::Digest;

#[tokio::test]
async fn a_new_request_is_on_the_queue_and_its_page_decides_on_it() {
    let (console, id) = Console::with_hold().await;
    let queue = console.get("/").await;
    assert!(queue.text.contains("Delete customer 8821 at crm.acme.internal"));
    assert!(queue.text.contains(&format!("href=\"/h/{id}\"")));
    let page = console.get(&format!("/h/{id}")).await.text;
    let hold = console.world.engine.hold(&id.to_string()).await.unwrap();
    assert!(page.contains(&hold.digest.to_string()) && page.contains(&console.csrf()));
    assert!(!page.contains("s3cret"), "secrets are masked");
    let form = format!("csrf={}&digest={}&decision=deny&reason=use+staging", console.csrf(), hold.digest);
    let reply = console.post(&format!("/h/{id}/decision"), &form).await;
    assert_eq!((reply.status, reply.field("location")), (StatusCode::SEE_OTHER, &*format!("/h/{id}")));
    let page = console.get(&format!("/h/{id}")).await.text;
    assert!(
        page.contains("<h2>Denied</h2>")
            && page.contains("use staging")
            && page.contains("<b>Ada</b> denied")
    );
    assert!(console.get("/").await.text.contains("Nothing is waiting"));
}

#[tokio::test]
async fn a_form_without_its_token_decides_nothing() {
    let (console, id) = Console::with_hold().await;
    let digest = console.world.engine.hold(&id.to_string()).await.unwrap().digest;
    for csrf in ["", "x", &"0".repeat(64)] {
        for (path, rest) in [
            (format!("/h/{id}/decision"), format!("&digest={digest}&decision=approve")),
            (format!("/h/{id}/revoke"), String::new()),
            ("/agents/bot/freeze".into(), String::new()),
            ("/agents/bot/thaw".into(), String::new()),
            ("/logout".into(), String::new()),
        ] {
            let reply = console.post(&path, &format!("csrf={csrf}{rest}")).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{path}");
            assert!(reply.text.contains("reload the page"), "a person is told what to do");
        }
    }
    assert_eq!(console.world.engine.hold(&id.to_string()).await.unwrap().state, HoldState::Pending);
}

#[tokio::test]
async fn a_stale_digest_gets_a_page_that_says_so() {
    let (console, id) = Console::with_hold().await;
    let other = Digest::of(b"another request");
    let form = format!("csrf={}&digest={other}&decision=approve", console.csrf());
    let reply = console.post(&format!("/h/{id}/decision"), &form).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert!(
        reply.text.contains("The digest is not the held request")
            && reply.text.contains(&format!("href=\"/h/{id}\""))
    );
    assert_eq!(console.world.engine.hold(&id.to_string()).await.unwrap().state, HoldState::Pending);
}

#[tokio::test]
async fn who_comes_second_is_told_what_the_first_decided() {
    let (console, id) = Console::with_hold().await;
    let hold = console.world.decide(id, Decision::Deny).await;
    let form = format!("csrf={}&digest={}&decision=approve", console.csrf(), hold.digest);
    let reply = console.post(&format!("/h/{id}/decision"), &form).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert!(reply.text.contains("already denied") && reply.text.contains("looked at it"));
}

#[tokio::test]
async fn an_approval_that_is_being_sent_cannot_be_taken_back() {
    let (mut console, id) = Console::with_hold().await;
    console.world.decide(id, Decision::Approve).await;
    console.world.order().await;
    let reply = console.post(&format!("/h/{id}/revoke"), &format!("csrf={}", console.csrf())).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert!(reply.text.contains("cannot be taken back"));
}

#[tokio::test]
async fn what_an_agent_sends_is_text_on_every_page() {
    let mut console = Console::entered().await;
    let mut hostile = request("/v1/<script>alert(1)</script>/\u{202e}x?q=\"><img src=x>");
    hostile.request.body = "<script>alert(2)</script>\u{202e}\u{200b}".into();
    hostile.request.head.headers[1].value = b"text/<svg onload=alert(3)>".to_vec();
    hostile.action.summary = "<iframe src=//evil>\u{202e}".into();
    hostile.digest = hostile.request.digest();
    let id = console.world.hold(&hostile).await;
    for path in ["/".to_owned(), format!("/h/{id}"), "/history".to_owned()] {
        let page = console.get(&path).await.text;
        for harm in ["<script>", "<img src=x", "<svg", "<iframe", "\u{202e}", "\u{200b}"] {
            assert!(!page.contains(harm), "{harm:?} on {path}");
        }
        assert!(page.contains("‹U+202E›"), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people() {
    let console = Console::entered().await;
    for path in ["/h/01KAXH2V8N4T6R0Q2M5W7Y9ZBD", "/nothing"] {
        let reply = console.get(path).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(
            reply.field("content-type").starts_with("text/html") && reply.text.contains("Open the queue")
        );
    }
}
