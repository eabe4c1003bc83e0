//! Streams: what the caller gets of them, and what the receiver, however they go.

use serde_json::{Value, json};
use testkit::{
    Answer, Gate, Gateway, Receiver, Upstream, client::chat_body, receiver::accepted_items,
};

use crate::{
    support::{BINARY, events, model},
    world::{World, openai_error, stream_error},
};

/// Bends an answer.
type Bend = fn(Answer) -> Answer;

const ROLE: &str =
    r#"data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
const ONE: &str =
    r#"data: {"id":"c1","choices":[{"index":0,"delta":{"content":"one "},"x_new":[1.10]}]}"#;
const TWO: &str =
    r#"data:{"id":"c1","choices":[{"index":0,"delta":{"content":"twö"}}],"obfuscation":"a\n"}"#;
const STOP: &str = r#"data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str =
    r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#;
const DONE: &str = "data: [DONE]";

fn frames(lines: &[&str], end: &str) -> String {
    lines.iter().flat_map(|line| [line, end, end]).collect()
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_but_for_the_usage_chunk() {
    let world = World::new().await;
    let named = format!("event: message\nid: 7\n{ONE}");
    let split = ONE.replace("\"choices\":[", "\"choices\":\ndata: [");
    let cases: [(&str, &[&str], &str); 6] = [
        ("line feeds", &[ROLE, ONE, TWO, STOP], "\n"),
        ("carriage returns with line feeds", &[ROLE, ONE, TWO, STOP], "\r\n"),
        ("carriage returns", &[ROLE, ONE, TWO, STOP], "\r"),
        ("comments", &[": OPENROUTER PROCESSING", ROLE, ": ping", ONE, ":", TWO, STOP], "\n"),
        ("names and ids", &[ROLE, &named, TWO, STOP], "\n"),
        ("data over two lines", &[ROLE, &split, TWO, STOP], "\n"),
    ];
    let mut calls = 0;
    for (case, lines, end) in cases {
        let sent = frames(&[lines, &[USAGE, DONE]].concat(), end);
        let wanted = frames(&[lines, &[DONE]].concat(), end);
        for bytes in [1, 7, usize::MAX] {
            world.upstream.push(Answer::sse([sent.clone()]).in_chunks_of(bytes));
            let seen = world.gateway.client().chat_stream("echo", "hi").await;
            assert_eq!((seen.code(), seen.text()), (200, wanted.clone()), "{case} by {bytes}");
            assert!(seen.is_whole, "{case} by {bytes}");
            let event = world.outcome(&seen).await;
            let told = ["event", "content", "finish_reason", "prompt_tokens", "tokens_used"];
            let told = told.map(|key| event[key].clone());
            let expected = json!(["completion", "one twö", "stop", 5, 7]);
            assert_eq!(json!(told), expected, "{case} by {bytes}");
            assert_eq!(event["stream"], true);
            calls += 1;
        }
    }
    world.end(calls).await;
}

#[tokio::test]
async fn usage_is_asked_for_always_and_told_to_whom_asked() {
    let world = World::new().await;
    let asked = json!({"include_usage": true});
    let cases = [
        (Value::Null, asked.clone(), false),
        (asked.clone(), asked.clone(), true),
        (json!({"include_usage": false}), asked.clone(), false),
        (
            json!({"x_new": [1], "include_obfuscation": false}),
            json!({"x_new": [1], "include_obfuscation": false, "include_usage": true}),
            false,
        ),
    ];
    let calls = cases.len();
    for (number, (options, upstream, sees_usage)) in cases.into_iter().enumerate() {
        let mut body = chat_body("echo", "one two three");
        body["stream"] = true.into();
        if !options.is_null() {
            body["stream_options"] = options.clone();
        }
        let seen = world.gateway.client().post("/v1/chat/completions", &body).await;
        assert_eq!(world.upstream.requests()[number].json()["stream_options"], upstream);
        let shown = seen.data().iter().any(|data| data.contains(r#""total_tokens":6"#));
        assert_eq!(shown, sees_usage, "{options}: {}", seen.text());
        assert_eq!(seen.content(), "one two three");
        assert_eq!(world.outcome(&seen).await["tokens_used"], 6, "{options}");
    }
    // Nothing is asked for in a call that does not stream.
    let plain = world.gateway.client().chat("echo", "one").await;
    assert_eq!(plain.code(), 200);
    assert_eq!(world.upstream.requests()[calls].json().get("stream_options"), None);
    world.end(calls + 1).await;
}

#[tokio::test]
async fn a_deployment_without_usage_is_not_asked_and_its_tokens_are_unknown() {
    let world = World::with(", include_usage: false", "").await;
    let seen = world.gateway.client().chat_stream("echo", "one two").await;
    assert_eq!(seen.content(), "one two");
    assert_eq!(world.upstream.requests()[0].json().get("stream_options"), None);
    let event = world.outcome(&seen).await;
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one two")));
    assert_eq!((&event["tokens_used"], &event["cost_usd"]), (&Value::Null, &Value::Null));
    world.end(1).await;
}

#[tokio::test]
async fn a_server_that_sends_no_done_ends_cleanly() {
    let world = World::new().await;
    let sent = frames(&[ROLE, ONE, STOP], "\n");
    world.upstream.push(Answer::sse([sent.clone()]));
    let seen = world.gateway.client().chat_stream("echo", "hi").await;
    assert_eq!((seen.text(), seen.is_whole), (sent, true));
    let event = world.outcome(&seen).await;
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one ")));
    world.end(1).await;
}

/// Whatever breaks a stream that has begun: the caller keeps what came, and learns that there
/// should have been more; nobody is asked again.
#[tokio::test]
async fn a_stream_that_breaks_on_its_way_ends_as_an_error_and_never_cleanly() {
    let config =
        "router_settings:\n  num_retries: 2\n  timeout: 0.3\n  fallbacks: [{echo: [echo]}]\n";
    let world = World::with("", config).await;
    let said = "data: {\"error\":{\"message\":\"boiler out\",\"type\":\"server_error\",\
                \"param\":null,\"code\":503}}\n\n";
    let vllm = "data: {\"object\":\"error\",\"message\":\"engine died\",\"code\":500}\n\n";
    let begin = || Answer::sse([frames(&[ROLE, ONE], "\n"), frames(&[TWO], "\n")]);
    let then = |piece: &str| Answer::sse([frames(&[ROLE, ONE], "\n"), piece.to_owned()]);
    let gate = Gate::new;
    let cases: [(&str, Answer, Bend, &str, &str); 9] = [
        ("cut", begin(), |answer| answer.cut_after(1), "stream_cut", "ended before its end"),
        ("reset", begin(), |answer| answer.reset_after(1), "stream_cut", "ended before its end"),
        ("half an event", then("data: {\"cho"), |a| a, "stream_cut", "ended before its end"),
        ("ended early", then(": bye\n\n"), |answer| answer, "stream_cut", "ended before its end"),
        ("silence", begin(), |answer| answer.stall_after(1), "timeout", "sent nothing for 300ms"),
        ("error", then(said), |answer| answer, "stream_error", "boiler out"),
        ("vLLM's error", then(vllm), |answer| answer, "stream_error", "engine died"),
        ("garbage", then("data: <html>\n\n"), |answer| answer, "bad_response", "not JSON: <html>"),
        ("no events", then("\u{1}\u{2}\n\n"), |answer| answer, "stream_cut", "before its end"),
    ];
    let mut calls = 0;
    for (case, answer, bend, kind, message) in cases {
        let gate = gate();
        world.upstream.push(bend(answer.pause_after(1, &gate)));
        let asked_before = world.upstream.requests().len();
        let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
        let first = open.read_until("one ").await.expect("the beginning passes at once");
        assert!(first.ends_with("}\n\n"), "{case}: whole events only: {first}");
        gate.open();
        let seen = open.finish().await;
        let error = if case == "vLLM's error" {
            // The provider's own bytes, as everything else in a stream.
            assert!(seen.text().ends_with(vllm) && !seen.is_whole, "{}", seen.text());
            json!({"message": "engine died"})
        } else {
            stream_error(&seen)
        };
        let told = error["message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{case}: {told}");
        let event = world.outcome(&seen).await;
        assert_eq!(
            (&event["event"], &event["error_type"]),
            (&json!("error"), &json!(kind)),
            "{case}"
        );
        let told = event["error_message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{case}: {told}");
        assert_eq!(event["content"], "one ", "{case}");
        assert_eq!(event["severity"], "error", "{case}");
        assert_eq!(world.upstream.requests().len(), asked_before + 1, "{case}: asked again");
        world.call_works().await;
        calls += 2;
    }
    world.end(calls).await;
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_event_is_an_error_with_a_status() {
    let world = World::with(", stream_timeout: 0.3", "").await;
    let error = json!({"error": {"message": "too busy", "type": "overloaded_error"}});
    let error = format!("data: {error}\n\n");
    let page = "<html><head><title>Captive portal</title></head></html>";
    let cases = [
        // First: on a connection that has served before it would be asked again.
        ("closed", Answer::close(), 502, "connection", "could not get an answer"),
        ("silence", Answer::stall(), 408, "timeout", "no first token within 300ms"),
        (
            "head only",
            Answer::sse([frames(&[ROLE], "\n")]).stall_after(0),
            408,
            "timeout",
            "no first token",
        ),
        ("nothing", Answer::sse([""; 0]), 502, "stream_cut", "before its first event"),
        (
            "cut",
            Answer::sse([ROLE, "\n\n"]).cut_after(1),
            502,
            "connection",
            "could not get an answer",
        ),
        ("garbage", Answer::sse(["data: nonsense\n\n"]), 502, "bad_response", "not JSON: nonsense"),
        ("error", Answer::sse([error]), 529, "stream_error", "too busy"),
        ("page", Answer::body(200, "text/html", page), 502, "bad_response", "without JSON"),
        ("no HTTP", Answer::garbage("SSH-2.0-OpenSSH\r\n"), 502, "connection", "could not get"),
    ];
    let calls = 2 * cases.len();
    for (case, answer, status, kind, message) in cases {
        world.upstream.push(answer);
        let seen = world.gateway.client().chat_stream("echo", "hi").await;
        assert_eq!(seen.code(), status, "{case}: {}", seen.text());
        let error = openai_error(&seen);
        let told = error["message"].as_str().unwrap_or_default();
        assert!(told.contains(message), "{case}: {told}");
        let event = world.outcome(&seen).await;
        assert_eq!(
            (&event["event"], &event["error_type"]),
            (&json!("error"), &json!(kind)),
            "{case}"
        );
        assert_eq!(event["error_message"], told, "{case}");
        assert_eq!(event["status"], status, "{case}");
        world.call_works().await;
    }
    world.end(calls).await;
}

#[tokio::test]
async fn a_provider_that_streams_to_nobody_s_wish_or_not_at_all_is_taken_as_it_is() {
    let world = World::new().await;
    // A stream was asked for, and a whole answer comes: it is an answer.
    let whole = json!({"id": "w", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "whole"}}]});
    world.upstream.push(Answer::json(200, &whole));
    let seen = world.gateway.client().chat_stream("echo", "hi").await;
    assert_eq!((seen.code(), seen.json()), (200, whole));
    assert_eq!(world.outcome(&seen).await["content"], "whole");
    // A whole answer was asked for, and a stream comes: that is none.
    world.upstream.push(Answer::sse([frames(&[ROLE, ONE, STOP, DONE], "\n")]));
    let seen = world.gateway.client().chat("echo", "hi").await;
    assert_eq!(seen.code(), 502);
    openai_error(&seen);
    assert_eq!(world.outcome(&seen).await["error_type"], "bad_response");
    world.end(2).await;
}

/// What the receiver is told while a stream runs does not touch the stream.
#[tokio::test]
async fn a_stream_whose_pieces_are_told_goes_on_after_every_pause() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let wanted = events(&receiver).replace("[completion, error]", "[completion, error, streaming]");
    let gateway = Gateway::start(BINARY, &(model(&upstream) + &wanted)).await;
    let world = World { upstream, receiver, gateway };
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let frames = [ROLE, ONE, ": a", ": b", TWO, STOP, DONE].map(|line| frames(&[line], "\n"));
    let answer = Answer::sse(frames.clone());
    let answer = answer.pause_after(2, &gates[0]).pause_after(3, &gates[1]);
    world.upstream.push(answer.pause_after(4, &gates[2]));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    let mut seen = open.read_until("one ").await.expect("the first piece passes");
    // By now it is in the journal: the receiver knows of it.
    let is_piece = |item: &Value| item["event"] == "streaming" && item["content"] == "one ";
    world
        .receiver
        .wait_until("the first piece", |seen| accepted_items(seen).iter().any(is_piece))
        .await;
    for (gate, comment) in gates.iter().zip([": a", ": b"]) {
        gate.open();
        seen += &open.read_until(comment).await.expect("comments pass");
    }
    gates[2].open();
    let rest = open.finish().await;
    assert_eq!((seen + &rest.text(), rest.is_whole), (frames.concat(), true));
    let event = world.outcome(&rest).await;
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one twö")));
    world.end(1).await;
}
