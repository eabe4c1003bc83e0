//! Helicone's door: its envelopes, texts and statuses, and what its webhooks get.

use serde_json::{Value, json};
use testkit::{Reply, client::chat_body};

use crate::manage::{APP, MASTER, Managed, hexadecimal, is_for, nobody};

const ROOT: &str = "/v1/webhooks";

impl Managed {
    /// Makes a webhook of Helicone's at the receiver, and returns it as the list shows it.
    async fn make_webhook(&self, name: &str, config: Value) -> Value {
        let body = json!({"destination": self.url(name), "config": config});
        let made = self.expect(200, "POST", ROOT, Some(body)).await;
        assert_eq!(made, json!({"data": [], "error": null}));
        let list = self.expect(200, "GET", ROOT, None).await;
        let data = list["data"].as_array().cloned().unwrap_or_default();
        data.into_iter().next_back().expect("it was made")
    }
}

#[tokio::test]
async fn a_webhook_is_made_listed_with_its_key_tested_and_removed() {
    let world = Managed::new().await;
    let config = json!({"sampleRate": 100, "propertyFilters": [{"key": "Env", "value": "prod"}]});
    let webhook = world.make_webhook("helicone", config).await;
    let id = webhook["id"].as_str().expect("a decimal string").to_owned();
    assert!(id.parse::<i64>().is_ok(), "{webhook}");
    let key = webhook["hmac_key"].as_str().unwrap_or_default();
    assert!(key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{webhook}");
    assert_eq!(webhook["destination"], json!(world.url("helicone")));
    assert_eq!(webhook["version"], "2024-10-22");
    assert_eq!(
        webhook["config"],
        json!({"sampleRate": 100, "includeData": true,
               "propertyFilters": [{"key": "Env", "value": "prod"}]})
    );
    let created = webhook["created_at"].as_str().unwrap_or_default();
    assert!(created.len() == 24 && created.ends_with('Z'), "as JavaScript writes it: {created}");

    let test = format!("{ROOT}/{id}/test");
    let tested = world.expect(200, "POST", &test, None).await;
    assert_eq!(
        tested,
        json!({"data": {"success": true, "message": "Test webhook sent successfully"}, "error": null})
    );
    let arrivals = world.receiver.arrivals();
    let sent = arrivals.iter().find(|a| is_for(a, "helicone")).expect("it was sent");
    assert_eq!(sent.header("helicone-signature"), sent.header("x-helicone-signature"));
    assert_eq!(sent.header("helicone-signature"), Some(hmac(key, &sent.body).as_str()));
    assert_eq!(sent.json()["provider"], "OPENAI");

    let path = format!("{ROOT}/{id}");
    for _ in 0..2 {
        let removed = world.expect(201, "DELETE", &path, None).await;
        assert_eq!(removed, json!({"data": null, "error": null}));
    }
    let answer = world.expect(404, "POST", &test, None).await;
    assert_eq!(answer, json!({"data": null, "error": "Webhook not found"}));
    let list = world.expect(200, "GET", ROOT, None).await;
    assert_eq!(list, json!({"data": [], "error": null}));
}

/// Helicone's signature, made independently.
fn hmac(key: &str, body: &[u8]) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).expect("any length does");
    mac.update(body);
    hexadecimal(&mac.finalize().into_bytes())
}

#[tokio::test]
async fn calls_with_the_properties_are_told_and_others_are_not() {
    let world = Managed::new().await;
    let filters = json!({"propertyFilters": [{"key": "Env", "value": "prod"}]});
    world.make_webhook("filtered", filters).await;
    world.make_webhook("never", json!({"sampleRate": 0})).await;
    world.make_webhook("all", json!({})).await;
    let ask = async |env: &str| {
        let client = world.app().with_header("helicone-property-env", env);
        let seen = client.post("/v1/chat/completions", &chat_body("echo", "hi")).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        seen.header("helicone-id").expect("Helicone names each call").to_owned()
    };
    let (staged, produced) = (ask("staging").await, ask("prod").await);
    world.told("all", &staged).await;
    world.told("all", &produced).await;
    let arrival = world.told("filtered", &produced).await;
    assert_eq!(arrival.json()["request_id"], produced);
    assert!(arrival.json()["request_body"].is_object(), "{}", arrival.json());
    assert!(!world.was_told("filtered", &staged));
    assert!(!world.was_told("never", &produced));
}

#[tokio::test]
async fn what_our_own_door_changes_stands_in_helicone_s_list_and_holds() {
    let world = Managed::new().await;
    let config = json!({"sampleRate": 33.3,
                        "propertyFilters": [{"key": "Env", "value": "prod"}]});
    let made = world.make_webhook("before", config.clone()).await;
    let id = made["id"].as_str().expect("a decimal string");
    let path = format!("/api/destinations/helicone-{id}");
    let listed =
        async || world.expect(200, "GET", ROOT, None).await["data"].as_array().cloned().unwrap();
    let change = async |change: Value| {
        world.expect(200, "PATCH", &path, Some(change)).await;
        let [webhook] = &listed().await[..] else { panic!("there is one") };
        webhook.clone()
    };
    // What the caller wrote stays in its words as long as it holds.
    let moved = change(json!({"url": world.url("after")})).await;
    assert_eq!(
        (&moved["destination"], &moved["config"]["sampleRate"]),
        (&json!(world.url("after")), &json!(33.3))
    );
    assert_eq!(moved["config"]["propertyFilters"], config["propertyFilters"]);
    let changed = change(json!({"sample_rate": 1, "include_data": false,
                                "filters": {"completion": {"properties": {"plan": "pro"}}}}))
    .await;
    assert_eq!(
        changed["config"],
        json!({"sampleRate": 100, "includeData": false,
               "propertyFilters": [{"key": "plan", "value": "pro"}]})
    );
    let open = change(json!({"filters": null})).await;
    assert_eq!(open["config"]["propertyFilters"], json!([]));
    let rotated = world.expect(200, "POST", &format!("{path}/rotate-secret"), None).await;
    let key = rotated["secret"].as_str().expect("shown once");
    let [webhook] = &listed().await[..] else { panic!("there is one") };
    assert_eq!((&webhook["hmac_key"], key.len()), (&rotated["secret"], 64));

    let seen = world.app().post("/v1/chat/completions", &chat_body("echo", "hi")).await;
    let arrival = world.told("after", seen.header("helicone-id").expect("it has an id")).await;
    assert_eq!(arrival.header("helicone-signature"), Some(hmac(key, &arrival.body).as_str()));
    assert!(arrival.json().get("metadata").is_none(), "includeData is false: {}", arrival.json());
    let gone = async || world.expect(404, "GET", &path, None).await;
    world.expect(201, "DELETE", &format!("{ROOT}/{id}"), None).await;
    assert_eq!(gone().await["error"]["type"], "not_found");
}

#[tokio::test]
async fn a_password_in_a_destination_is_not_kept_in_clear() {
    let world = Managed::new().await;
    let url = world.url("guarded").replace("http://", "http://user:canary-of-a-password@");
    let body = json!({"destination": url, "config": {}});
    world.expect(200, "POST", ROOT, Some(body)).await;
    let list = world.expect(200, "GET", ROOT, None).await;
    assert_eq!(list["data"][0]["destination"], world.url("guarded"));
    let seen = world.app().post("/v1/chat/completions", &chat_body("echo", "hi")).await;
    let arrival = world.told("guarded", seen.header("helicone-id").expect("it has an id")).await;
    let basic = "Basic dXNlcjpjYW5hcnktb2YtYS1wYXNzd29yZA==";
    assert_eq!(arrival.header("authorization"), Some(basic));
    let kept = crate::privacy::bytes_below(&world.gateway.setup.data_dir());
    assert!(!crate::privacy::holds(&kept, "canary-of-a-password"));
}

#[tokio::test]
async fn bad_requests_get_helicone_s_own_texts_and_make_nothing() {
    let world = Managed::new().await;
    let envelope = |text: &str| json!({"data": null, "error": text});
    let rate = "Sample rate must be between 0 and 100";
    let filters = "Property filters must be an array of objects with key and value properties";
    for (config, expected) in [
        (json!({"sampleRate": 101}), rate),
        (json!({"propertyFilters": "x"}), "Property filters must be an array"),
        (json!({"propertyFilters": [{}]}), filters),
    ] {
        let body = json!({"destination": "https://receiver.example", "config": config});
        assert_eq!(world.expect(400, "POST", ROOT, Some(body)).await, envelope(expected));
    }
    let answer = world.expect(422, "POST", ROOT, Some(json!({"config": {}, "extra": 1}))).await;
    assert_eq!(answer["message"], "Validation Failed");
    let details = &answer["details"];
    assert_eq!(details["webhookData.destination"]["message"], "'destination' is required");
    assert!(details["webhookData.extra"].is_object(), "{answer}");
    let text = "invalid input syntax for type bigint: \"x\"";
    assert_eq!(world.expect(500, "DELETE", "/v1/webhooks/x", None).await, envelope(text));
    let none = world.gateway.client().get(ROOT).await;
    let expected = json!({"error": "No authorization header", "trace": "isAuthenticated.error"});
    assert_eq!((none.code(), none.json()), (401, expected));
    let wrong = world.gateway.client().with_key("sk-wrong").get(ROOT).await;
    assert_eq!((wrong.code(), &wrong.json()["error"]), (401, &json!("No API key found")));
    let app = world.gateway.client().with_key(APP.1).get(ROOT).await;
    assert_eq!(app.code(), 401);
    assert_eq!(world.expect(200, "GET", ROOT, None).await["data"], json!([]));
}

#[tokio::test]
async fn a_key_is_shown_in_every_way_that_helicone_takes() {
    let world = Managed::new().await;
    let json = json!({"_type": "bearer", "token": MASTER, "orgId": "any"}).to_string();
    for (name, value, status) in [
        ("authorization", MASTER, 200),
        ("helicone-auth", &format!("Bearer {MASTER}"), 200),
        ("helicone-authorization", &json, 200),
        ("authorization", "Basic eDp5", 401),
        ("helicone-authorization", "{}", 401),
    ] {
        let seen = world.gateway.client().with_header(name, value).get(ROOT).await;
        assert_eq!(seen.code(), status, "{name}: {value}: {}", seen.text());
    }
}

#[tokio::test]
async fn a_destination_is_judged_when_it_is_tested_and_not_before() {
    let world = Managed::new().await;
    let failed = async |destination: &str| {
        let body = json!({"destination": destination, "config": {}});
        world.expect(200, "POST", ROOT, Some(body)).await;
        let list = world.expect(200, "GET", ROOT, None).await;
        let id = list["data"][0]["id"].as_str().expect("it was made").to_owned();
        let answer = world.expect(500, "POST", &format!("{ROOT}/{id}/test"), None).await;
        world.expect(201, "DELETE", &format!("{ROOT}/{id}"), None).await;
        answer["error"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(failed("").await, "Invalid destination URL");
    assert_eq!(failed("receiver.example").await, "Destination must use HTTPS");
    assert_eq!(failed("https://").await, "Invalid destination URL format");
    let private = "Destination cannot point to private or internal networks";
    assert_eq!(failed("https://10.0.0.1/").await, private);
    assert_eq!(failed("https://169.254.169.254/").await, private);
    world.receiver.set_default(Reply::status(503));
    let status = "Test webhook failed: Webhook test failed with status 503: Service Unavailable";
    assert_eq!(failed(&world.url("down")).await, status);
    let refused = failed(&nobody()).await;
    assert!(refused.starts_with("Test webhook failed: could not connect"), "{refused}");
    let port = failed("https://receiver.example:25/").await;
    assert!(port.starts_with("Test webhook failed: url has port 25"), "{port}");
}
