//! Callers who do not read, answers without room, and providers that work for nothing.

use serde_json::json;
use testkit::{Answer, Gate, client::chat_body};

use crate::world::{World, deployment, models, openai_error};

#[tokio::test]
async fn a_call_that_a_provider_worked_on_is_not_sent_again() {
    let world = World::new().await;
    world.call_works().await;
    // Its connection has served, so that an early close would be excused.
    let gate = Gate::new();
    world.upstream.push(Answer::garbage("").pause_before_head(&gate));
    let client = world.gateway.client();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move { client.chat("echo", "worked on").await });
    gate.reached_by(1).await;
    // Meanwhile another call, answered without a provider, takes longer than an early close.
    let mut body = chat_body("echo", "hi");
    body["mock_response"] = "late".into();
    body["mock_delay"] = json!(0.4);
    let late = world.gateway.client().post("/v1/chat/completions", &body).await;
    assert_eq!(late.code(), 200, "{}", late.text());
    gate.open();
    let seen = running.join_next().await.expect("it was spawned").expect("it does not panic");
    assert_eq!((seen.code(), world.upstream.requests().len()), (502, 2), "{}", seen.text());
    assert_eq!(world.outcome(&seen).await["error_type"], "connection");
    world.end(3).await;
}

#[tokio::test]
async fn a_caller_who_stops_reading_loses_its_connection_and_its_call_ends() {
    let world = World::with("", "hookgate:\n  limits: {write_ms: 300}\n").await;
    // More than the buffers on the way hold, and no end.
    let text = "x".repeat(1 << 20);
    let delta = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    let frames = vec![format!("data: {delta}\n\n"); 32];
    world.upstream.push(Answer::sse(frames).stall_after(32));
    let open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    let event = world.event("the call nobody reads", |event| event["event"] == "error").await;
    let told = ["error_type", "status"].map(|key| event[key].clone());
    assert_eq!(json!(told), json!(["client_disconnected", 499]));
    world.upstream.wait_for_caller_gone(0).await;
    drop(open);
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_a_503_and_its_bytes_are_free_again() {
    let limits = "hookgate:\n  limits: {in_flight_bytes_max: 1048576, captured_bytes_max: 1024}\n";
    let world = World::with("", limits).await;
    let answer = |bytes: usize| {
        let message = json!({"role": "assistant", "content": "x".repeat(bytes)});
        let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
        Answer::json(200, &json!({"id": "large", "choices": [choice]}))
    };
    for _ in 0..3 {
        world.upstream.push(answer(2 << 20));
        let seen = world.gateway.client().chat("echo", "hi").await;
        assert_eq!((seen.code(), seen.header("retry-after")), (503, Some("1")), "{}", seen.text());
        assert_eq!(openai_error(&seen)["code"], "overloaded");
        assert_eq!(world.outcome(&seen).await["error_type"], "overloaded");
        world.upstream.push(answer(700 << 10));
        let seen = world.gateway.client().chat("echo", "hi").await;
        assert_eq!((seen.code(), seen.content().len()), (200, 700 << 10));
    }
    world.end(6).await;
}

#[tokio::test]
async fn what_an_earlier_attempt_answered_takes_no_room_from_the_next() {
    let limits = "hookgate:\n  limits: {in_flight_bytes_max: 1048576, captured_bytes_max: 1024}\n";
    let world = World::build(|upstream| {
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        models(&[echo]).replace("num_retries: 0", "num_retries: 2") + limits
    })
    .await;
    for _ in 0..2 {
        let failing = Answer::error(500, &"x".repeat(700 << 10));
        world.upstream.push(failing.header("retry-after", "0"));
    }
    world.call_works().await;
    assert_eq!(world.upstream.requests().len(), 3);
    world.end(1).await;
}
