//! Requests to the management doors that cannot be done: each gets its door's own shape, status and
//! text, and leaves nothing behind. The snapshots are read as somebody would who is new here.

use std::fmt::Write;

use serde_json::{Value, json};
use testkit::Client;

use crate::manage::{APP, MASTER, Managed, OPEN};

/// What is asked: method, path, body.
type Case<'a> = (&'a str, &'a str, &'a str);

/// What a door has, as it is listed.
async fn state(world: &Managed) -> Value {
    let lists =
        ["/api/destinations", "/v1/webhooks", "/api/v1/observability/destinations", "/api/replays"];
    let mut all = Vec::new();
    for path in lists {
        let mut list = world.expect(200, "GET", path, None).await;
        // How a destination stands changes by itself.
        for one in list["data"].as_array_mut().into_iter().flatten() {
            one.as_object_mut().map(|one| one.remove("status"));
        }
        all.push(list);
    }
    Value::Array(all)
}

/// Asks all of them, checks that each was refused with a body and that nothing changed, and returns
/// what was said.
async fn refusals(world: &Managed, cases: &[Case<'_>]) -> String {
    let before = state(world).await;
    let mut said = String::new();
    for (method, path, body) in cases {
        let seen = world.master().request(method, path, body.as_bytes()).await;
        let shown = if body.len() > 300 { "(a long body)" } else { body };
        let text = seen.text();
        assert!((400..=500).contains(&seen.code()), "{method} {path} {shown}: {text}");
        assert_eq!(seen.header("content-type"), Some("application/json"), "{method} {path}");
        let _ = writeln!(said, "{method} {path} {shown}\n    {} {text}", seen.code());
    }
    assert_eq!(state(world).await, before, "a refusal leaves nothing behind");
    said
}

/// A destination of each door, and of the file.
async fn furnished() -> Managed {
    let world = Managed::with(|receiver| {
        format!("webhooks:\n  filed: {{url: '{}?filed'}}\n{OPEN}", receiver.url())
    })
    .await;
    world.make("audit", json!({})).await;
    world.make("off", json!({"enabled": false})).await;
    let webhook = json!({"destination": world.url("webhook"), "config": {}});
    world.expect(200, "POST", "/v1/webhooks", Some(webhook)).await;
    let url = world.url("broadcast");
    let broadcast = json!({"type": "webhook", "name": "broadcast", "config": {"url": url}});
    let path = "/api/v1/observability/destinations";
    world.expect(201, "POST", path, Some(broadcast)).await;
    world
}

#[tokio::test]
async fn our_own_door_says_what_is_wrong_with_a_destination() {
    let world = furnished().await;
    let url = "https://receiver.example/hooks";
    let with = |more: &str| format!(r#"{{"name": "a", "url": "{url}", {more}}}"#);
    let bodies: Vec<String> = [
        "",
        "{",
        "null",
        "[]",
        "\"audit\"",
        "{}",
        r#"{"name": "a"}"#,
        r#"{"url": "https://receiver.example/hooks"}"#,
        r#"{"Name": "a", "URL": "https://receiver.example/hooks"}"#,
        r#"{"name": 5, "url": ["https://receiver.example/hooks"]}"#,
        r#"{"name": "", "url": ""}"#,
        r#"{"name": "..", "url": "receiver.example"}"#,
        r#"{"name": "a\u0000", "url": "https://"}"#,
        r#"{"name": "a", "url": "ftp://receiver.example"}"#,
        r#"{"name": "a", "url": "https://receiver example/"}"#,
        r#"{"name": "a", "url": "https://receiver.example:99999/"}"#,
        r#"{"name": "a", "url": "https://10.1.2.3/"}"#,
        r#"{"name": "a", "url": "https://169.254.169.254/latest/meta-data"}"#,
        r#"{"name": "filed", "url": "https://receiver.example/hooks"}"#,
        r#"{"name": "audit", "url": "https://receiver.example/hooks"}"#,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(
        [
            r#""method": "GET""#,
            r#""headers": ["X-A: b"]"#,
            r#""headers": {"X A": "b"}"#,
            r#""headers": {"X-A": "b\r\nX-B: c"}"#,
            r#""headers": {"X-A": 1}"#,
            r#""headers": {"Host": "x", "webhook-id": "x", "X-Webhook-Signature": "x"}"#,
            r#""headers": {"X-A": "b", "x-a": "c"}"#,
            r#""secret": """#,
            r#""secret": "whsec_not base64""#,
            r#""secret": "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=""#,
            r#""secret": "***""#,
            r#""format": "xml""#,
            r#""format": "otlp", "event_types": ["budget"]"#,
            r#""event_types": []"#,
            r#""event_types": "completion""#,
            r#""event_types": ["completions"]"#,
            r#""format": "helicone", "log_format": "ndjson""#,
            r#""sample_rate": 50"#,
            r#""sample_rate": "half""#,
            r#""batch_size": 10"#,
            r#""format": "generic_api", "batch_size": 0, "flush_interval": -1"#,
            r#""timeout_ms": 0, "rate_limit": 0.5"#,
            r#""enabled": "yes", "privacy": 1"#,
            r#""filters": {"completion": {"min_token": 5}, "error": {"min_tokens": 5}}"#,
            r#""rules": {"groups": [{"rules": [{"field": "model", "operator": "regex", "value": "("}]}]}"#,
            r#""rules": [], "filters": {"completion": []}"#,
            r#""sample_rate": 2, "headers": {"X-A": 1, "Host": "x"}, "event_types": ["error", 5]"#,
            r#""status": {"state": "active"}, "id": "x""#,
        ]
        .map(with),
    )
    .collect();
    let cases: Vec<Case<'_>> =
        bodies.iter().map(|body| ("POST", "/api/destinations", body.as_str())).collect();
    insta::assert_snapshot!(refusals(&world, &cases).await);
}

#[tokio::test]
async fn our_own_door_says_what_cannot_be_done_with_a_destination() {
    let world = furnished().await;
    let large = " ".repeat(300 << 10);
    let cases: [Case<'_>; 37] = [
        ("GET", "/api/destination", ""),
        ("GET", "/api/destinations/", ""),
        ("GET", "/api/destinations/nobody", ""),
        ("GET", "/api/destinations/audit/tests", ""),
        ("PUT", "/api/destinations", "{}"),
        ("PUT", "/api/destinations/audit", "{}"),
        ("POST", "/api/destinations/audit", "{}"),
        ("GET", "/api/destinations/audit/test", ""),
        ("POST", "/api/destinations/audit/preview", ""),
        ("POST", "/openapi.json", ""),
        ("POST", "/api/destinations", &large),
        ("PATCH", "/api/destinations/nobody", "{}"),
        ("PATCH", "/api/destinations/filed", r#"{"sample_rate": 0.5}"#),
        ("PATCH", "/api/destinations/audit", ""),
        ("PATCH", "/api/destinations/audit", "[]"),
        ("PATCH", "/api/destinations/audit", r#"{"name": "b"}"#),
        ("PATCH", "/api/destinations/audit", r#"{"url": null, "sample_rate": 2}"#),
        ("PATCH", "/api/destinations/audit", r#"{"secret": null}"#),
        ("PATCH", "/api/destinations/audit", r#"{"format": "otlp", "log_format": "ndjson"}"#),
        ("PATCH", "/api/destinations/audit", r#"{"created_at": null, "sampel_rate": 1}"#),
        (
            "PATCH",
            "/api/destinations/audit",
            r#"{"filters": {"completion": {"min_token": 1}, "error": {"min_tokens": 1}}}"#,
        ),
        ("DELETE", "/api/destinations/nobody", ""),
        ("DELETE", "/api/destinations/filed", ""),
        ("POST", "/api/destinations/nobody/test", ""),
        ("GET", "/api/destinations/nobody/preview", ""),
        ("POST", "/api/destinations/nobody/pause", ""),
        ("POST", "/api/destinations/off/pause", ""),
        ("POST", "/api/destinations/off/resume", ""),
        ("POST", "/api/destinations/audit/pause", "why"),
        ("POST", "/api/destinations/audit/pause", r#"{"reasons": "x"}"#),
        ("POST", "/api/destinations/audit/pause", r#"{"reason": ["x"]}"#),
        ("POST", "/api/destinations/filed/rotate-secret", ""),
        ("POST", "/api/destinations/nobody/rotate-secret", ""),
        ("POST", "/api/destinations/audit/rotate-secret", r#"{"overlap": 5}"#),
        ("POST", "/api/destinations/audit/rotate-secret", r#"{"overlap_seconds": 1e10}"#),
        ("POST", "/api/destinations/audit/rotate-secret", r#"{"overlap_seconds": 2592001}"#),
        ("POST", "/api/destinations/audit/rotate-secret", r#"{"secret": "whsk_short"}"#),
    ];
    insta::assert_snapshot!(refusals(&world, &cases).await);
}

#[tokio::test]
async fn helicone_s_door_says_what_helicone_says() {
    let world = furnished().await;
    let with = |more: &str| format!(r#"{{"destination": "https://a.example", {more}}}"#);
    let bodies: Vec<String> =
        ["", "{", "null", "[]", "\"x\"", "{}", r#"{"destination": 5, "config": []}"#]
            .map(str::to_owned)
            .into_iter()
            .chain(
                [
                    r#""config": null"#,
                    r#""config": "{}""#,
                    r#""config": {}, "includeData": "yes""#,
                    r#""config": {}, "hmac_key": "mine", "name": "x""#,
                    r#""config": {"sampleRate": "50"}"#,
                    r#""config": {"sampleRate": -1}"#,
                    r#""config": {"sampleRate": 100.5, "propertyFilters": 5}"#,
                    r#""config": {"propertyFilters": "x"}"#,
                    r#""config": {"propertyFilters": {"key": "a", "value": "b"}}"#,
                    r#""config": {"propertyFilters": ["a"]}"#,
                    r#""config": {"propertyFilters": [null]}"#,
                    r#""config": {"propertyFilters": [{"key": "a"}]}"#,
                    r#""config": {"propertyFilters": [{"key": "a", "value": 1}]}"#,
                ]
                .map(with),
            )
            .collect();
    let mut cases: Vec<Case<'_>> =
        bodies.iter().map(|body| ("POST", "/v1/webhooks", body.as_str())).collect();
    let large = " ".repeat(300 << 10);
    cases.extend([
        ("POST", "/v1/webhooks", large.as_str()),
        ("GET", "/v1/webhooks/1", ""),
        ("PUT", "/v1/webhooks/1", "{}"),
        ("PATCH", "/v1/webhooks", "{}"),
        ("DELETE", "/v1/webhooks", ""),
        ("DELETE", "/v1/webhooks/x", ""),
        ("DELETE", "/v1/webhooks/99999999999999999999", ""),
        ("POST", "/v1/webhooks/1/test", ""),
        ("POST", "/v1/webhooks/x/test", ""),
        ("GET", "/v1/webhooks/1/test", ""),
        ("POST", "/v1/webhooks/1/score", "{}"),
    ]);
    insta::assert_snapshot!(refusals(&world, &cases).await);
}

#[tokio::test]
async fn openrouter_s_door_says_what_openrouter_says() {
    let world = furnished().await;
    let root = "/api/v1/observability/destinations";
    let one = format!("{root}/9f0e7a52-55c1-4ad4-9d2b-6d7c0e0f8a11");
    let with = |more: &str| {
        format!(
            r#"{{"type": "webhook", "name": "a", "config": {{"url": "https://a.example"}}, {more}}}"#
        )
    };
    let bodies: Vec<String> = [
        "",
        "{",
        "[]",
        "{}",
        r#"{"type": "webhook"}"#,
        r#"{"type": "langfuse", "name": "a", "config": {}}"#,
        r#"{"type": "webhook", "name": "a", "config": {}}"#,
        r#"{"type": "webhook", "name": "a", "config": []}"#,
        r#"{"type": "webhook", "name": "a", "config": {"url": "a.example"}}"#,
        r#"{"type": "webhook", "name": "a", "config": {"url": "https://10.0.0.1/"}}"#,
        r#"{"type": "webhook", "name": 5, "config": {"url": "https://a.example"}}"#,
        r#"{"type": "otel-collector", "name": "a", "config": {}}"#,
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(
        [
            r#""sampling_rate": 5"#,
            r#""sampling_rate": "all""#,
            r#""privacy_mode": "yes""#,
            r#""enabled": 1"#,
            r#""filter_rules": []"#,
            r#""filter_rules": {"groups": [{"rules": [{"field": "x", "operator": "is"}]}]}"#,
            r#""api_key_hashes": "x""#,
        ]
        .map(with),
    )
    .collect();
    let mut cases: Vec<Case<'_>> =
        bodies.iter().map(|body| ("POST", root, body.as_str())).collect();
    let page = format!("{root}?limit=0&offset=x");
    cases.extend([
        ("PUT", root, "{}"),
        ("POST", one.as_str(), "{}"),
        ("GET", one.as_str(), ""),
        ("GET", page.as_str(), ""),
        ("PATCH", one.as_str(), r#"{"name": "b"}"#),
        ("DELETE", one.as_str(), ""),
        ("GET", "/api/v1/observability/destination", ""),
    ]);
    insta::assert_snapshot!(refusals(&world, &cases).await);
}

#[tokio::test]
async fn who_may_not_manage_is_told_so_before_anything_is_read() {
    let world = furnished().await;
    let before = state(&world).await;
    let body = json!({"name": "a", "url": "https://receiver.example/"}).to_string();
    let bodies = [body.as_str(), "{", ""];
    let paths = [
        ("POST", "/api/destinations"),
        ("DELETE", "/api/destinations/audit"),
        ("GET", "/api/nothing"),
        ("POST", "/v1/webhooks"),
        ("DELETE", "/v1/webhooks/1"),
        ("POST", "/api/v1/observability/destinations"),
    ];
    let shown = |name: &str, value: &str| world.gateway.client().with_header(name, value);
    let bearer = |key: &str| shown("authorization", &format!("Bearer {key}"));
    let strangers: [(&str, Client, bool); 7] = [
        ("nobody", world.gateway.client(), false),
        ("an empty key", bearer(""), false),
        ("another's key", bearer("sk-of-another"), false),
        ("the key and more", bearer(&format!("{MASTER}x")), false),
        ("a cookie", shown("cookie", &format!("key={MASTER}")), false),
        ("a query", shown("x-none", MASTER), false),
        ("a key for calls", bearer(APP.1), true),
    ];
    for (who, client, is_caller) in strangers {
        for (method, path) in paths {
            for body in bodies {
                let seen = client.request(method, path, body.as_bytes()).await;
                let status = if is_caller && !path.starts_with("/v1/") { 403 } else { 401 };
                assert_eq!(seen.code(), status, "{who}: {method} {path}: {}", seen.text());
                assert!(!seen.text().contains(MASTER), "{}", seen.text());
                assert!(seen.json()["error"] != Value::Null, "{}", seen.text());
            }
        }
    }
    assert_eq!(state(&world).await, before);
}
