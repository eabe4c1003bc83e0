//! Our own door: destinations made, changed, tested, paused, rotated and removed.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use testkit::Reply;

use crate::manage::{Managed, OPEN, is_for, is_signed_with, nobody};

#[tokio::test]
async fn a_destination_gets_what_happens_from_its_creation_on_signed_with_the_secret_shown_once() {
    let world = Managed::new().await;
    world.call("echo").await;
    let header = "a token that nobody may read again";
    let made = world.make("audit", json!({"headers": {"X-Token": header}})).await;
    let secret = made["secret"].as_str().expect("shown at creation").to_owned();
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!((&made["source"], &made["status"]["state"]), (&json!("api"), &json!("active")));
    assert_eq!(made["status"]["lag"], 0, "what was before is not owed to it: {made}");

    let call = world.call("echo").await;
    let arrival = world.told("audit", &call).await;
    assert!(is_signed_with(&arrival, &secret));
    assert_eq!(arrival.header("x-token"), Some(header));
    let earlier: Vec<_> = world.receiver.items();
    assert_eq!(earlier.len(), 1, "what was before is not its: {earlier:#?}");

    let path = "/api/destinations/audit";
    let list = world.expect(200, "GET", "/api/destinations", None).await;
    let read = world.expect(200, "GET", path, None).await;
    assert_eq!(list["data"][0]["name"], read["name"]);
    let preview = world.expect(200, "GET", &format!("{path}/preview"), None).await;
    for shown in [list, read, preview] {
        let shown = shown.to_string();
        assert!(!shown.contains(&secret) && !shown.contains(header), "{shown}");
    }
    let log = world.gateway.log().join("\n");
    assert!(!log.contains(&secret) && !log.contains(header), "{log}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once_and_nothing_is_made() {
    let world = Managed::new().await;
    let spec = json!({
        "name": "", "url": "ftp://receiver.example", "method": "GET", "sample_rates": 1,
        "sample_rate": 2, "batch_size": 3, "format": "helicone", "profile": "genai",
        "event_types": ["streaming"], "headers": {"Host": "x", "X-A": "a\nb"},
        "secret": "whsec_no base64",
        "filters": {"error": {"min_tokens": 5}},
        "rules": {"groups": [{"rules": [
            {"field": "model", "operator": "regex", "value": "("}, {"operator": "exists"},
        ]}]},
    });
    let answer = world.expect(422, "POST", "/api/destinations", Some(spec)).await;
    assert_eq!(answer["error"]["type"], "invalid");
    let problems = answer["error"]["problems"].as_array().cloned().unwrap_or_default();
    let lines: Vec<_> = problems
        .iter()
        .map(|p| format!("{}: {}", p["field"], p["message"]).replace('"', ""))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
    let list = world.expect(200, "GET", "/api/destinations", None).await;
    assert_eq!(list, json!({"data": []}));
    for (body, status) in [("{", 400), ("[]", 422), ("", 400)] {
        let seen = world.master().request("POST", "/api/destinations", body.as_bytes()).await;
        assert_eq!(seen.code(), status, "{}", seen.text());
    }
    let large = vec![b' '; 300 << 10];
    let seen = world.master().request("POST", "/api/destinations", &large).await;
    assert_eq!((seen.code(), &seen.json()["error"]["type"]), (413, &json!("too_large")));
}

#[tokio::test]
async fn destinations_survive_a_kill_and_their_secrets_are_sealed_on_the_disk() {
    let world = Managed::new().await;
    let made = world.make("audit", json!({"headers": {"X-Token": "canary-of-a-header"}})).await;
    let secret = made["secret"].as_str().expect("shown at creation").to_owned();
    let Managed { receiver, gateway } = world;
    let world = Managed { receiver, gateway: gateway.kill_and_restart().await };
    let call = world.call("echo").await;
    let arrival = world.told("audit", &call).await;
    assert!(is_signed_with(&arrival, &secret));
    assert_eq!(arrival.header("x-token"), Some("canary-of-a-header"));
    let key = secret.trim_start_matches("whsec_");
    for canary in [key, "canary-of-a-header"] {
        assert_nowhere(&world.gateway.setup.data_dir(), canary);
    }
}

/// No file in a directory holds this text.
fn assert_nowhere(directory: &Path, text: &str) {
    for entry in std::fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("it is there").path();
        if path.is_dir() {
            assert_nowhere(&path, text);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        let is_there = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!is_there, "{} holds {text}", path.display());
    }
}

#[tokio::test]
async fn a_change_holds_at_once_and_masked_secrets_change_nothing() {
    let world = Managed::new().await;
    let token = "the receiver's own long token";
    let made =
        world.make("audit", json!({"headers": {"X-Token": token}, "event_types": ["error"]})).await;
    let secret = made["secret"].as_str().expect("shown at creation").to_owned();
    let path = "/api/destinations/audit";
    let read = world.expect(200, "GET", path, None).await;
    let masked = json!({"secret": read["secret"], "headers": read["headers"],
                        "event_types": ["completion"]});
    let changed = world.expect(200, "PATCH", path, Some(masked)).await;
    assert_eq!(changed["event_types"], json!(["completion"]));
    let call = world.call("echo").await;
    let arrival = world.told("audit", &call).await;
    assert_eq!(arrival.header("x-token"), Some(token));
    assert!(is_signed_with(&arrival, &secret));

    let back = world.expect(200, "PATCH", path, Some(json!({"event_types": null}))).await;
    assert_eq!(back["event_types"], json!(["completion", "error", "budget", "rate_limit"]));
    for (change, field) in [
        (json!({"name": "another"}), "name"),
        (json!({"secret": null}), "secret"),
        (json!({"url": null}), "url"),
        (json!({"format": "otlp", "log_format": "ndjson"}), "log_format"),
        (json!({"status": {}}), "status"),
    ] {
        let answer = world.expect(422, "PATCH", path, Some(change)).await;
        assert_eq!(answer["error"]["problems"][0]["field"], field, "{answer}");
    }
    assert_eq!(world.expect(200, "GET", path, None).await["url"], read["url"]);
}

#[tokio::test]
async fn what_is_read_may_be_written_back_and_changes_nothing() {
    let world = Managed::new().await;
    let told = ["id", "source", "status", "created_at", "updated_at"];
    let rules = json!({"groups": [{"logic": "or", "rules": [
        {"field": "total_tokens", "operator": "gte", "value": 1000},
        {"field": "model", "operator": "exists"},
    ]}]});
    let filters = json!({"completion": {"models": ["gpt-*"], "properties": {"Env": "prod"}}});
    for (number, more) in [
        json!({}),
        json!({"headers": {"X-Token": "one of the receiver's own", "X-Short": "x"}}),
        json!({"format": "generic_api", "log_format": "ndjson", "flush_interval": 0.5}),
        json!({"format": "otlp", "profile": "genai", "method": "PUT", "compression": "gzip"}),
        json!({"format": "helicone", "bodies": "string", "compat": "document"}),
        json!({"format": "cloudevents", "mode": "batch", "event_types": ["streaming"]}),
        json!({"rules": rules, "filters": filters, "sample_rate": 0.3, "enabled": false}),
    ]
    .into_iter()
    .enumerate()
    {
        world.make(&number.to_string(), more.clone()).await;
        let path = format!("/api/destinations/{number}");
        let settings = async || {
            let mut read = world.expect(200, "GET", &path, None).await;
            let fields = read.as_object_mut().expect("a destination is an object");
            fields.retain(|key, _| !told.contains(&key.as_str()));
            read
        };
        let before = settings().await;
        world.expect(200, "PATCH", &path, Some(before.clone())).await;
        assert_eq!(settings().await, before, "{more}");
    }
    // A header's value is not what its mask says.
    world.expect(200, "POST", "/api/destinations/1/test", None).await;
    let sent = world.receiver.arrivals();
    assert_eq!(sent[0].header("x-token"), Some("one of the receiver's own"));
    assert_eq!(sent[0].header("x-short"), Some("x"));
}

#[tokio::test]
async fn what_the_file_says_is_read_only_but_may_be_paused_tested_and_previewed() {
    let world = Managed::with(|receiver| {
        format!("webhooks:\n  filed: {{url: '{}?filed'}}\n{OPEN}", receiver.url())
    })
    .await;
    let path = "/api/destinations/filed";
    let read = world.expect(200, "GET", path, None).await;
    assert_eq!((&read["source"], &read["id"]), (&json!("file"), &Value::Null));
    for (method, path, body) in [
        ("PATCH", path.to_owned(), Some(json!({"sample_rate": 0.5}))),
        ("DELETE", path.to_owned(), None),
        ("POST", format!("{path}/rotate-secret"), None),
    ] {
        let answer = world.expect(403, method, &path, body).await;
        assert_eq!(answer["error"]["type"], "read_only", "{answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("`filed`") && message.contains("configuration file"), "{answer}");
    }
    let taken = json!({"name": "filed", "url": world.url("x")});
    let answer = world.expect(409, "POST", "/api/destinations", Some(taken)).await;
    assert_eq!(answer["error"]["type"], "conflict");

    let tested = world.expect(200, "POST", &format!("{path}/test"), None).await;
    assert_eq!((&tested["passed"], &tested["status"]), (&json!(true), &json!(200)), "{tested}");
    let paused = world.expect(200, "POST", &format!("{path}/pause"), None).await;
    assert_eq!(paused["status"]["state"], "paused");
    let resumed = world.expect(200, "POST", &format!("{path}/resume"), None).await;
    assert_eq!(resumed["status"]["state"], "active");
}

#[tokio::test]
async fn a_pause_keeps_what_is_missed_over_a_restart_and_one_not_enabled_misses_it() {
    let world = Managed::new().await;
    world.make("paused", json!({})).await;
    world.make("off", json!({})).await;
    let why = json!({"reason": "the receiver moves house"});
    let paused = world.expect(200, "POST", "/api/destinations/paused/pause", Some(why)).await;
    assert_eq!(paused["status"]["reason"], "the receiver moves house");
    let off = json!({"enabled": false});
    let off = world.expect(200, "PATCH", "/api/destinations/off", Some(off)).await;
    assert_eq!(off["status"]["state"], "disabled");
    world.expect(409, "POST", "/api/destinations/off/resume", None).await;

    let missed = world.call("echo").await;
    let Managed { receiver, gateway } = world;
    let world = Managed { receiver, gateway: gateway.kill_and_restart().await };
    let read = world.expect(200, "GET", "/api/destinations/paused", None).await;
    assert_eq!(read["status"]["reason"], "the receiver moves house");
    assert!(!world.was_told("paused", &missed) && !world.was_told("off", &missed));

    world.expect(200, "POST", "/api/destinations/paused/resume", None).await;
    let on = json!({"enabled": true});
    world.expect(200, "PATCH", "/api/destinations/off", Some(on)).await;
    world.told("paused", &missed).await;
    let now = world.call("echo").await;
    world.told("paused", &now).await;
    world.told("off", &now).await;
    assert!(!world.was_told("off", &missed));
}

#[tokio::test]
async fn both_secrets_sign_while_they_overlap_and_then_the_new_one_alone() {
    let world = Managed::new().await;
    let made = world.make("audit", json!({})).await;
    let old = made["secret"].as_str().expect("shown at creation").to_owned();
    let path = "/api/destinations/audit/rotate-secret";
    let rotated = world.expect(200, "POST", path, Some(json!({"overlap_seconds": 2}))).await;
    let new = rotated["secret"].as_str().expect("shown once").to_owned();
    assert!(new != old && rotated["previous_secret_until"].is_string(), "{rotated}");
    let call = world.call("echo").await;
    let both = world.told("audit", &call).await;
    assert!(is_signed_with(&both, &new) && is_signed_with(&both, &old));

    let read = "/api/destinations/audit";
    while !world.expect(200, "GET", read, None).await["previous_secret_until"].is_null() {
        tokio::task::yield_now().await;
    }
    let call = world.call("echo").await;
    let after = world.told("audit", &call).await;
    assert!(is_signed_with(&after, &new) && !is_signed_with(&after, &old));
    let answer = world.expect(422, "POST", path, Some(json!({"secret": "whsec_?"}))).await;
    assert_eq!(answer["error"]["problems"][0]["field"], "secret", "{answer}");
}

#[tokio::test]
async fn a_test_sends_each_format_s_own_body_and_says_what_came_of_it() {
    let world = Managed::new().await;
    for (format, field) in [
        ("event", "/event"),
        ("generic_api", "/0/id"),
        ("otlp", "/resourceSpans"),
        ("helicone", "/request_body"),
        ("cloudevents", "/specversion"),
        ("litellm_alert", "/event"),
    ] {
        world.make(format, json!({"format": format})).await;
        let path = format!("/api/destinations/{format}/test");
        let tested = world.expect(200, "POST", &path, None).await;
        assert_eq!(tested["passed"], true, "{format}: {tested}");
        let arrivals = world.receiver.arrivals();
        let sent: Vec<_> = arrivals.iter().filter(|a| is_for(a, format)).collect();
        let [sent] = sent[..] else { panic!("{format} sends one test: {sent:#?}") };
        assert_eq!(sent.header("x-test-connection"), Some("true"), "{format}");
        assert!(sent.header("webhook-signature").is_some(), "{format}");
        assert!(sent.json().pointer(field).is_some(), "{format}: {}", sent.json());
    }
    world.receiver.set_default(Reply::status(503).body("closed for today"));
    let failed = world.expect(200, "POST", "/api/destinations/event/test", None).await;
    let expected = (&json!(false), &json!(503), &json!("closed for today"));
    assert_eq!((&failed["passed"], &failed["status"], &failed["answer_start"]), expected);
    let nobody = json!({"name": "nobody", "url": nobody()});
    world.expect(201, "POST", "/api/destinations", Some(nobody)).await;
    let failed = world.expect(200, "POST", "/api/destinations/nobody/test", None).await;
    assert!(failed["passed"] == false && failed["error"].is_string(), "{failed}");
    let list = world.expect(200, "GET", "/api/events", None).await;
    assert_eq!(list["data"], json!([]), "tests are no events");
}

#[tokio::test]
async fn a_preview_is_what_is_sent() {
    let world = Managed::new().await;
    world.make("audit", json!({"event_types": ["completion"]})).await;
    let path = "/api/destinations/audit/preview";
    assert_eq!(world.expect(200, "GET", path, None).await, json!({"preview": null}));
    let call = world.call("echo").await;
    let sent = world.told("audit", &call).await;
    let preview = world.expect(200, "GET", path, None).await;
    let body = preview["preview"]["body"].as_str().unwrap_or_default();
    assert_eq!(body.as_bytes(), sent.body, "{preview}");
    let headers = preview["preview"]["headers"].as_array().cloned().unwrap_or_default();
    let names: BTreeSet<_> = headers.iter().filter_map(|h| h["name"].as_str()).collect();
    assert!(names.contains("webhook-signature") && names.contains("webhook-id"), "{names:?}");
}

#[tokio::test]
async fn a_preview_of_any_format_is_signed_over_the_body_that_it_shows() {
    let world = Managed::new().await;
    let formats = [
        json!({"format": "event"}),
        json!({"format": "generic_api"}),
        json!({"format": "generic_api", "log_format": "ndjson"}),
        json!({"format": "otlp"}),
        json!({"format": "otlp", "profile": "genai", "method": "PUT"}),
        json!({"format": "helicone"}),
        json!({"format": "helicone", "compat": "document"}),
        json!({"format": "cloudevents"}),
        json!({"format": "cloudevents", "mode": "batch"}),
    ];
    let formats: Vec<_> = ["none", "gzip"]
        .into_iter()
        .flat_map(|packed| formats.iter().map(move |format| (packed, format.clone())))
        .collect();
    // What was told to one of what happened is past for those that are made then.
    world.make("first", json!({"format": "event"})).await;
    world.call("echo").await;
    world.receiver.wait_for(1).await;
    for (number, (packed, mut format)) in formats.into_iter().enumerate() {
        format["compression"] = json!(packed);
        let made = world.make(&number.to_string(), format.clone()).await;
        let secret = made["secret"].as_str().expect("shown at creation");
        let path = format!("/api/destinations/{number}/preview");
        let preview = world.expect(200, "GET", &path, None).await["preview"].clone();
        let headers = preview["headers"].as_array().cloned().unwrap_or_default();
        let header = |name: &str| {
            let mut headers = headers.iter();
            let found = headers.find(|header| header["name"] == name)?;
            found["value"].as_str()
        };
        let library = standardwebhooks::Webhook::new(secret).expect("a secret that the door made");
        let mut shown = http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            shown.insert(name, header(name).unwrap_or_default().parse().expect("it is text"));
        }
        let body = preview["body"].as_str().unwrap_or_default();
        let verified = library.verify(body.as_bytes(), &shown);
        assert!(verified.is_ok(), "{format}: {verified:?}: {preview}");
        assert_eq!(header("content-encoding"), (packed == "gzip").then_some("gzip"), "{format}");
        assert_eq!(header("Helicone-Signature").is_some(), format["format"] == "helicone");
        assert_eq!(preview["method"], made["method"]);
    }
    assert_eq!(world.receiver.arrivals().len(), 1, "a preview is not sent");
}

#[tokio::test]
async fn a_removed_destination_gets_nothing_more_and_leaves_its_name_free() {
    let world = Managed::new().await;
    world.make("brief", json!({})).await;
    world.make("other", json!({})).await;
    let before = world.call("echo").await;
    world.told("brief", &before).await;
    let path = "/api/destinations/brief";
    world.expect(204, "DELETE", path, None).await;
    world.expect(404, "DELETE", path, None).await;
    world.expect(404, "GET", path, None).await;
    let missed = world.call("echo").await;
    world.told("other", &missed).await;
    world.make("brief", json!({})).await;
    let after = world.call("echo").await;
    world.told("brief", &after).await;
    assert!(!world.was_told("brief", &missed));
    let deliveries = "/api/deliveries?destination=brief";
    let known = loop {
        let known = world.expect(200, "GET", deliveries, None).await;
        // What arrived is stored some milliseconds later.
        if known["data"] != json!([]) {
            break known;
        }
    };
    assert_eq!(known["data"].as_array().map(Vec::len), Some(1), "{known}");
}

#[tokio::test]
async fn plain_http_and_private_addresses_are_refused_unless_they_are_allowed() {
    let world = Managed::with(|_| String::new()).await;
    for (url, what) in [
        ("http://receiver.example/", "https://"),
        ("https://127.0.0.1/", "loopback"),
        ("https://10.1.2.3/", "private"),
        ("https://[fd00::1]/", "unique local"),
        ("https://0x7f.1/", "loopback"),
        ("https://169.254.169.254/", "link-local"),
        ("https://[::ffff:169.254.169.254]/", "link-local"),
    ] {
        let spec = json!({"name": "x", "url": url});
        let answer = world.expect(422, "POST", "/api/destinations", Some(spec)).await;
        let problems = &answer["error"]["problems"];
        assert_eq!(problems[0]["field"], "url", "{answer}");
        let message = problems[0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(what), "{url}: {message}");
    }
}

#[tokio::test]
async fn managing_needs_the_master_key_and_each_door_says_so_in_its_own_shape() {
    let world = Managed::new().await;
    let stranger = world.gateway.client();
    let wrong = stranger.clone().with_key("sk-wrong");
    for (path, of_app) in [
        ("/api/destinations", 403),
        ("/api/events/evt_x", 403),
        ("/v1/webhooks", 401),
        ("/api/v1/observability/destinations", 403),
    ] {
        let is_shaped = |error: &Value| match path {
            "/v1/webhooks" => error["trace"] == "isAuthenticated.error",
            "/api/v1/observability/destinations" => error["error"]["code"].is_number(),
            _ => error["error"]["type"].is_string(),
        };
        for (client, status) in [(&stranger, 401), (&wrong, 401), (&world.app(), of_app)] {
            let seen = client.get(path).await;
            assert_eq!(seen.code(), status, "{path}: {}", seen.text());
            assert!(is_shaped(&seen.json()), "{path}: {}", seen.text());
            assert_eq!(seen.header("access-control-allow-origin"), None);
        }
        let body = json!({"name": "x", "url": "https://receiver.example/"});
        assert_ne!(wrong.post(path, &body).await.code(), 201);
    }
    assert_eq!(stranger.get("/openapi.json").await.json()["openapi"], "3.1.0");
}

#[tokio::test]
async fn at_a_path_that_names_nothing_each_door_answers_in_its_own_shape() {
    let world = Managed::new().await;
    for (method, path, status) in [
        ("GET", "/api/destination", 404),
        ("GET", "/api/events/%FF", 404),
        ("PATCH", "/api/destinations/%ff", 404),
        ("POST", "/api/deliveries/a/%FF/retry", 404),
        ("POST", "/v1/webhooks/%FF/test", 404),
        ("GET", "/api/v1/observability/destinations/%FF", 404),
        ("PUT", "/api/destinations", 405),
    ] {
        let answer = world.expect(status, method, path, None).await;
        let is_shaped = match path {
            _ if path.starts_with("/v1/") => {
                answer["data"].is_null() && answer["error"].is_string()
            }
            _ if path.starts_with("/api/v1/") => answer["error"]["code"] == status,
            _ => answer["error"]["type"].is_string(),
        };
        assert!(is_shaped, "{path}: {answer}");
    }
}

#[tokio::test]
async fn without_a_master_key_this_machine_manages_and_no_web_page() {
    let gateway = testkit::Gateway::start(crate::support::BINARY, "model_list: []\n").await;
    assert_eq!(gateway.client().get("/api/destinations").await.code(), 200);
    let page = gateway.client().with_header("origin", "https://evil.example");
    let seen = page.post("/api/destinations", &json!({"name": "x"})).await;
    assert_eq!((seen.code(), &seen.json()["error"]["type"]), (403, &json!("forbidden")));
}
