//! Canaries: a text of its own in every place that takes a secret. Whatever the process writes is
//! searched for them afterwards: its output, its files, its answers, and what it delivers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use testkit::{
    Answer, Client, DEADLINE, Gateway, Receiver, Reply, Upstream,
    client::{Seen, chat_body},
    gateway::Setup,
    tunnel::Proxy,
};

use crate::{
    privacy::bytes_below,
    tls_world::{CHAIN, KEY},
};

const MASTER: &str = "sk-canary-of-the-master";
const APP: &str = "sk-canary-of-the-caller";
const PROVIDER: &str = "sk-canary-of-the-provider";
const STRANGER: &str = "sk-canary-of-a-stranger";
const HEADER: &str = "canary-of-a-header-in-the-file";
const CALLBACK: &str = "canary-of-a-callback-in-the-file";
const PLAIN: &str = "canary-of-a-plain-signing-secret";
const PASSWORD: &str = "canary-of-a-password";
const PROXY_PASSWORD: &str = "canary-of-a-proxy-password";
const GIVEN: &str = "canary-of-a-secret-given-to-the-door";
const DOOR_HEADER: &str = "canary-of-a-header-given-to-the-door";
const BROADCAST: &str = "canary-of-a-header-of-broadcast";
/// What is in base64 behind `whsec_` and `whsk_`.
const SHARED: &[u8] = b"canary-of-shared-key-in-the-file";
const PRIVATE: &[u8; 32] = b"canary-of-private-key-in-a-file!";

/// Receivers refuse what holds this.
const REFUSED: &str = "please refuse this";

const DESTINATIONS: &str = "/api/destinations";
const BROADCASTS: &str = "/api/v1/observability/destinations";
const WEBHOOKS: &str = "/v1/webhooks";

/// What was written, by where.
struct Written {
    client: Client,
    texts: BTreeMap<String, Vec<u8>>,
}

impl Written {
    fn keep(&mut self, place: &str, bytes: &[u8]) {
        self.texts.entry(place.to_owned()).or_default().extend(bytes);
    }

    fn keep_answer(&mut self, place: &str, seen: &Seen) {
        let headers = format!("{:?}", seen.headers);
        self.keep(place, headers.as_bytes());
        self.keep(place, seen.text().as_bytes());
    }

    /// Asks as who manages, keeps the answer, and returns its JSON.
    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let seen = self.ask_once(method, path, body).await;
        self.keep_answer(&format!("{method} {path}"), &seen);
        seen.json()
    }

    /// The same without keeping the answer: it shows a secret, as the contract says.
    async fn ask_once(&self, method: &str, path: &str, body: &Value) -> Seen {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let seen = self.client.request(method, path, body.as_bytes()).await;
        assert!(seen.status.is_some(), "{method} {path} is answered");
        seen
    }

    /// No place but those whose name begins with `but` holds any of these, as it is or in base64.
    fn expect_none(&self, secrets: &[(&str, String)], but: &str) {
        let mut told = BTreeSet::new();
        for (place, text) in self.texts.iter().filter(|(place, _)| !place.starts_with(but)) {
            let text = String::from_utf8_lossy(text);
            for (name, secret) in secrets {
                let encoded = BASE64_STANDARD.encode(secret);
                if text.contains(secret) || text.contains(encoded.trim_end_matches('=')) {
                    told.insert(format!("{place} tells {name}"));
                }
            }
        }
        assert!(told.is_empty(), "{told:#?}");
    }

    /// Looks like `expect_none`, and finds.
    fn expect_found(&self, place: &str, text: &str) {
        let written = String::from_utf8_lossy(&self.texts[place]);
        assert!(written.contains(text), "{place} should hold {text:?}");
    }
}

fn config(upstream: &Upstream, receiver: &Receiver, proxy: &Proxy) -> String {
    let url = receiver.url();
    let with_password = url.replace("http://", &format!("http://user:{PASSWORD}@"));
    let (shared, private) = (BASE64_STANDARD.encode(SHARED), BASE64_STANDARD.encode(PRIVATE));
    format!(
        "
model_list:
  - model_name: echo
    litellm_params: {{model: openai/echo-1, api_base: '{}', api_key: {PROVIDER}}}
  - model_name: claude
    litellm_params: {{model: anthropic/claude-1, api_base: '{}', api_key: {PROVIDER}}}
general_settings: {{master_key: {MASTER}}}
keys: [{{name: app, key: {APP}}}]
litellm_settings:
  num_retries: 0
  callbacks: [posts]
callback_settings:
  posts:
    callback_type: generic_api
    endpoint: {url}?posts
    headers: {{Authorization: Bearer {CALLBACK}}}
    batch_size: 1
webhooks:
  plain: {{url: '{url}?plain', secret: {PLAIN}, headers: {{X-Token: {HEADER}}}}}
  shared: {{url: '{with_password}?shared', secret: whsec_{shared}, format: otlp}}
  private: {{url: '{url}?private', secret: whsk_{private}, format: cloudevents,
             tls: {{client_certificate_file: chain.pem, client_key_file: key.pem}}}}
events: {{subscribe: [completion, error, streaming, rate_limit]}}
retry: {{max_attempts: 2, initial_delay_ms: 20, max_delay_ms: 60}}
security: {{require_https: false, allow_private_destinations: ['127.0.0.0/8']}}
hookgate:
  ballast_bytes: 0
  egress: {{destinations: {{proxy: 'http://user:{PROXY_PASSWORD}@{}'}}}}
",
        upstream.openai_url(),
        upstream.url(),
        proxy.authority(),
    )
}

/// Secrets that are known before.
fn known() -> Vec<(&'static str, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    vec![
        ("the master key", MASTER.to_owned()),
        ("a caller's key", APP.to_owned()),
        ("the provider's key", PROVIDER.to_owned()),
        ("a wrong key", STRANGER.to_owned()),
        ("a header", HEADER.to_owned()),
        ("a callback's header", CALLBACK.to_owned()),
        ("a plain secret", PLAIN.to_owned()),
        ("a URL's password", PASSWORD.to_owned()),
        ("the credentials of a URL", format!("user:{PASSWORD}")),
        ("a secret given to the door", GIVEN.to_owned()),
        ("a header given to the door", DOOR_HEADER.to_owned()),
        ("a header of Broadcast", BROADCAST.to_owned()),
        ("a proxy's password", PROXY_PASSWORD.to_owned()),
        ("the credentials of a proxy", format!("user:{PROXY_PASSWORD}")),
        ("the key of a certificate", KEY.lines().nth(1).unwrap_or_default().to_owned()),
        ("a shared key", text(SHARED)),
        ("a private key", text(PRIVATE)),
    ]
}

/// Calls that succeed, stream, break off and fail, and some that are refused.
async fn call_around(gateway: &Gateway, upstream: &Upstream, written: &mut Written) {
    let app = gateway.client().with_key(APP);
    let echoed = json!({"error": {"message": format!("Incorrect API key provided: {PROVIDER}"),
                                  "type": "invalid_request_error", "code": "invalid_api_key"}});
    let answers = [
        Answer::echo(),
        Answer::error(500, "broken"),
        Answer::error(429, "slow down"),
        Answer::json(401, &echoed),
        Answer::reset(),
        Answer::garbage("220 mail.example ESMTP\r\n"),
        Answer::echo().cut_after(0),
    ];
    for (model, stream) in [("echo", false), ("echo", true), ("claude", false), ("claude", true)] {
        for (number, answer) in answers.iter().enumerate() {
            upstream.push(answer.clone());
            let mut body = chat_body(model, "hi");
            body["stream"] = stream.into();
            let seen = app.post("/v1/chat/completions", &body).await;
            // What a provider says of its key is between it and the caller.
            if number != 3 {
                written.keep_answer("calls", &seen);
            }
        }
    }
    written.keep_answer("calls", &app.chat("nobody", "hi").await);
    written.keep_answer("calls", &app.chat("echo", REFUSED).await);
    for key in [STRANGER, ""] {
        let stranger = gateway.client().with_key(key);
        written.keep_answer("calls", &stranger.chat("echo", "hi").await);
        written.keep_answer("calls", &stranger.get(DESTINATIONS).await);
    }
    let mut in_body = chat_body("echo", "hi");
    in_body["api_key"] = APP.into();
    written.keep_answer("calls", &app.post("/v1/chat/completions", &in_body).await);
    written.keep_answer("calls", &app.request("POST", "/v1/chat/completions", b"{").await);
}

/// Makes destinations at every door, changes and rotates them. Returns the secrets that were made.
async fn make_around(receiver: &Receiver, written: &mut Written) -> Vec<(&'static str, String)> {
    let url = |name: &str| format!("{}?{name}", receiver.url());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let given = json!({"name": "given", "url": url("given"), "secret": GIVEN,
                       "headers": {"X-Token": DOOR_HEADER}});
    // Its answer shows the secret once.
    let seen = written.ask_once("POST", DESTINATIONS, &given).await;
    assert_eq!(seen.code(), 201, "{}", seen.text());
    assert!(!seen.text().contains(DOOR_HEADER), "headers are never shown: {}", seen.text());
    let made = json!({"name": "made", "url": url("made")});
    let made = written.ask_once("POST", DESTINATIONS, &made).await.json();
    let path = "/api/destinations/made/rotate-secret";
    let rotated = written.ask_once("POST", path, &json!({})).await.json();

    let webhook = json!({"destination": url("helicone"), "config": {}});
    written.ask("POST", WEBHOOKS, &webhook).await;
    let webhooks = written.ask("GET", WEBHOOKS, &Value::Null).await;
    let broadcast = json!({"type": "webhook", "name": "broadcast",
                           "config": {"url": url("broadcast"),
                                      "headers": {"Authorization": BROADCAST}}});
    let broadcast = written.ask("POST", BROADCASTS, &broadcast).await;
    assert!(broadcast["data"]["id"].is_string(), "{broadcast}");

    let https = url("mutual").replace("http://", "https://");
    let tls = json!({"client_certificate": CHAIN, "client_key": KEY});
    let mutual = json!({"name": "mutual", "url": https, "tls": tls});
    let mutual = written.ask("POST", DESTINATIONS, &mutual).await;
    assert_eq!(mutual["tls"]["client_key"], "***", "{mutual}");

    // The same again, and wrong in ways that errors tell of.
    written.ask("POST", DESTINATIONS, &given).await;
    ask_wrongly(receiver, written).await;
    vec![
        ("a secret that was made", text(&made["secret"])),
        ("the key in it", text(&made["secret"]).replace("whsec_", "")),
        ("a secret that was rotated in", text(&rotated["secret"]).replace("whsec_", "")),
        ("Helicone's key", text(&webhooks["data"][0]["hmac_key"])),
    ]
}

/// Asks every door for what it refuses, with secrets where they do not belong.
async fn ask_wrongly(receiver: &Receiver, written: &mut Written) {
    let url = format!("{}?x", receiver.url());
    let wrong = json!({"name": 7, "url": 7, "secret": [GIVEN], "heders": {"X": DOOR_HEADER},
                       "headers": {"X-Token": [DOOR_HEADER], "bad name": DOOR_HEADER,
                                   "webhook-id": DOOR_HEADER},
                       "tls": {"ca": KEY, "client_certificate": KEY, "client_key": [KEY]},
                       "format": DOOR_HEADER, "event_types": [GIVEN]});
    for headers in [
        json!({"bad name": DOOR_HEADER}),
        json!({"webhook-id": DOOR_HEADER}),
        json!({"X-Token": format!("{DOOR_HEADER}\r\nX: 1")}),
        json!({"X-Token": DOOR_HEADER, "x-token": DOOR_HEADER}),
    ] {
        let given = json!({"name": "x", "url": url, "headers": headers});
        written.ask("POST", DESTINATIONS, &given).await;
    }
    let tls = json!({"client_certificate": KEY, "client_key": KEY});
    written.ask("PATCH", "/api/destinations/mutual", &json!({"tls": tls})).await;
    written
        .ask("POST", DESTINATIONS, &json!({"name": "x", "secret": format!("whsec_{GIVEN}")}))
        .await;
    written
        .ask("PATCH", "/api/destinations/given", &json!({"secret": format!("whsec_{GIVEN}?")}))
        .await;
    let wrong = wrong.as_object().expect("it is one");
    for (key, value) in
        wrong.iter().filter(|(key, _)| !matches!(key.as_str(), "format" | "event_types"))
    {
        written.ask("POST", DESTINATIONS, &json!({"name": "x", "url": url, key: value})).await;
        written.ask("PATCH", "/api/destinations/given", &json!({key: value})).await;
        written
            .ask(
                "POST",
                BROADCASTS,
                &json!({"type": "webhook", "name": "x", "config": {key: value}}),
            )
            .await;
        written.ask("POST", WEBHOOKS, &json!({"destination": url, "config": {key: value}})).await;
    }
}

/// Returns once destinations of file and door have dead letters.
async fn wait_letters(gateway: &Gateway, written: &mut Written) {
    let until = Instant::now() + DEADLINE;
    for name in ["plain", "posts", "given"] {
        let path = format!("/api/deliveries?destination={name}&state=dead");
        while written.ask("GET", &path, &Value::Null).await["data"][0].is_null() {
            assert!(Instant::now() < until, "{name} should have a dead letter");
            // What was refused is given up once others pass.
            written.keep_answer("calls", &gateway.client().with_key(APP).chat("echo", "hi").await);
        }
    }
}

/// Reads every page there is.
async fn look_around(written: &mut Written) {
    let names = ["plain", "shared", "private", "posts", "given", "made", "mutual"];
    for name in names {
        for (method, rest) in [("GET", ""), ("GET", "/preview"), ("POST", "/test")] {
            let path = format!("{DESTINATIONS}/{name}{rest}");
            written.ask(method, &path, &Value::Null).await;
        }
    }
    let pages = [
        DESTINATIONS,
        BROADCASTS,
        WEBHOOKS,
        "/openapi.json",
        "/v1/models",
        "/health/readiness",
        "/api/replays",
        "/api/events?limit=100",
        "/api/deliveries?limit=100",
        "/api/nothing",
        "/nothing",
    ];
    for path in pages {
        written.ask("GET", path, &Value::Null).await;
    }
    for (list, path) in
        [("/api/events?limit=20", "/api/events/"), ("/api/deliveries?limit=50", "/api/deliveries/")]
    {
        let page = written.ask("GET", list, &Value::Null).await;
        for row in page["data"].as_array().cloned().unwrap_or_default() {
            let id = row["id"].as_str().unwrap_or_default();
            let of = row["destination"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
            written.ask("GET", &format!("{path}{of}{id}"), &Value::Null).await;
        }
    }
}

/// Runs commands beside the gateway, one of them on files that are wrong around their secrets.
async fn command_around(setup: &Setup, written: &mut Written) {
    let config =
        std::fs::read_to_string(setup.directory().join("config.yaml")).expect("it is there");
    let mistakes = [
        ("master_key:", "master_key: [7, "),
        ("master_key:", "master_kee:"),
        ("secret:", "secrets:"),
        ("secret: ", "secret: {a: b}, more: "),
        ("X-Token", "'X Token'"),
        ("http://user", "htp://user"),
        ("http://user", "http://us er"),
        ("whsec_", "whsec_!"),
        ("whsk_", "whsk_!"),
        ("api_key:", "api_keys:"),
        ("api_key: ", "api_key: os.environ/"),
        ("key: ", "key: ${"),
        ("proxy: 'http", "proxy: 'ftp"),
        ("chain.pem", "key.pem"),
    ];
    let mut files = vec![("config.yaml".to_owned(), config.clone())];
    for (number, (from, to)) in mistakes.into_iter().enumerate() {
        files.push((format!("wrong-{number}.yaml"), config.replacen(from, to, 2)));
    }
    let data = setup.data_dir();
    let data = data.to_str().expect("its name is text").to_owned();
    for (name, text) in files {
        setup.write_file(&name, &text);
        let output = setup.command(&["check", &name]).output().await.expect("it was built");
        written.keep(&format!("check {name}"), &output.stdout);
        written.keep(&format!("check {name}"), &output.stderr);
    }
    for args in [
        &["dead-letters", "--data-dir", &data][..],
        &["dead-letters", "retry", "--all", "--data-dir", &data],
    ] {
        let output = setup.command(args).output().await.expect("it was built");
        written.keep("dead-letters", &output.stdout);
        written.keep("dead-letters", &output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_anything_that_the_process_writes() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let proxy = Proxy::start().await;
    let setup = Setup::new(crate::support::BINARY, &config(&upstream, &receiver, &proxy));
    let setup = setup.file("chain.pem", CHAIN).file("key.pem", KEY);
    let gateway = setup.env("RUST_LOG", "trace").start().await;
    let client = gateway.client().with_key(MASTER);
    let mut written = Written { client, texts: BTreeMap::new() };

    let mut secrets = known();
    let made = make_around(&receiver, &mut written).await;
    secrets.extend(made);
    // A receiver that repeats what it was shown, with an error: it stands in attempts and reasons.
    receiver.answer_to(REFUSED, Reply::status(400).echoing_headers());
    call_around(&gateway, &upstream, &mut written).await;
    look_around(&mut written).await;
    wait_letters(&gateway, &mut written).await;
    look_around(&mut written).await;
    command_around(&gateway.setup, &mut written).await;

    // Sealed secrets are opened again after a kill, and everything is closed in good order.
    let gateway = gateway.kill().await.start().await;
    written.client = gateway.client().with_key(MASTER);
    call_around(&gateway, &upstream, &mut written).await;
    look_around(&mut written).await;
    written.keep("the data directory", &bytes_below(&gateway.setup.data_dir()));
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:?}", stopped.status);
    written.keep("the log", stopped.log().join("\n").as_bytes());
    written.keep("the data directory", &bytes_below(&stopped.setup.data_dir()));
    for arrival in receiver.arrivals() {
        written.keep(&format!("bodies at {}", arrival.path), &arrival.body);
    }

    let credentials = BASE64_STANDARD.encode(format!("user:{PROXY_PASSWORD}"));
    assert!(proxy.heads().iter().all(|head| head.contains(&credentials)), "the proxy alone has it");

    // It was worth looking: everything was driven, and what is not secret is found.
    written.expect_found("the log", "TRACE");
    written.expect_found("the data directory", REFUSED);
    written.expect_found("the data directory", "127.0.0.1");
    written.expect_found("dead-letters", "status 400");
    for name in ["plain", "shared", "private", "posts", "given", "made", "helicone", "broadcast"] {
        written.expect_found(&format!("bodies at /hook?{name}"), "echo");
    }
    // Helicone's list shows its key to who may read it; nothing else shows anything.
    let (helicone, others): (Vec<_>, Vec<_>) =
        secrets.into_iter().partition(|(name, _)| *name == "Helicone's key");
    written.expect_none(&helicone, &format!("GET {WEBHOOKS}"));
    written.expect_none(&others, "nowhere");
}
