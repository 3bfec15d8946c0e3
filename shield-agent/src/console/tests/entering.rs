//! Who gets in: hosts, origins, sessions, links.

use axum::http::{Method, StatusCode, header};
use jiff::Timestamp;

use super::browser::{Console, HOST};
use crate::console::Door;

/// Everything that is not for everybody.
const PRIVATE: [&str; 8] = [
    "/",
    "/h/01KAXH2V8N4T6R0Q2M5W7Y9ZBD",
    "/history",
    "/agents",
    "/api/v1/holds",
    "/api/v1/agents",
    "/api/v1/exchanges",
    "/api/v1/events",
];

#[tokio::test]
async fn nothing_is_shown_without_a_session() {
    let mut console = Console::new(Door::Console).await;
    for cookie in [None, Some("shield=0123".to_owned()), Some("other=x".to_owned())] {
        console.cookie = cookie;
        for path in PRIVATE {
            let reply = console.get(path).await;
            if path.starts_with("/api/") {
                assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
                assert_eq!(reply.field("content-type"), "application/problem+json");
            } else {
                assert_eq!(
                    (reply.status, reply.field("location")),
                    (StatusCode::SEE_OTHER, "/login"),
                    "{path}"
                );
            }
        }
    }
    for (path, status) in
        [("/healthz", 200), ("/readyz", 200), ("/login", 200), ("/api/v1/openapi.json", 200)]
    {
        assert_eq!(console.get(path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn another_host_is_refused_on_every_address() {
    let console = Console::entered().await;
    for path in PRIVATE.into_iter().chain(["/healthz", "/login", "/assets/style.css", "/nothing"]) {
        for host in
            ["evil.example", "localhost:7444", "localhost", "0.0.0.0:7443", "", "localhost:7443.evil.example"]
        {
            let mut request = console.ask(Method::GET, path, "", "");
            request.headers_mut().insert(header::HOST, host.parse().unwrap());
            assert_eq!(console.send(request).await.status, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
    }
    for host in [HOST, "LOCALHOST:7443", "127.0.0.1:7443"] {
        let mut request = console.ask(Method::GET, "/healthz", "", "");
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        assert_eq!(console.send(request).await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn another_site_changes_nothing() {
    let (console, hold) = Console::with_hold().await;
    let digest = console.world.engine.hold(&hold.to_string()).await.unwrap().digest;
    let form = format!("csrf={}&digest={digest}&decision=approve", console.csrf());
    let foreign = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:3000"),
        ("origin", "https://localhost:7443"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for (name, value) in foreign {
        let path = format!("/h/{hold}/decision");
        let mut request = console.ask(Method::POST, &path, "application/x-www-form-urlencoded", &form);
        request.headers_mut().insert(name, value.parse().unwrap());
        let reply = console.send(request).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}: {value}");
        assert_eq!(reply.field("access-control-allow-origin"), "");
    }
    let hold = console.world.engine.hold(&hold.to_string()).await.unwrap();
    assert_eq!(hold.decision, None);
}

#[tokio::test]
async fn no_browser_may_be_told_to_call_from_elsewhere() {
    let console = Console::entered().await;
    let mut request = console.ask(Method::OPTIONS, "/api/v1/holds", "", "");
    request.headers_mut().insert(header::ORIGIN, "https://evil.example".parse().unwrap());
    let reply = console.send(request).await;
    assert!(!reply.status.is_success());
    assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control")));
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_do_with_it() {
    let console = Console::entered().await;
    for path in PRIVATE.into_iter().filter(|path| !path.ends_with("events")) {
        check_seal(&console.get(path).await, path);
    }
    for path in ["/nothing", "/assets/htmx.js", "/login", "/api/v1/nothing", "/healthz", "/api/v1/holds?x=1"]
    {
        check_seal(&console.get(path).await, path);
    }
    let mut request = console.ask(Method::GET, "/", "", "");
    request.headers_mut().insert(header::HOST, "evil.example".parse().unwrap());
    check_seal(&console.send(request).await, "another host");
}

fn check_seal(reply: &super::browser::Reply, path: &str) {
    let policy = reply.field("content-security-policy");
    for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"));
    assert_eq!(reply.field("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(reply.field("referrer-policy"), "same-origin", "browsers must say where our forms come from");
    let kept = path.starts_with("/assets/");
    assert_eq!(reply.field("cache-control") == "no-store", !kept, "{path}");
}

#[tokio::test]
async fn a_link_is_used_up_by_the_form_and_not_by_looking() {
    let mut console = Console::new(Door::Console).await;
    let (link, _) = console.app.sessions.create_link(Timestamp::now()).await.unwrap();
    for _ in 0..2 {
        let page = console.get(&format!("/login?token={}", link.reveal())).await;
        assert!(page.text.contains(link.reveal()) && page.text.contains("name=\"name\""));
    }
    let form = format!("token={}&name=Ada", link.reveal());
    let entered = console.post("/login", &form).await;
    assert_eq!((entered.status, entered.field("location")), (StatusCode::SEE_OTHER, "/"));
    let cookie = entered.field("set-cookie").to_owned();
    assert!(cookie.starts_with("shield=") && cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    console.cookie = cookie.split(';').next().map(str::to_owned);
    assert_eq!(console.get("/").await.status, StatusCode::OK);
    assert_eq!(console.post("/login", &form).await.status, StatusCode::FORBIDDEN, "it was used");
    let left = console.post("/logout", &format!("csrf={}", console.csrf())).await;
    assert!(left.field("set-cookie").contains("Max-Age=0"));
    assert_eq!(
        console.get("/").await.status,
        StatusCode::SEE_OTHER,
        "the session is over, not only its cookie"
    );
}

#[tokio::test]
async fn a_name_is_needed_and_shown_as_text() {
    let console = Console::new(Door::Console).await;
    let (link, _) = console.app.sessions.create_link(Timestamp::now()).await.unwrap();
    for name in ["", "+++", &"x".repeat(61), "%E2%80%AEadA", "a%00b"] {
        let form = format!("token={}&name={name}", link.reveal());
        assert_eq!(console.post("/login", &form).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
    }
    let page = console.get("/login?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!page.text.contains("<script>alert"));
}

#[tokio::test]
async fn guessing_links_is_slow() {
    let console = Console::new(Door::Console).await;
    let mut last = StatusCode::OK;
    for guess in 0..30 {
        last = console.post("/login", &format!("token={guess}&name=Eve")).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_link_from_a_chat_leads_in_although_the_cookie_is_strict() {
    let mut console = Console::entered().await;
    console.cookie = None;
    let mut request = console.ask(Method::GET, "/h/01ABC", "", "");
    request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    let reply = console.send(request).await;
    assert!(reply.text.contains("content=\"0;url=/h/01ABC\""), "{}", reply.text);
}
