//! The API as scripts use it, and as it is described.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Console, samples};
use crate::approval::view::HoldState;
use crate::console::router::api_routes;

fn description() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

/// The members of an object, or the properties of a schema.
fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn every_call_is_described_and_nothing_else() {
    let served: BTreeSet<String> = api_routes().into_iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(names(&description()["paths"]), served);
}

#[test]
fn what_is_served_has_the_members_that_are_described() {
    let schemas = &description()["components"]["schemas"];
    let hold = serde_json::to_value(samples::decided(HoldState::Done)).unwrap();
    let exchange = serde_json::to_value(samples::exchange_of(&samples::hold())).unwrap();
    let agent = serde_json::to_value(&samples::agents()[0]).unwrap();
    let detail = serde_json::to_value(samples::agent_detail()).unwrap();
    let finding = serde_json::to_value(samples::finding()).unwrap();
    for (schema, value) in [
        ("Hold", &hold),
        ("Action", &hold["action"]),
        ("Request", &hold["request"]),
        ("Body", &hold["request"]["body"]),
        ("Destination", &hold["destination"]),
        ("Caller", &hold["caller"]),
        ("Ancestor", &hold["caller"]["ancestry"][0]),
        ("Decision", &hold["decision"]),
        ("Result", &hold["result"]),
        ("Exchange", &exchange),
        ("Agent", &agent),
        ("AgentDetail", &detail),
        ("Attempt", &detail["refused_lately"][0]),
        ("Finding", &finding),
    ] {
        assert_eq!(names(&schemas[schema]["properties"]), names(value), "{schema}");
    }
    let states: Vec<Value> = HoldState::ALL.iter().map(|(_, name)| json!(name)).collect();
    assert_eq!(schemas["HoldState"]["enum"], json!(states));
}

#[test]
fn every_reference_leads_somewhere() {
    let description = description();
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn a_script_lists_shows_and_decides() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let listed = console.open("/api/v1/holds").await.json();
    assert_eq!(listed["items"][0]["id"], json!(hold.id));
    let beginning = &hold.id.to_string()[..20];
    let shown = console.open(&format!("/api/v1/holds/{beginning}")).await.json();
    assert_eq!(shown, serde_json::to_value(&hold).unwrap());
    let stale = json!({ "decision": "approve", "digest": crate::names::Digest::of(b"x") });
    let path = format!("/api/v1/holds/{}/decision", hold.id);
    let refused = console.call(&path, &stale).await;
    assert_eq!(
        (refused.status, refused.field("content-type")),
        (StatusCode::CONFLICT, "application/problem+json")
    );
    assert_eq!(refused.json()["current"]["state"], "pending");
    for nonsense in [json!({}), json!({ "decision": "maybe", "digest": hold.digest }), json!([])] {
        assert_eq!(
            console.call(&path, &nonsense).await.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{nonsense}"
        );
    }
    let yes = json!({ "decision": "approve", "digest": hold.digest, "reason": "fine" });
    let decided = console.call(&path, &yes).await;
    assert_eq!((decided.status, &decided.json()["decision"]["by"]), (StatusCode::OK, &json!("Ada")));
    let all = console.open("/api/v1/exchanges?verdict=hold").await.json();
    assert_eq!(all["items"][0]["hold"], json!(hold.id));
    for bad in ["holds?state=maybe", "holds?stat=all", "holds?cursor=x", "exchanges?verdict=perhaps"] {
        assert_eq!(console.open(&format!("/api/v1/{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn calls_without_a_body_are_json_too_so_no_other_site_can_make_them() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    for kind in ["", "text/plain", "application/x-www-form-urlencoded", "text/plain;application/json"] {
        for call in [&*format!("holds/{}/revoke", hold.id), "agents/bot/freeze", "agents/bot/thaw"] {
            let request = console.request("POST", &format!("/api/v1/{call}")).header("content-type", kind);
            let answer = console.send(request.body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind} {call}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_in_json() {
    let console = Console::start().await;
    for path in ["/api/v1/holds/zzz", "/api/v1/nothing", "/api/v1/holds?x=1"] {
        let answer = console.open(path).await;
        assert_eq!(answer.field("content-type"), "application/problem+json", "{path}");
        assert_eq!(answer.json()["status"], json!(answer.status.as_u16()));
    }
}

#[tokio::test]
async fn a_body_is_a_download_and_never_a_page() {
    let mut console = Console::start().await;
    let hold = console.hold("/1").await;
    let body = console.open(&format!("/api/v1/holds/{}/body", hold.id)).await;
    assert_eq!(body.body, "{\"cascade\":true}");
    assert_eq!(body.field("content-type"), "application/octet-stream");
    assert!(body.field("content-disposition").starts_with("attachment"));
}
