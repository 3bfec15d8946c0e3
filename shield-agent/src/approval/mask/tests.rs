//! What is masked, and what is left readable.

use super::*;
use crate::flow::http::canonical::{Header, Scheme};

#[test]
fn a_field_keeps_its_scheme_word_and_nothing_of_the_credential() {
    let cases = [
        ("authorization", "Bearer hunter2canary", "Bearer ••••"),
        ("authorization", "hunter2canary", "••••"),
        ("authorization", "Odd hunter2canary", "••••"),
        ("proxy-authorization", "Basic aHVudGVyMg==", "Basic ••••"),
        ("cookie", "sid=hunter2; theme=dark", "sid=••••; theme=••••"),
        ("x-api-key", "hunter2", "••••"),
        ("referer", "https://a/b?token=hunter2&x=1", "https://a/b?token=••••&x=1"),
        ("content-type", "application/json", "application/json"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(header(name, value.as_bytes()), expected, "{name}: {value}");
    }
}

#[test]
fn a_url_keeps_everything_but_its_secrets() {
    let cases = [
        ("https://a/b?x=1&api_key=k&y=%20", "https://a/b?x=1&api_key=••••&y=%20"),
        ("https://a/b?%74oken=k", "https://a/b?%74oken=••••"),
        ("https://a/cb#access_token=k&x=1", "https://a/cb#access_token=••••&x=1"),
        ("postgres://u:hunter2@db/x", "postgres://u:••••@db/x"),
        (
            "https://api.telegram.org/bot123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/x",
            "https://api.telegram.org/••••/x",
        ),
        ("https://a/v1/customers/8821?force=1", "https://a/v1/customers/8821?force=1"),
    ];
    for (given, expected) in cases {
        assert_eq!(url(given), expected);
    }
}

#[test]
fn json_is_masked_in_place_and_otherwise_untouched() {
    let cases = [
        (r#"{"a":1, "a":1000}"#, r#"{"a":1, "a":1000}"#),
        (r#"{"password" : "x\"y", "n": 1e999}"#, r#"{"password" : "••••", "n": 1e999}"#),
        (r#"{"pass\u0077ord":"x"}"#, r#"{"pass\u0077ord":"••••"}"#),
        (
            r#"{"credentials":{"user":"u","pin":1234,"on":true}}"#,
            r#"{"credentials":{"user":"••••","pin":••••,"on":true}}"#,
        ),
        (r#"[{"token":"a"},{"id":"b"}]"#, r#"[{"token":"••••"},{"id":"b"}]"#),
        (r#"{"token":"breaks o"#, r#"{"token":"••••"#),
        (r#"{"data":{"k":"dg=="},"kind": "Secret"}"#, r#"{"data":{"k":"••••"},"kind": "Secret"}"#),
        (r#"{"data":{"k":"dg=="},"kind": "ConfigMap"}"#, r#"{"data":{"k":"dg=="},"kind": "ConfigMap"}"#),
        (
            r#"{"max_tokens":100,"note":"password=hunter2 ok"}"#,
            r#"{"max_tokens":100,"note":"password=•••• ok"}"#,
        ),
        (r#"}}{"token":1]"#, r#"}}{"token":••••]"#),
    ];
    for (given, expected) in cases {
        assert_eq!(body("application/json", given), expected, "{given}");
    }
}

#[test]
fn other_bodies_are_masked_by_name_and_shape() {
    let form_type = "application/x-www-form-urlencoded";
    assert_eq!(body(form_type, "grant_type=x&client_secret=s&a=b"), "grant_type=x&client_secret=••••&a=b");
    let sql = "CREATE USER u IDENTIFIED BY 'hunter2'; DROP TABLE t";
    assert_eq!(body("text/plain", sql), "CREATE USER u IDENTIFIED BY ••••; DROP TABLE t");
    let part = "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nhunter2\r\n--b--";
    assert!(!body("multipart/form-data; boundary=b", part).contains("hunter2"));
    let key = "a -----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY----- b";
    assert_eq!(text(key), "a -----BEGIN RSA PRIVATE KEY-----••••-----END RSA PRIVATE KEY----- b");
    assert_eq!(
        text("uses basic authentication, see token documentation"),
        "uses basic authentication, see token documentation"
    );
}

#[test]
fn arguments_lose_what_follows_a_secret_option() {
    let given = [
        "curl",
        "-u",
        "me:hunter2",
        "-H",
        "Authorization: Bearer hunter2",
        "--password=hunter2",
        "--token",
        "hunter2",
        "-X",
        "DELETE",
    ];
    let masked = arguments(&given.map(str::to_owned));
    assert!(!masked.join(" ").contains("hunter2"), "{masked:?}");
    assert_eq!(masked[8..], ["-X", "DELETE"]);
}

#[test]
fn a_secret_is_found_where_it_is_repeated() {
    let head = RequestHead {
        scheme: Scheme::Https,
        host: "a".into(),
        port: 443,
        method: "DELETE".into(),
        target: "/?token=canary-query".into(),
        headers: vec![
            Header { name: "authorization".into(), value: b"Bearer canary-bearer".into() },
            Header { name: "cookie".into(), value: b"x=canary-cookie".into() },
        ],
    };
    let scrubbed = Secrets::of(&head).scrub("canary-query canary-bearer canary-cookie canary");
    assert_eq!(scrubbed, "•••• •••• •••• canary");
}
