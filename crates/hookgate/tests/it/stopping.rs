//! SIGTERM: no new calls, running ones finish, and what is cut says so.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Answer, Gate, Gateway, client::Seen};
use tokio::{net::TcpStream, task::JoinSet};

use crate::world::{World, stream_error};

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

fn end() -> String {
    let choices = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": choices}))
}

/// Returns once nobody can connect any more.
async fn refuses(gateway: &Gateway) {
    let refused = async { while TcpStream::connect(gateway.address()).await.is_ok() {} };
    tokio::time::timeout(testkit::DEADLINE, refused).await.expect("it stops listening");
}

fn only_event(world_items: &[Value], seen: &Seen) -> Value {
    let id = seen.header("x-hookgate-request-id").expect("every admitted call is named");
    let own: Vec<_> = world_items.iter().filter(|item| item["request_id"] == id).collect();
    assert_eq!(own.len(), 1, "{world_items:#?}");
    own[0].clone()
}

#[tokio::test]
async fn running_calls_finish_and_no_new_ones_begin() {
    let world = World::new().await;
    let (plain, streamed) = (Gate::new(), Gate::new());
    world.upstream.push(Answer::echo().pause_before_head(&plain));
    let mut running = JoinSet::new();
    let client = world.gateway.client();
    running.spawn(async move { client.chat("echo", "plain").await });
    plain.reached_by(1).await;
    let frames = [delta("one "), delta("two"), end()];
    world.upstream.push(Answer::sse(frames).pause_after(1, &streamed));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the first delta passes");
    // A connection without a call is not waited for, nor is one that has only just been made.
    let idle = TcpStream::connect(world.gateway.address()).await.expect("it listens");

    world.gateway.send_sigterm();
    refuses(&world.gateway).await;
    assert!(!world.upstream.requests().is_empty());
    plain.open();
    streamed.open();
    let seen_plain = running.join_next().await.expect("spawned").expect("it does not panic");
    assert_eq!((seen_plain.code(), seen_plain.content().as_str()), (200, "plain"));
    let seen_stream = open.finish().await;
    assert!(seen_stream.is_whole, "{}", seen_stream.text());
    assert_eq!(seen_stream.data().last().map(String::as_str), Some("[DONE]"));

    let World { receiver, mut gateway, .. } = world;
    let status = gateway.wait().await;
    assert_eq!(status.code(), Some(0), "{:#?}", gateway.log());
    let items = receiver.items();
    assert_eq!(items.len(), 2, "{items:#?}");
    assert_eq!(only_event(&items, &seen_plain)["content"], "plain");
    let event = only_event(&items, &seen_stream);
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one two")));
    drop(idle);
}

#[tokio::test]
async fn a_second_signal_cuts_what_still_runs_with_an_error() {
    let world = World::new().await;
    let gate = Gate::new();
    world.upstream.push(Answer::echo().pause_before_head(&gate));
    let mut running = JoinSet::new();
    let client = world.gateway.client();
    running.spawn(async move { client.chat("echo", "plain").await });
    gate.reached_by(1).await;
    world.upstream.push(Answer::sse([delta("one ")]).pause_after(1, &gate));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the first delta passes");

    world.gateway.send_sigterm();
    refuses(&world.gateway).await;
    let second = Instant::now();
    world.gateway.send_sigterm();
    let seen_plain = running.join_next().await.expect("spawned").expect("it does not panic");
    assert_eq!(seen_plain.code(), 503, "{}", seen_plain.text());
    assert_eq!(crate::world::openai_error(&seen_plain)["code"], "interrupted");
    let seen_stream = open.finish().await;
    assert_eq!(stream_error(&seen_stream)["code"], "interrupted");

    let World { receiver, mut gateway, .. } = world;
    let status = gateway.wait().await;
    assert_eq!(status.code(), Some(0), "{:#?}", gateway.log());
    assert!(second.elapsed() < Duration::from_secs(20), "it did not wait for the drain's end");
    let items = receiver.items();
    assert_eq!(items.len(), 2, "{items:#?}");
    for (seen, content) in [(&seen_plain, Value::Null), (&seen_stream, json!("one "))] {
        let event = only_event(&items, seen);
        let told = ["event", "error_type", "severity", "content"].map(|key| event[key].clone());
        assert_eq!(json!(told), json!(["error", "interrupted", "critical", content]));
    }
}

#[tokio::test]
async fn the_drain_has_an_end_and_what_is_late_is_cut_and_named() {
    let world = World::with("", "hookgate: {drain_ms: 200}\n").await;
    let gate = Gate::new();
    world.upstream.push(Answer::sse([delta("one ")]).pause_after(1, &gate));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the first delta passes");
    world.gateway.send_sigterm();
    let seen = open.finish().await;
    assert_eq!(stream_error(&seen)["code"], "interrupted");
    let World { receiver, mut gateway, .. } = world;
    assert_eq!(gateway.wait().await.code(), Some(0));
    assert_eq!(only_event(&receiver.items(), &seen)["error_type"], "interrupted");
    assert!(gateway.log().iter().any(|line| line.contains("cut off")), "{:#?}", gateway.log());
}

#[tokio::test]
async fn a_restart_serves_the_same_data_and_tells_nothing_twice() {
    let world = World::new().await;
    world.call_works().await;
    let World { upstream, receiver, gateway } = world;
    let gateway = gateway.terminate().await.start().await;
    let world = World { upstream, receiver, gateway };
    world.call_works().await;
    world.end(2).await;
}
