//! What goes to providers and comes back: the listed edits, and providers that fail.

use serde_json::{Value, json};
use testkit::{Answer, Upstream, client::chat_body};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::world::{World, deployment, models, openai_error};

#[tokio::test]
async fn fields_for_the_gateway_stay_here_and_all_other_bytes_pass() {
    let world = World::new().await;
    let sent = r#"{ "mock_response" : null,"model":"echo", "no-log": false,
  "messages":[{"role":"user","content":"h\u00e9llo"}],"trace":{"a":1}, "session_id":"s-1",
  "tags":["t"], "temperature": 0.20, "store":true, "metadata":{"tags":["a"],"n":1e2}, "litellm_trace_id":"x",
  "litellm_new": {"deep":[1]}, "helicone-x":"1", "api_key":"sk-other", "user":"u",
  "seed":1, "seed":2, "x_new":{"b":[ null ]} }"#;
    let wanted = r#"{ "model":"echo-1",
  "messages":[{"role":"user","content":"h\u00e9llo"}],
  "temperature": 0.20, "store":true, "metadata":{"tags":["a"],"n":1e2}, "user":"u",
  "seed":1, "seed":2, "x_new":{"b":[ null ]} }"#;
    let seen =
        world.gateway.client().request("POST", "/v1/chat/completions", sent.as_bytes()).await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    let upstream = &world.upstream.requests()[0];
    assert_eq!(
        (upstream.method.as_str(), upstream.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    let arrived = String::from_utf8(upstream.body.to_vec()).expect("the caller sent text");
    let squeeze = |text: &str| text.replace([' ', '\n'], "");
    assert_eq!(squeeze(&arrived), squeeze(wanted), "nothing but the edits");
    assert!(arrived.contains(r#""store":true, "metadata":{"tags":["a"],"n":1e2}"#));
    let event = world.outcome(&seen).await;
    let told = ["session_id", "trace_id", "end_user", "tags"].map(|key| event[key].clone());
    assert_eq!(json!(told), json!(["s-1", "x", "u", ["a", "t"]]));

    // The other path, and a body that needs no edit but the name.
    let seen = world.gateway.client().post("/chat/completions", &chat_body("echo", "hi")).await;
    assert_eq!(seen.content(), "hi");
    assert_eq!(world.upstream.requests()[1].json(), chat_body("echo-1", "hi"));

    // What LiteLLM's callers tell the gateway in `metadata`, OpenAI would refuse.
    let told = json!({"metadata": {"tags": ["a"], "session_id": "s-2"}, "cache": {"ttl": 1}});
    let mut body = chat_body("echo", "hi");
    body.as_object_mut().expect("it is one").extend(told.as_object().expect("it is one").clone());
    let seen = world.gateway.client().post("/chat/completions", &body).await;
    assert_eq!(world.upstream.requests()[2].json(), chat_body("echo-1", "hi"));
    assert_eq!(world.outcome(&seen).await["session_id"], "s-2");
    world.end(3).await;
}

#[tokio::test]
async fn headers_for_the_gateway_stay_here_and_unknown_ones_pass() {
    let world = World::with(
        ", extra_headers: {x-team: blue, x-own: deployment}",
        "general_settings:\n  master_key: sk-the-master-key\n",
    )
    .await;
    let stays = [
        ("x-litellm-tags", "a,b"),
        ("x-litellm-api-key", "sk-the-master-key"),
        ("helicone-property-app", "x"),
        ("helicone-auth", "Bearer sk-helicone"),
        ("x-hookgate-new", "1"),
        ("x-api-key", "sk-caller"),
        ("cookie", "session=caller"),
        ("proxy-authorization", "Basic caller"),
        ("x-forwarded-for", "10.0.0.1"),
        ("origin", "http://localhost:3000"),
        ("te", "trailers"),
        ("x-hop", "meant for the next one only"),
    ];
    let passes = [("x-request-id", "caller-7"), ("x-new", "kept"), ("user-agent", "sdk/1.0")];
    let mut client = world.gateway.client().with_key("sk-the-master-key");
    client = client.with_header("accept-encoding", "gzip, br").with_header("x-own", "caller");
    // One of several values: those that it names are for this connection only.
    client = client.with_header("connection", "X-Hop");
    for (name, value) in stays.iter().chain(&passes) {
        client = client.with_header(name, value);
    }
    let seen = client.chat("echo", "hi").await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    let requests = world.upstream.requests();
    for (name, _) in stays {
        assert_eq!(requests[0].header(name), None, "{name}");
    }
    for (name, value) in passes {
        assert_eq!(requests[0].header(name), Some(value), "{name}");
    }
    for (name, value) in [
        ("authorization", "Bearer sk-upstream"),
        ("accept-encoding", "identity"),
        ("content-type", "application/json"),
        ("x-team", "blue"),
        ("x-own", "deployment"),
    ] {
        let values: Vec<_> = requests[0].headers.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        assert_eq!(requests[0].header(name), Some(value), "{name}");
    }
    let head = format!("{:?}", requests[0].headers);
    assert!(!head.contains("the-master-key") && !head.contains("caller;"), "{head}");
    assert_eq!(world.outcome(&seen).await["tags"], json!(["a", "b"]));
    world.end(1).await;
}

#[tokio::test]
async fn ids_and_limits_come_back_and_what_is_the_provider_s_own_does_not() {
    let world = World::new().await;
    let comes = [
        ("x-request-id", "req_7"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("retry-after", "0"),
        ("openai-processing-ms", "12"),
        ("x-new", "kept"),
    ];
    let stays = [
        ("set-cookie", "__cf_bm=1"),
        ("access-control-allow-origin", "*"),
        ("strict-transport-security", "max-age=1"),
        ("alt-svc", "h3=\":443\""),
    ];
    let limited = json!({"error": {"message": "slow", "type": "requests", "param": null,
        "code": "rate_limit_exceeded", "x_new": 1}});
    let answers = [
        ("plain", Answer::echo(), 200),
        ("stream", Answer::echo(), 200),
        ("error", Answer::json(429, &limited), 429),
        ("error as text", Answer::body(429, "text/plain", "slow"), 429),
    ];
    let calls = answers.len();
    for (case, mut answer, status) in answers {
        for (name, value) in comes.iter().chain(&stays) {
            answer = answer.header(name, value);
        }
        world.upstream.push(answer);
        let client = world.gateway.client();
        let seen = match case {
            "stream" => client.chat_stream("echo", "hi").await,
            _ => client.chat("echo", "hi").await,
        };
        assert_eq!(seen.code(), status, "{case}: {}", seen.text());
        for (name, value) in comes {
            assert_eq!(seen.header(name), Some(value), "{case}: {name}");
        }
        for (name, _) in stays {
            assert_eq!(seen.header(name), None, "{case}: {name}");
        }
        match case {
            "error" => assert_eq!(seen.json(), limited, "the provider's own bytes"),
            "error as text" => {
                let error = openai_error(&seen);
                assert_eq!(error["message"], "the provider answered 429: slow");
            }
            _ => {
                assert_eq!(seen.header("x-litellm-model-group"), Some("echo"), "{case}");
                assert_eq!(
                    seen.header("x-litellm-model-api-base"),
                    Some(&*world.upstream.openai_url())
                );
                assert!(
                    seen.header("x-litellm-model-id").is_some()
                        && seen.header("x-litellm-call-id").is_some()
                );
            }
        }
        let event = world.outcome(&seen).await;
        assert_eq!(event["event"] == "error", status == 429, "{case}");
    }
    // Without an id of the provider's the call's own stands in.
    let seen = world.gateway.client().chat("echo", "hi").await;
    assert_eq!(seen.header("x-request-id"), seen.header("x-hookgate-request-id"));
    world.end(calls + 1).await;
}

/// `(case, answer, status, error_type, part of the message)`.
fn failing_answers() -> Vec<(&'static str, Answer, u16, &'static str, &'static str)> {
    let text = |status, body: &'static str| Answer::body(status, "text/plain", body);
    let long = json!({"error": {"message": "too long", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}});
    let vllm = json!({"object": "error", "message": "no such model", "code": 404});
    let fastapi = json!({"detail": [{"loc": ["body"], "msg": "field required"}]});
    vec![
        ("400", Answer::error(400, "bad temperature"), 400, "bad_request", "bad temperature"),
        ("400 too long", Answer::json(400, &long), 400, "context_window_exceeded", "too long"),
        ("401", Answer::error(401, "wrong key"), 401, "authentication", "wrong key"),
        ("403 as text", text(403, "no"), 403, "authentication", "the provider answered 403: no"),
        ("404 of vLLM", Answer::json(404, &vllm), 404, "not_found", "no such model"),
        ("422 of FastAPI", Answer::json(422, &fastapi), 422, "bad_request", "field required"),
        ("429", Answer::error(429, "slow down"), 429, "rate_limit", "slow down"),
        ("500", Answer::error(500, "oh no"), 500, "provider_error", "oh no"),
        (
            "502 as a page",
            Answer::body(502, "text/html", "<html><title>Bad Gateway</title></html>"),
            502,
            "provider_error",
            "an HTML page: Bad Gateway",
        ),
        ("503 as text", text(503, "maintenance"), 503, "provider_error", "503: maintenance"),
        ("500 empty", text(500, ""), 500, "provider_error", "answered 500 without a body"),
        ("504", text(504, ""), 504, "timeout", "answered 504 without a body"),
        ("529", Answer::error(529, "overloaded"), 529, "provider_error", "overloaded"),
        (
            "302",
            text(302, "").header("location", "http://127.0.0.1:1/"),
            502,
            "bad_response",
            "answered 302",
        ),
        ("200 empty", text(200, ""), 502, "bad_response", "without JSON"),
        (
            "200 broken",
            Answer::body(200, "application/json", r#"{"id":"x","cho"#),
            502,
            "bad_response",
            "without JSON",
        ),
        (
            "200 cut",
            Answer::json(200, &json!({"id": "x"})).in_chunks_of(4).cut_after(1),
            502,
            "connection",
            "could not get an answer",
        ),
        (
            "oversized",
            Answer::json(200, &json!({"id": "x".repeat(5000)})),
            502,
            "bad_response",
            "larger than 4096 bytes",
        ),
    ]
}

#[tokio::test]
async fn whatever_a_provider_answers_the_caller_gets_an_openai_error_and_the_receiver_its_kind() {
    let world = World::with("", "hookgate:\n  limits: {response_body_bytes_max: 4096}\n").await;
    let cases = failing_answers();
    let calls = 2 * cases.len();
    for (case, answer, status, kind, message) in cases {
        world.upstream.push(answer);
        let seen = world.gateway.client().chat("echo", "hi").await;
        assert_eq!((seen.code(), seen.is_whole), (status, true), "{case}: {}", seen.text());
        let error = openai_error(&seen);
        let told = error["message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{case}: {told}");
        let event = world.outcome(&seen).await;
        let fields =
            ["event", "error_type", "status", "error_message"].map(|key| event[key].clone());
        assert_eq!(json!(fields), json!(["error", kind, status, told]), "{case}");
        assert_eq!(event["error_param"], error["param"], "{case}");
        assert_eq!(
            (&event["provider"], &event["content"]),
            (&json!("openai"), &Value::Null),
            "{case}"
        );
        world.call_works().await;
    }
    world.end(calls).await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_named_with_the_reason() {
    // Nobody listens where somebody just did.
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        listener.local_addr().expect("it is bound")
    };
    // Speaks plainly where TLS is expected.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let plain_address = plain.local_addr().expect("it is bound");
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            // What becomes of it shows at the other end.
            let _ = stream.read(&mut [0; 16]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let world = World::build(|upstream| {
        models(&[
            deployment("echo", "openai/echo-1", &upstream.openai_url(), ""),
            deployment("refused", "openai/r", &format!("http://{refused}"), ""),
            deployment("nowhere", "openai/n", "http://does-not-exist.invalid/v1", ""),
            deployment("not-tls", "openai/t", &format!("https://{plain_address}"), ""),
        ])
    })
    .await;
    for (model, reason) in
        [("refused", "refused"), ("nowhere", "dns error"), ("not-tls", "InvalidContentType")]
    {
        for stream in [false, true] {
            let mut body = chat_body(model, "hi");
            body["stream"] = stream.into();
            let seen = world.gateway.client().post("/v1/chat/completions", &body).await;
            assert_eq!(seen.code(), 502, "{model}: {}", seen.text());
            let error = openai_error(&seen);
            let told = error["message"].as_str().unwrap_or_default();
            assert!(told.contains(reason), "{model}: {told}");
            let event = world.outcome(&seen).await;
            assert_eq!(
                (&event["error_type"], &event["error_message"]),
                (&json!("connection"), &json!(told))
            );
            assert_eq!(event["attempts"][0]["status"], Value::Null);
        }
        world.call_works().await;
    }
    world.end(9).await;
}

#[tokio::test]
async fn a_provider_s_key_that_is_not_set_is_named_and_nobody_is_asked() {
    let upstream = Upstream::start().await;
    let address = upstream.openai_url();
    let world = World::build(|other| {
        let echo = deployment("echo", "openai/echo-1", &other.openai_url(), "");
        let keyless = deployment("keyless", "openai/k", &address, "")
            .replace("sk-upstream", "os.environ/NO_SUCH_KEY");
        models(&[echo, keyless])
    })
    .await;
    let seen = world.gateway.client().chat("keyless", "hi").await;
    assert_eq!(seen.code(), 401);
    let error = openai_error(&seen);
    assert!(error["message"].as_str().is_some_and(|text| text.contains("NO_SUCH_KEY")), "{error}");
    let event = world.outcome(&seen).await;
    assert_eq!(
        (&event["error_type"], &event["severity"]),
        (&json!("authentication"), &json!("critical"))
    );
    assert!(upstream.requests().is_empty());
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn a_call_on_a_pooled_connection_that_died_is_sent_again_once() {
    let world = World::new().await;
    world.call_works().await;
    // The provider's end is gone, and the gateway cannot know before it writes.
    world.upstream.refuse_reused(1);
    world.call_works().await;
    let requests = world.upstream.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].connection < requests[1].connection, "a new connection: {requests:#?}");

    // The provider closes what is idle, as it does after a while: nobody notices.
    for _ in 0..10 {
        world.upstream.close_idle();
        world.call_works().await;
    }
    // It answers and closes at once, without having said so.
    for _ in 0..10 {
        world.upstream.push(Answer::echo().then_close());
        world.call_works().await;
    }
    assert_eq!(world.upstream.requests().len(), 22, "each call was answered once");
    // A connection that never served is not excused: the call fails, and says why.
    world.upstream.close_idle();
    let fresh = World::new().await;
    fresh.upstream.push(Answer::reset());
    let seen = fresh.gateway.client().chat("echo", "hi").await;
    assert_eq!((seen.code(), fresh.upstream.requests().len()), (502, 1));
    fresh.end(1).await;
    world.end(22).await;
}
