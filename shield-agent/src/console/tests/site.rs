//! Who gets in, and what browsers may do with what they get.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use jiff::Timestamp;

use super::{Console, SITE, config, read};
use crate::approval::view::HoldState;
use crate::console::{Door, router};

#[tokio::test]
async fn nothing_is_shown_or_done_without_a_session() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    for cookie in ["", "shield=", "shield=0000", "other=1"] {
        console.cookie = cookie.into();
        for page in ["/", "/history", "/agents", &format!("/h/{}", hold.id)] {
            let answer = console.open(page).await;
            assert_eq!(
                (answer.status, answer.field("location")),
                (StatusCode::SEE_OTHER, "/login"),
                "{page}"
            );
            assert!(!answer.body.contains("crm.acme.internal"));
        }
        for call in ["holds", "agents", "exchanges", "events", &format!("holds/{}/body", hold.id)] {
            let answer = console.open(&format!("/api/v1/{call}")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{call}");
        }
        let yes = serde_json::json!({ "decision": "approve", "digest": hold.digest });
        let answer = console.call(&format!("/api/v1/holds/{}/decision", hold.id), &yes).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let form = format!("decision=approve&digest={}&csrf={}", hold.digest, console.csrf);
        let answer = console.submit(&format!("/h/{}/decision", hold.id), &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(console.now(&hold.id.to_string()).await.state, HoldState::Pending);
}

#[tokio::test]
async fn a_link_is_looked_at_any_number_of_times_and_used_once() {
    let console = Console::start().await;
    let (link, _) = console.app.sessions.create_link(Timestamp::now()).await.unwrap();
    for _ in 0..2 {
        let shown = console.open(&format!("/login?token={}", link.reveal())).await;
        assert_eq!(shown.status, StatusCode::OK);
        assert!(shown.field("set-cookie").is_empty());
    }
    let form = format!("token={}&name=Grace", link.reveal());
    let first = console.submit("/login", &form).await;
    assert_eq!((first.status, first.field("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = first.field("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let again = console.submit("/login", &form).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.body.contains("used before"), "{}", again.body);
}

#[tokio::test]
async fn a_name_that_nobody_can_read_is_not_one() {
    let console = Console::start().await;
    let (link, _) = console.app.sessions.create_link(Timestamp::now()).await.unwrap();
    for name in ["", "+++", &"x".repeat(61), "%E2%80%AEadA", "a%00b"] {
        let answer = console.submit("/login", &format!("token={}&name={name}", link.reveal())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
}

#[tokio::test]
async fn a_link_in_a_chat_leads_to_the_hold_although_the_cookie_is_strict() {
    let console = Console::start().await;
    let request = Request::get("/h/01ABC").header("host", "localhost:7443");
    let request = request.header("sec-fetch-site", "cross-site").body(Body::empty()).unwrap();
    let answer = console.send(request).await;
    assert!(answer.body.contains("content=\"0;url=/h/01ABC\""), "{}", answer.body);
}

#[tokio::test]
async fn guesses_at_links_are_slowed_down() {
    let console = Console::start().await;
    let mut last = StatusCode::OK;
    for guess in 0..40 {
        last = console.submit("/login", &format!("token={guess}&name=Eve")).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn after_logging_out_the_session_is_worth_nothing() {
    let console = Console::start().await;
    assert_eq!(console.submit("/logout", "csrf=wrong").await.status, StatusCode::FORBIDDEN);
    assert_eq!(console.open("/agents").await.status, StatusCode::OK);
    console.submit("/logout", &format!("csrf={}", console.csrf)).await;
    assert_eq!(console.open("/agents").await.field("location"), "/login");
}

#[tokio::test]
async fn a_request_for_another_host_is_turned_away() {
    let console = Console::start().await;
    for host in ["evil.example", "localhost", "127.0.0.1", "localhost:7443.evil.example", ""] {
        let request = Request::get("/healthz").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(console.send(request).await.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    assert_eq!(console.open("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_another_site_makes_a_browser_send_does_nothing() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let form = format!("decision=approve&digest={}&csrf={}", hold.digest, console.csrf);
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "https://localhost:7443"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let request = console.request("POST", &format!("/h/{}/decision", hold.id)).header(name, value);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = console.send(request.body(Body::from(form.clone())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    // What a form of another site can send without asking.
    let json = format!("{{\"decision\":\"approve\",\"digest\":\"{}\"}}", hold.digest);
    let request = console.request("POST", &format!("/api/v1/holds/{}/decision", hold.id));
    let request = request.header("content-type", "text/plain").body(Body::from(json)).unwrap();
    assert_eq!(console.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(console.now(&hold.id.to_string()).await.state, HoldState::Pending);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_and_frame_nothing() {
    let console = Console::start().await;
    for path in
        ["/", "/login", "/nothing", "/api/v1/holds", "/api/v1/nothing", "/assets/style.css", "/healthz"]
    {
        let answer = console.open(path).await;
        let policy = answer.field("content-security-policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.field("x-content-type-options"), "nosniff", "{path}");
        // With `no-referrer`, browsers say of our own forms that they come from nowhere.
        assert_eq!(answer.field("referrer-policy"), "same-origin", "{path}");
        assert!(answer.head.keys().all(|name| !name.as_str().starts_with("access-control")), "{path}");
    }
}

#[tokio::test]
async fn root_on_the_local_socket_decides_without_a_session_and_gets_login_links() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let door = router(console.world.engine.clone(), &config(), Door::Control);
    let link = read(door.clone(), Request::post("/api/v1/login-links").body(Body::empty()).unwrap()).await;
    assert!(link.json()["url"].as_str().unwrap().starts_with(&format!("{SITE}/login?token=")));
    let no = serde_json::json!({ "decision": "deny", "digest": hold.digest, "reason": "no" }).to_string();
    let request = Request::post(format!("/api/v1/holds/{}/decision", hold.id));
    let request = request.header("content-type", "application/json").body(Body::from(no)).unwrap();
    let answer = read(door.clone(), request).await.json();
    assert_eq!(answer["decision"]["by"], "root (uid 0) on the control socket");
    let page = read(door, Request::get("/").body(Body::empty()).unwrap()).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND, "the local socket has no pages");
    let elsewhere = console.call("/api/v1/login-links", &serde_json::json!({})).await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND, "a session makes no sessions");
}
