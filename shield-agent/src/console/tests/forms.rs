//! Deciding as a person does: a page, a form, what happened.

use axum::http::StatusCode;

use super::Console;
use crate::approval::tests::world::{answer, request};
use crate::approval::view::{Decision, HoldState};
use crate::ipc::approver::FromApprover;

#[tokio::test]
async fn a_reviewer_approves_what_the_page_shows_and_sees_the_outcome() {
    let mut console = Console::start().await;
    let hold = console.hold("/v1/customers/8821").await;
    let queue = console.open("/").await.body;
    assert!(queue.contains(&hold.action.summary) && queue.contains(&format!("/h/{}", hold.id)));
    let page = console.open(&format!("/h/{}", hold.id)).await.body;
    assert!(page.contains(&hold.digest.to_string()) && page.contains(&console.csrf));

    let form = format!("decision=approve&digest={}&csrf={}&reason=", hold.digest, console.csrf);
    let decided = console.submit(&format!("/h/{}/decision", hold.id), &form).await;
    assert_eq!(
        (decided.status, decided.field("location")),
        (StatusCode::SEE_OTHER, &*format!("/h/{}", hold.id))
    );
    let order = console.world.order().await;
    assert_eq!(order.digest, hold.digest);
    console.world.report(hold.id, Ok(answer("gone"))).await;
    assert!(matches!(console.world.hear().await, FromApprover::Over { .. }));
    let page = console.open(&format!("/h/{}", hold.id)).await.body;
    assert!(page.contains("The destination answered 200") && page.contains("Ada"), "{page}");
}

#[tokio::test]
async fn a_denial_keeps_the_reviewers_words() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let form = format!("decision=deny&digest={}&csrf={}&reason=use+staging", hold.digest, console.csrf);
    console.submit(&format!("/h/{}/decision", hold.id), &form).await;
    let now = console.now(&hold.id.to_string()).await;
    assert_eq!((now.state, now.decision.unwrap().reason.as_str()), (HoldState::Denied, "use staging"));
    assert!(console.open(&format!("/h/{}", hold.id)).await.body.contains("use staging"));
}

#[tokio::test]
async fn a_form_without_the_sessions_token_decides_nothing() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    for csrf in ["", "0", &console.csrf[1..]] {
        let form = format!("decision=approve&digest={}&csrf={csrf}", hold.digest);
        let answer = console.submit(&format!("/h/{}/decision", hold.id), &form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{csrf}");
    }
    assert_eq!(console.now(&hold.id.to_string()).await.state, HoldState::Pending);
}

#[tokio::test]
async fn whoever_comes_second_is_told_what_the_first_one_did() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let form =
        |decision: &str, digest: &str| format!("decision={decision}&digest={digest}&csrf={}", console.csrf);
    let path = format!("/h/{}/decision", hold.id);
    let other = crate::names::Digest::of(b"something else").to_string();
    let stale = console.submit(&path, &form("approve", &other)).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert_eq!(console.now(&hold.id.to_string()).await.state, HoldState::Pending);
    console.submit(&path, &form("deny", &hold.digest.to_string())).await;
    let late = console.submit(&path, &form("approve", &hold.digest.to_string())).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert!(late.body.contains("already denied") && late.body.contains(&format!("/h/{}", hold.id)));
}

#[tokio::test]
async fn nothing_else_is_done_without_the_sessions_token_either() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    for path in [&*format!("/h/{}/revoke", hold.id), "/agents/bot/freeze", "/agents/bot/thaw"] {
        let answer = console.submit(path, "csrf=0").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(answer.body.contains("reload the page"), "a person is told what to do");
    }
}

#[tokio::test]
async fn an_approval_that_is_being_sent_cannot_be_taken_back() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    console.world.decide(hold.id, Decision::Approve).await;
    console.world.order().await;
    let csrf = format!("csrf={}", console.csrf);
    let answer = console.submit(&format!("/h/{}/revoke", hold.id), &csrf).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.body.contains("cannot be taken back"));
}

#[tokio::test]
async fn markup_in_a_request_stays_text_on_every_page() {
    let mut console = Console::start().await;
    let mut hostile = request("/<script>alert(1)</script>\u{202e}");
    hostile.request.head.headers[1].value = b"text/\"><img src=x onerror=alert(1)>".to_vec();
    hostile.digest = hostile.request.digest();
    hostile.action = crate::flow::inspect::classify(&hostile.request.head, Some(&hostile.request.body));
    let id = console.world.hold(&hostile).await;
    for path in ["/", "/history", "/agents", &format!("/h/{id}")] {
        let page = console.open(path).await.body;
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{path}");
        assert!(!page.contains('\u{202e}'), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_says_so_and_what_is_near() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let missing = console.open("/h/01AAAAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.body.contains(&hold.id.to_string()), "{}", missing.body);
    assert_eq!(console.open("/nothing").await.status, StatusCode::NOT_FOUND);
}
