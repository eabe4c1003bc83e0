//! Calls that become traces, from the caller's request to the receiver of OTLP.

use serde_json::{Value, json};
use testkit::{
    Answer, Gate, Gateway, Receiver, Upstream,
    client::chat_body,
    receiver::{Arrival, Reply},
};

use crate::{
    delivery_world::{QUICK, call, config, of, webhook, webhooks},
    support::BINARY,
    world::{deployment, models},
};

/// The spans of a body, in its order.
fn spans(arrival: &Arrival) -> Vec<Value> {
    let body = arrival.json();
    let elements = body["resourceSpans"].as_array().expect("an export request").clone();
    elements.iter().map(|element| element["scopeSpans"][0]["spans"][0].clone()).collect()
}

/// An attribute of a span, whatever its type.
fn attribute(span: &Value, key: &str) -> Option<Value> {
    let attributes = span["attributes"].as_array().expect("a span has attributes");
    let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
    found["value"].as_object().and_then(|value| value.values().next().cloned())
}

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().expect("a span has a name")).collect()
}

/// What came for one entry of these once `count` bodies did.
async fn wait(receiver: &Receiver, name: &str, count: usize) -> Vec<Arrival> {
    let arrivals = receiver.wait_until(name, |seen| of(seen, name).len() >= count).await;
    of(&arrivals, name)
}

#[tokio::test]
async fn a_call_with_a_fallback_is_a_trace_of_its_attempts_in_both_profiles() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let receiver = Receiver::start().await;
    let deployments = [
        deployment("echo", "openai/echo-1", &first.openai_url(), ""),
        deployment("spare", "anthropic/claude-x", &second.url(), ""),
    ];
    let config = format!(
        "{}  fallbacks: [{{echo: [spare]}}]\n{}hookgate: {{ballast_bytes: 0}}\n",
        models(&deployments),
        webhooks(&[
            webhook("whole", &receiver, ", format: otlp"),
            webhook("private", &receiver, ", format: otlp, privacy: true, integers: number"),
            webhook("genai", &receiver, ", format: otlp, profile: genai"),
        ]),
    );
    let gateway = Gateway::start(BINARY, &config).await;
    first.push(Answer::error(500, "no room"));
    let mut body = chat_body("echo", "canary-prompt");
    body["stream"] = true.into();
    body["user"] = "u-1".into();
    body["session_id"] = "s-1".into();
    body["trace"] = json!({"trace_id": "workflow-1", "parent_span_id": "00f067aa0ba902b7",
        "generation_name": "Summarise", "team": "search"});
    let client = gateway.client().with_header("x-session-id", "not this one: the body wins");
    let seen = client.post("/v1/chat/completions", &body).await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "canary-prompt"), "{}", seen.text());
    for upstream in [&first, &second] {
        let sent = upstream.requests()[0].json();
        assert_eq!((&sent["trace"], &sent["session_id"]), (&Value::Null, &Value::Null));
    }

    let whole = spans(&wait(&receiver, "whole", 1).await[0]);
    let attempts = ["provider attempt 1: OpenAI", "provider attempt 2: Anthropic"];
    assert_eq!(names(&whole), ["Summarise", attempts[0], attempts[1], "generation"]);
    let codes: Vec<_> = whole.iter().map(|span| span["status"]["code"].clone()).collect();
    assert_eq!(codes, [1, 2, 1, 1]);
    let root = &whole[0];
    // sha256("workflow-1")
    assert_eq!(root["traceId"], "1ad5d39cd541163b57e635d3e9f2cf63");
    assert_eq!(root["parentSpanId"], "00f067aa0ba902b7");
    for child in &whole[1..] {
        assert_eq!(
            (&child["traceId"], &child["parentSpanId"]),
            (&root["traceId"], &root["spanId"])
        );
    }
    let told = |key: &str| attribute(root, key).unwrap_or_default();
    assert_eq!(told("user.id"), "u-1");
    assert_eq!(told("session.id"), "s-1");
    assert_eq!(told("trace.metadata.team"), "search");
    assert_eq!(told("gen_ai.provider.name"), "anthropic");
    assert_eq!(told("gen_ai.usage.total_tokens"), "2", "a word was asked and answered");
    for key in ["trace.input", "span.input", "gen_ai.prompt", "trace.output", "gen_ai.completion"] {
        assert!(told(key).as_str().is_some_and(|text| text.contains("canary-prompt")), "{key}");
    }

    let arrival = wait(&receiver, "private", 1).await.remove(0);
    assert!(!String::from_utf8_lossy(&arrival.body).contains("canary-prompt"));
    let private = spans(&arrival);
    assert_eq!(private[0]["spanId"], root["spanId"], "one call, the same spans everywhere");
    assert_eq!(attribute(&private[0], "gen_ai.usage.total_tokens"), Some(json!(2)));

    let genai = spans(&wait(&receiver, "genai", 1).await[0]);
    assert_eq!(names(&genai), ["chat echo", "attempt echo-1", "attempt claude-x"]);
    assert_eq!(genai[0]["traceId"], root["traceId"]);
    assert_eq!(attribute(&genai[0], "gen_ai.conversation.id"), Some(json!("s-1")));
    assert_eq!(attribute(&genai[1], "error.type"), Some(json!("provider_error")));
}

#[tokio::test]
async fn calls_that_fail_are_traces_too() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = start(&upstream, &[webhook("traces", &receiver, ", format: otlp")]).await;
    let gate = Gate::new();
    upstream.push(Answer::echo().pause_after(3, &gate));
    let mut open = gateway.client().open_stream("echo", "left alone").await.expect("it begins");
    open.read_until("left").await.expect("the caller gets the beginning");
    drop(open);
    let left = spans(&wait(&receiver, "traces", 1).await[0]);
    assert_eq!(names(&left), ["LLM Generation", "provider attempt 1: OpenAI", "generation"]);
    assert_eq!(left[0]["status"]["code"], 2);
    assert_eq!(left[0]["events"][0]["name"], "exception");
    let completion = attribute(&left[0], "gen_ai.completion").unwrap_or_default();
    assert!(completion.as_str().is_some_and(|text| text.contains("left")), "{completion}");
    gate.open();

    let refused = gateway.client().chat("nobody", "hi").await;
    assert_eq!(refused.code(), 400);
    let unknown = spans(&wait(&receiver, "traces", 2).await[1]);
    assert_eq!(names(&unknown), ["LLM Generation"]);
    assert_eq!(attribute(&unknown[0], "span.level"), Some(json!("ERROR")));
}

async fn start(upstream: &Upstream, entries: &[String]) -> Gateway {
    Gateway::start(BINARY, &config(upstream, &format!("{}{QUICK}", webhooks(entries)))).await
}

#[tokio::test]
async fn only_what_otlp_names_is_tried_again_and_with_the_same_bytes() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = start(&upstream, &[webhook("traces", &receiver, ", format: otlp")]).await;
    let client = gateway.client();
    receiver.fail(1, 503);
    call(&client, "again").await;
    let seen = wait(&receiver, "traces", 2).await;
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));

    // OTLP: a 500 must not be tried again, and of a partial success nothing either.
    receiver.fail(1, 500);
    call(&client, "never again").await;
    let partial = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"odd"}}"#;
    wait(&receiver, "traces", 3).await;
    receiver.push(Reply::status(200).body(partial));
    call(&client, "in part").await;
    wait(&receiver, "traces", 4).await;
    // It is told all the same.
    gateway.wait_for_log("the receiver rejected 1 span: odd").await;
    call(&client, "last").await;
    wait(&receiver, "traces", 5).await;
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    let bodies = of(&receiver.arrivals(), "traces");
    assert_eq!(bodies.len(), 5, "neither came twice");
}

#[tokio::test]
async fn a_batch_is_one_request_with_the_spans_of_its_calls() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let more = ", format: otlp, batch_size: 3, flush_interval: 60";
    let gateway = start(&upstream, &[webhook("traces", &receiver, more)]).await;
    let client = gateway.client();
    for text in ["one", "two", "three"] {
        call(&client, text).await;
    }
    let arrivals = wait(&receiver, "traces", 1).await;
    let spans = spans(&arrivals[0]);
    assert_eq!(spans.len(), 6, "a root and an attempt of each");
    let prompts: Vec<_> =
        spans.iter().filter_map(|span| attribute(span, "gen_ai.prompt")).collect();
    for (prompt, text) in prompts.iter().zip(["one", "two", "three"]) {
        assert!(prompt.as_str().is_some_and(|prompt| prompt.contains(text)), "{prompt}");
    }
}
