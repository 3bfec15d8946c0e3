//! `/api/v1`, and the description of it.

use std::collections::BTreeSet;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::browser::{Console, HOST};
use super::samples;
use crate::approval::view::HoldState;
use crate::console::Door;
use crate::console::router::api_routes;
use crate::names::Digest;

fn description() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

fn keys(of: &Value) -> BTreeSet<&str> {
    of.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn holds_are_listed_shown_and_decided() {
    let (console, id) = Console::with_hold().await;
    let page = console.get("/api/v1/holds").await.json();
    assert_eq!(page["items"][0]["id"], json!(id));
    assert_eq!(page["next"], Value::Null);
    let hold = console.get(&format!("/api/v1/holds/{id}")).await.json();
    assert_eq!((&hold["state"], &hold["agent"]), (&json!("pending"), &json!("bot")));
    let body = console.get(&format!("/api/v1/holds/{id}/body")).await;
    assert_eq!(
        (body.text.as_str(), body.field("content-type")),
        ("{\"cascade\":true}", "application/octet-stream")
    );
    assert!(body.field("content-disposition").starts_with("attachment"));
    let path = format!("/api/v1/holds/{id}/decision");
    let stale = console.call(&path, &json!({"decision": "approve", "digest": Digest::of(b"x")})).await;
    assert_eq!((stale.status, &stale.json()["current"]["id"]), (StatusCode::CONFLICT, &json!(id)));
    let decision = json!({"decision": "deny", "digest": hold["digest"], "reason": "no"});
    let decided = console.call(&path, &decision).await.json();
    assert_eq!((&decided["state"], &decided["decision"]["by"]), (&json!("denied"), &json!("Ada")));
    assert_eq!(console.get("/api/v1/holds?state=denied").await.json()["items"][0]["id"], json!(id));
}

#[tokio::test]
async fn calls_that_change_something_are_json_so_no_other_site_can_make_them() {
    let (console, id) = Console::with_hold().await;
    let digest = console.world.engine.hold(&id.to_string()).await.unwrap().digest;
    let body = json!({"decision": "approve", "digest": digest}).to_string();
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "text/plain;application/json"] {
        for path in [
            format!("/api/v1/holds/{id}/decision"),
            format!("/api/v1/holds/{id}/revoke"),
            "/api/v1/agents/bot/freeze".into(),
        ] {
            let reply = console.send(console.ask(Method::POST, &path, kind, &body)).await;
            assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind} {path}");
        }
    }
    assert_eq!(console.world.engine.hold(&id.to_string()).await.unwrap().state, HoldState::Pending);
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_problem_in_json() {
    let (console, id) = Console::with_hold().await;
    for path in [
        "/api/v1/holds?state=sleeping",
        "/api/v1/holds?unknown=1",
        "/api/v1/holds?cursor=x",
        "/api/v1/exchanges?verdict=maybe",
        "/api/v1/holds/zzz",
        "/api/v1/nothing",
    ] {
        let reply = console.get(path).await;
        assert!(reply.status.is_client_error(), "{path}");
        assert_eq!(reply.field("content-type"), "application/problem+json", "{path}");
        assert_eq!(reply.json()["status"], json!(reply.status.as_u16()));
    }
    let path = format!("/api/v1/holds/{id}/decision");
    for body in [
        json!({}),
        json!({"decision": "maybe", "digest": Digest::of(b"x")}),
        json!({"decision": "deny", "digest": "x"}),
    ] {
        let reply = console.call(&path, &body).await;
        assert_eq!(
            (reply.status.is_client_error(), reply.field("content-type")),
            (true, "application/problem+json")
        );
    }
    assert_eq!(
        console.send(console.ask(Method::DELETE, "/api/v1/holds", "", "")).await.field("content-type"),
        "application/problem+json"
    );
}

#[tokio::test]
async fn root_needs_no_session_on_the_control_socket_and_makes_links_there() {
    let console = Console::new(Door::Control).await;
    assert_eq!(console.get("/api/v1/holds").await.status, StatusCode::OK);
    let made = console.send(console.ask(Method::POST, "/api/v1/login-links", "", "")).await;
    let link = made.json();
    assert!(link["url"].as_str().unwrap().starts_with(&format!("http://{HOST}/login?token=")));
    assert_eq!(console.get("/history").await.status, StatusCode::NOT_FOUND, "pages are for browsers");
    let outside = Console::entered().await;
    assert_eq!(outside.call("/api/v1/login-links", &json!({})).await.status, StatusCode::NOT_FOUND);
}

#[test]
fn the_description_has_every_address_and_no_other() {
    let description = description();
    let mut served: BTreeSet<String> = api_routes().iter().map(|(path, _)| (*path).to_owned()).collect();
    // For root on the local socket only.
    served.insert("/login-links".into());
    let described: BTreeSet<String> = keys(&description["paths"]).into_iter().map(str::to_owned).collect();
    assert_eq!(described, served);
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in
            operations.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
        {
            let says = operation["summary"].is_string() && operation["operationId"].is_string();
            assert!(says && operation["responses"].get("default").is_some(), "{method} {path}");
        }
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let description = description();
    let text = description.to_string();
    for (at, _) in text.match_indices("\"$ref\":\"#") {
        let pointer = text[at + 9..].split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn schemas_have_the_fields_that_are_served() {
    let description = description();
    let hold = json!(samples::decided(HoldState::Done));
    for (schema, served) in [
        ("Hold", &hold),
        ("Action", &hold["action"]),
        ("Request", &hold["request"]),
        ("Body", &hold["request"]["body"]),
        ("Destination", &hold["destination"]),
        ("Caller", &hold["caller"]),
        ("Decision", &hold["decision"]),
        ("Result", &hold["result"]),
        ("Agent", &json!(samples::agents()[0])),
        ("Exchange", &json!(samples::exchange_of(&samples::hold()))),
    ] {
        let described = &description["components"]["schemas"][schema];
        assert_eq!(keys(&described["properties"]), keys(served), "{schema}");
        let required: BTreeSet<&str> =
            described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(required, keys(served), "{schema}: every field is always there");
    }
    let states = &description["components"]["schemas"]["State"]["enum"];
    assert_eq!(states, &json!(HoldState::ALL.map(|(_, name)| name)));
}
