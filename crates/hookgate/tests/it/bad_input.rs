//! Requests that no gateway should serve, and callers who misbehave.

use serde_json::{Value, json};
use testkit::{Answer, Client, Gate, client::chat_body};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{World, openai_error};

const PATH: &str = "/v1/chat/completions";

/// Writes these bytes on one connection and reads until the gateway closes it; whatever goes wrong
/// ends the reading.
async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = connect(world).await;
    // The gateway may answer and close before it has read all.
    let _ = stream.write_all(bytes).await;
    read_all(&mut stream).await
}

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.gateway.address()).await.expect("the gateway listens")
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let read = async { while matches!(stream.read_buf(&mut seen).await, Ok(1..)) {} };
    tokio::time::timeout(testkit::DEADLINE, read).await.expect("the gateway closes in time");
    String::from_utf8_lossy(&seen).into_owned()
}

fn post(headers: &str, body: &str) -> String {
    format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}")
}

fn post_body(body: &Value, headers: &str) -> String {
    let body = body.to_string();
    post(&format!("content-length: {}\r\n{headers}", body.len()), &body)
}

#[tokio::test]
async fn a_body_that_is_no_chat_request_is_refused_with_the_place() {
    let world = World::new().await;
    let deep = format!(r#"{{"model":"echo","messages":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let deeper = format!(r#"{{"model":"echo","messages":{}"#, "[".repeat(1 << 20));
    let cases: [(&[u8], &str); 25] = [
        (b"", "expected a JSON value at byte 0"),
        (b"   ", "expected a JSON value at byte 3"),
        (b"hello", "at byte 0"),
        (br#"{"model":"echo","messages":[}"#, "at byte 28"),
        (br#"{"model":"echo","messages":[]"#, "at byte 29"),
        (
            br#"{"model":"echo","messages":[]} trailing"#,
            "unexpected text after the JSON value at byte 31",
        ),
        (br#"{"model":"echo","messages":[],}"#, "at byte 30"),
        (br"{'model':'echo'}", "at byte 1"),
        (b"{\"model\":\"echo\",\"messages\":\"a\nb\"}", "at byte 28"),
        (b"{\"model\":\"echo\",\"messages\":\"a\0b\"}", "at byte 28"),
        (b"{\"model\":\"echo\",\"messages\":\"\xff\xfe\"}", "invalid UTF-8 at byte 28"),
        (b"\xef\xbb\xbf{\"model\":\"echo\",\"messages\":[]}", "at byte 0"),
        (b"{\"model\":\"echo\",\"n\":NaN,\"messages\":[]}", "at byte 20"),
        (b"{\"model\":\"echo\",\"n\":01,\"messages\":[]}", "at byte 21"),
        (b"[]", "expected a JSON object"),
        (b"\"text\"", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b"{}", "the request names no model"),
        (br#"{"messages":[]}"#, "the request names no model"),
        (br#"{"model":"","messages":[]}"#, "`model` must be a string that is not empty"),
        (br#"{"model":7,"messages":[]}"#, "`model` must be a string that is not empty"),
        (br#"{"model":"echo"}"#, "Missing required parameter: 'messages'."),
        (
            br#"{"model":"echo","messages":[],"m\u006fdel":"b"}"#,
            "the field `model` is there twice, the second time at byte 30",
        ),
        (deep.as_bytes(), "nested"),
        (deeper.as_bytes(), "nested"),
    ];
    let refused = cases.len();
    for (body, message) in cases {
        let seen = world.gateway.client().request("POST", PATH, body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(seen.code(), 400, "{shown}: {}", seen.text());
        let error = openai_error(&seen);
        let told = error["message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{shown}: {told}");
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("invalid_request_error"), &json!("invalid_request"))
        );
        let event = world.outcome(&seen).await;
        let fields = ["event", "error_type", "error_message", "provider"];
        let fields = fields.map(|field| event[field].clone());
        assert_eq!(json!(fields), json!(["error", "invalid_request", told, null]), "{shown}");
    }
    assert!(refused > 0 && world.upstream.requests().is_empty(), "nobody was asked");
    world.call_works().await;
    world.end(refused + 1).await;
}

#[tokio::test]
async fn a_body_that_only_looks_odd_passes_as_it_is() {
    let world = World::new().await;
    let hundred = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let extras = [
        r#""n":1e999999,"m":-0.0,"big":123456789012345678901234567890"#,
        r#""seed":1,"seed":2"#,
        r#""text":"\u0000\ud83d\ude00\/""#,
        r#""lone":"\ud800""#,
        r#""":{"":[]}"#,
        &format!(r#""deep":{hundred}"#),
        r#""stream":null,"user":7,"metadata":[1],"tags":"x","stream_options":5"#,
    ];
    for (number, extra) in extras.into_iter().enumerate() {
        let text = format!("text {number}");
        world.upstream.push(Answer::text(&text));
        let body = format!(
            r#"{{"model":"echo","messages":[{{"role":"user","content":"{text}"}}],{extra}}}"#
        );
        let seen = world.gateway.client().request("POST", PATH, body.as_bytes()).await;
        assert_eq!((seen.code(), seen.content()), (200, text.clone()), "{extra}: {}", seen.text());
        let arrived = world.upstream.requests()[number].body.clone();
        let arrived = String::from_utf8_lossy(&arrived).into_owned();
        if !extra.contains("tags") {
            assert_eq!(arrived, body.replace("\"echo\"", "\"echo-1\""), "{extra}");
        }
        let event = world.outcome(&seen).await;
        assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!(text)));
    }
    world.end(extras.len()).await;
}

#[tokio::test]
async fn an_unknown_model_is_named_and_told() {
    let world = World::new().await;
    for (model, stream) in
        [("gpt-nothing", false), ("gpt-nothing", true), ("a\u{0}\u{1F600}\"", false)]
    {
        let mut body = chat_body(model, "hi");
        body["stream"] = stream.into();
        let seen = world.gateway.client().post(PATH, &body).await;
        assert_eq!(seen.code(), 400, "{}", seen.text());
        let error = openai_error(&seen);
        let told = error["message"].as_str().unwrap_or_default();
        assert!(told.contains(&format!("model={model}")) && told.contains("/v1/models"), "{told}");
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("invalid_request_error"), &json!("unknown_model"))
        );
        let event = world.outcome(&seen).await;
        let fields =
            ["event", "error_type", "model", "severity", "provider"].map(|k| event[k].clone());
        assert_eq!(json!(fields), json!(["error", "unknown_model", model, "warning", null]));
        assert_eq!((&event["error_message"], &event["attempts"]), (&json!(told), &json!([])));
    }
    world.call_works().await;
    world.end(4).await;
}

#[tokio::test]
async fn only_the_right_key_opens_in_any_header_that_carries_one() {
    let key = "sk-the-master-key";
    let world = World::with("", &format!("general_settings: {{master_key: {key}}}\n")).await;
    let basic = "Basic c2stdGhlLW1hc3Rlci1rZXk6";
    let client = || Client::new(world.gateway.address());
    let right = [
        ("authorization", format!("Bearer {key}")),
        ("authorization", format!("bearer  {key} ")),
        // As Helicone takes one.
        ("authorization", key.to_owned()),
        ("x-api-key", key.to_owned()),
        ("api-key", key.to_owned()),
        ("x-litellm-api-key", key.to_owned()),
        ("x-litellm-api-key", format!("Bearer {key}")),
    ];
    for (name, value) in &right {
        let seen = client().with_header(name, value).chat("echo", "hi").await;
        assert_eq!(seen.code(), 200, "{name}: {value}: {}", seen.text());
        assert_eq!(world.outcome(&seen).await["key_name"], "master");
        assert_eq!(client().with_header(name, value).get("/v1/models").await.code(), 200);
    }
    let wrong = [
        ("x-none", String::new()),
        ("authorization", "Bearer sk-other".to_owned()),
        ("authorization", format!("Bearer {key}x")),
        ("authorization", format!("Bearer {}", key.to_uppercase())),
        ("authorization", "Bearer ".to_owned()),
        ("authorization", basic.to_owned()),
        ("x-api-key", "sk-other".to_owned()),
        ("x-litellm-api-key", String::new()),
        ("cookie", format!("authorization=Bearer {key}")),
    ];
    for (name, value) in &wrong {
        for path in [PATH, "/v1/models", "/nothing"] {
            let seen = client().with_header(name, value).post(path, &chat_body("echo", "hi")).await;
            assert_eq!(seen.code(), 401, "{name}: {value}: {}", seen.text());
            let error = openai_error(&seen);
            assert_eq!(
                (&error["type"], &error["code"]),
                (&json!("authentication_error"), &json!("unauthorized"))
            );
            assert_eq!(seen.header("www-authenticate"), Some("Bearer"));
            assert!(!seen.text().contains("sk-"), "no key is echoed: {}", seen.text());
        }
    }
    assert_eq!(world.upstream.requests().len(), right.len(), "nobody else got through");
    // Whoever has no key is told of, where it would have made a call.
    world.end(right.len() + wrong.len()).await;
}

#[tokio::test]
async fn a_wrong_method_or_path_is_an_openai_error() {
    let world = World::new().await;
    let cases = [
        ("GET", PATH, 405, Some("POST")),
        ("PUT", "/chat/completions", 405, Some("POST")),
        ("OPTIONS", PATH, 405, Some("POST")),
        ("POST", "/v1/models", 405, Some("GET,HEAD")),
        ("DELETE", "/health/readiness", 405, Some("GET,HEAD")),
        ("GET", "/", 404, None),
        ("POST", "/v1/chat/completions/", 404, None),
        ("POST", "//v1/chat/completions", 404, None),
        ("POST", "/v1/audio/speech", 404, None),
        ("GET", "/../etc/passwd", 404, None),
    ];
    for (method, path, status, allow) in cases {
        let body = chat_body("echo", "hi").to_string();
        let seen = world.gateway.client().request(method, path, body.as_bytes()).await;
        assert_eq!(seen.code(), status, "{method} {path}: {}", seen.text());
        assert_eq!(seen.header("allow"), allow, "{method} {path}");
        assert_eq!(openai_error(&seen)["type"], "invalid_request_error");
        assert_eq!(seen.header("access-control-allow-origin"), None);
    }
    assert!(world.upstream.requests().is_empty());
    world.call_works().await;
    world.end(1).await;
}

#[tokio::test]
async fn a_request_over_its_bounds_is_refused_and_the_next_one_is_served() {
    let limits = "{request_body_bytes_max: 65536, request_header_bytes_max: 8192}";
    let world = World::with("", &format!("hookgate:\n  limits: {limits}\n")).await;
    let fits = "x".repeat(65_536 - chat_body("echo", "").to_string().len());
    let seen = world.gateway.client().chat("echo", &fits).await;
    assert_eq!((seen.code(), seen.content().len()), (200, fits.len()));
    world.outcome(&seen).await;

    let over = chat_body("echo", &format!("{fits}x")).to_string();
    let chunk = |part: &[u8]| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
    let chunked: Vec<_> = over.as_bytes().chunks(10_000).map(chunk).collect();
    let chunked = chunked.concat();
    let huge = "x".repeat(4 << 20);
    let cases = [
        ("announced", post(&format!("content-length: {}\r\n", over.len()), &over), "413"),
        ("chunked", post("transfer-encoding: chunked\r\n", &format!("{chunked}0\r\n\r\n")), "413"),
        ("huge", post(&format!("content-length: {}\r\n", huge.len()), &huge), "413"),
        ("never sent", post("content-length: 99999999999\r\nexpect: 100-continue\r\n", ""), "413"),
        ("header", post(&format!("x-bomb: {}\r\n", "b".repeat(9_000)), ""), "431"),
        ("headers", post(&"x-bomb: bbbb\r\n".repeat(600), ""), "431"),
        ("parser's", post(&"b: b\r\n".repeat(5_000), ""), "431"),
        ("line", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 << 20)), "4"),
    ];
    for (case, message, status) in cases {
        let message = message.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let answer = exchange(&world, message.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{case}: {answer:.300}");
        if matches!(case, "announced" | "chunked" | "huge" | "header" | "headers") {
            assert!(answer.contains(r#"{"error":{"#), "{case}: {answer:.300}");
        }
        world.call_works().await;
    }
    world.end(9).await;
}

#[tokio::test]
async fn a_caller_who_sends_slowly_loses_its_connection_not_the_gateway() {
    let limits = "{header_read_ms: 300, body_read_ms: 300}";
    let world = World::with("", &format!("hookgate:\n  limits: {limits}\n")).await;
    for (case, sent, status) in [
        ("nothing at all", String::new(), ""),
        ("half a head", format!("POST {PATH} HTTP/1.1\r\nhost: loc"), ""),
        ("half a body", post("content-length: 100\r\n", r#"{"model":"#), "HTTP/1.1 408"),
    ] {
        let mut stream = connect(&world).await;
        stream.write_all(sent.as_bytes()).await.expect("the gateway reads");
        let answer = read_all(&mut stream).await;
        if status.is_empty() {
            assert_eq!(answer, "", "{case}");
        } else {
            assert!(answer.starts_with(status), "{case}: {answer}");
            assert!(answer.contains("did not arrive in time"), "{case}: {answer}");
        }
        world.call_works().await;
    }
    // A body that breaks off makes no call.
    let mut stream = connect(&world).await;
    let half = post("content-length: 100\r\n", r#"{"model":"#);
    stream.write_all(half.as_bytes()).await.expect("the gateway reads");
    drop(stream);
    world.call_works().await;
    assert_eq!(world.upstream.requests().len(), 4);
    world.end(4).await;
}

#[tokio::test]
async fn what_is_no_http_is_turned_away() {
    let world = World::new().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nbad header\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = exchange(&world, bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
    }
    // Two framings at once are the smuggler's: the request ends with the connection.
    let smuggled = post(
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\nGET /health/liveliness HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    let answer = exchange(&world, smuggled.as_bytes()).await;
    assert!(!answer.contains("alive"), "{answer}");
    world.call_works().await;
    // What came before the end of the first is a call without a body.
    world.end(2).await;
}

#[tokio::test]
async fn a_connection_serves_on_after_errors_and_in_order_when_pipelined() {
    let world = World::new().await;
    let requests = [
        post_body(&chat_body("echo", "first"), ""),
        post_body(&chat_body("nobody", "second"), ""),
        post("content-length: 3\r\n", "{]}"),
        "GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        post_body(&chat_body("echo", "sixth"), "connection: close\r\n"),
    ];
    let answers = exchange(&world, requests.concat().as_bytes()).await;
    let statuses: Vec<_> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(statuses, ["200", "400", "400", "404", "200", "200"], "{answers}");
    let at = |text: &str| answers.find(text).unwrap_or_else(|| panic!("no {text:?} in {answers}"));
    assert!(at("first") < at("model=nobody") && at("model=nobody") < at("sixth"));
    world.end(4).await;
}

#[tokio::test]
async fn a_gateway_at_its_bound_says_when_to_come_back() {
    let world = World::with("", "hookgate:\n  limits: {in_flight_calls_max: 1}\n").await;
    let gate = Gate::new();
    world.upstream.push(Answer::echo().pause_before_head(&gate));
    let mut running = tokio::task::JoinSet::new();
    let client = world.gateway.client();
    running.spawn(async move { client.chat("echo", "running").await });
    gate.reached_by(1).await;
    let seen = world.gateway.client().chat("echo", "one too many").await;
    assert_eq!((seen.code(), seen.header("retry-after")), (503, Some("1")), "{}", seen.text());
    assert_eq!(openai_error(&seen)["code"], "overloaded");
    gate.open();
    let first = running.join_next().await.expect("it was spawned").expect("it does not panic");
    assert_eq!((first.code(), first.content().as_str()), (200, "running"));
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn bodies_beyond_what_all_calls_may_hold_are_refused_for_now() {
    let world = World::with("", "hookgate:\n  limits: {in_flight_bytes_max: 1048576}\n").await;
    let large = chat_body("echo", &"x".repeat(700_000)).to_string();
    let gate = Gate::new();
    world.upstream.push(Answer::text("held").pause_before_head(&gate));
    let mut running = tokio::task::JoinSet::new();
    let (client, body) = (world.gateway.client(), large.clone());
    running.spawn(async move { client.request("POST", PATH, body.as_bytes()).await });
    gate.reached_by(1).await;
    let seen = world.gateway.client().request("POST", PATH, large.as_bytes()).await;
    assert_eq!((seen.code(), seen.header("retry-after")), (503, Some("1")), "{}", seen.text());
    assert_eq!(openai_error(&seen)["code"], "overloaded");
    world.call_works().await;
    gate.open();
    let first = running.join_next().await.expect("it was spawned").expect("it does not panic");
    assert_eq!((first.code(), first.content().as_str()), (200, "held"));
    // What it held is free again.
    world.upstream.push(Answer::text("later"));
    let seen = world.gateway.client().request("POST", PATH, large.as_bytes()).await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "later"), "{}", seen.text());
    world.end(3).await;
}

#[tokio::test]
async fn a_caller_who_asks_first_is_told_to_go_on() {
    let world = World::new().await;
    let body = chat_body("echo", "asked first").to_string();
    let mut stream = connect(&world).await;
    let headers =
        format!("content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n", body.len());
    stream.write_all(post(&headers, "").as_bytes()).await.expect("the gateway reads");
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.expect("the gateway says to go on");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.expect("the gateway reads");
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("asked first"), "{answer}");
    assert_eq!(world.upstream.requests()[0].header("expect"), None);
    world.event("the outcome", |event| event["content"] == "asked first").await;
    world.end(1).await;
}
