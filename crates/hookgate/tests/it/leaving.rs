//! Callers who leave, and callers who read slowly.

use serde_json::{Value, json};
use testkit::{Answer, Gate, Receiver, client::chat_body};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::world::{World, deployment, models};

const DONE: &str = "data: [DONE]\n\n";

fn delta(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

fn stop() -> String {
    let choices = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    format!("data: {}\n\n", json!({"choices": choices}))
}

/// Sends a call and does not read its answer. Dropping the stream is leaving.
async fn sent(world: &World, body: &Value) -> TcpStream {
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let address = world.gateway.address();
    let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
    stream.write_all((head + &body).as_bytes()).await.expect("the gateway reads");
    stream
}

async fn client_disconnected(world: &World, number: usize) -> Value {
    world.upstream.wait_for_caller_gone(number).await;
    let left = |event: &Value| event["error_type"] == "client_disconnected";
    let event = world.event("the call whose caller left", left).await;
    let told = ["event", "status", "severity"].map(|key| event[key].clone());
    assert_eq!(json!(told), json!(["error", 499, "warning"]));
    event
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_cancels_the_call() {
    for stream in [false, true] {
        let world = World::new().await;
        let gate = Gate::new();
        world.upstream.push(Answer::echo().pause_before_head(&gate));
        let mut body = chat_body("echo", "hi");
        body["stream"] = stream.into();
        let caller = sent(&world, &body).await;
        gate.reached_by(1).await;
        drop(caller);
        let event = client_disconnected(&world, 0).await;
        assert_eq!((&event["content"], &event["stream"]), (&Value::Null, &json!(stream)));
        world.call_works().await;
        world.end(2).await;
    }
}

#[tokio::test]
async fn a_caller_who_leaves_in_the_middle_of_an_answer_cancels_the_call() {
    // Half of a whole answer: the caller has seen nothing of it, the gateway has.
    let world = World::new().await;
    let gate = Gate::new();
    let answer = json!({"choices": [{"message": {"content": "never whole"}}]});
    world.upstream.push(Answer::json(200, &answer).in_chunks_of(20).pause_after(1, &gate));
    let caller = sent(&world, &chat_body("echo", "hi")).await;
    gate.reached_by(1).await;
    drop(caller);
    client_disconnected(&world, 0).await;
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn a_caller_who_leaves_a_stream_cancels_it_and_what_was_seen_is_told() {
    for is_reset in [false, true] {
        let world = World::new().await;
        let gate = Gate::new();
        let frames = [delta("one "), delta("two "), delta("never"), stop()];
        world.upstream.push(Answer::sse(frames).pause_after(2, &gate));
        let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
        open.read_until("two ").await.expect("two deltas pass");
        if is_reset {
            open.reset().expect("the connection is there");
        } else {
            drop(open);
        }
        let event = client_disconnected(&world, 0).await;
        assert_eq!((&event["content"], &event["stream"]), (&json!("one two "), &json!(true)));
        assert_eq!((&event["finish_reason"], &event["tokens_used"]), (&Value::Null, &Value::Null));
        world.call_works().await;
        world.end(2).await;
    }
}

#[tokio::test]
async fn litellm_s_receivers_are_told_of_a_left_stream_as_a_success_with_499() {
    let posts = Receiver::start().await;
    let world = World::build(|upstream| {
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        let callbacks = format!(
            "  callbacks: [posts]
callback_settings:
  posts: {{callback_type: generic_api, endpoint: '{}', batch_size: 1}}
",
            posts.url()
        );
        models(&[echo]) + &callbacks
    })
    .await;
    let gate = Gate::new();
    world.upstream.push(Answer::sse([delta("one ")]).pause_after(1, &gate));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the delta passes");
    drop(open);
    client_disconnected(&world, 0).await;
    let post = posts.wait_for_items(1).await.remove(0);
    assert_eq!(
        (&post["status"], &post["error_information"]["error_code"]),
        (&json!("success"), &json!("499"))
    );
    assert_eq!(post["error_information"]["error_class"], "ClientDisconnected");
    assert_eq!(post["response"]["choices"][0]["message"]["content"], "one ");

    world.upstream.push(Answer::stall());
    let caller = sent(&world, &chat_body("echo", "hi")).await;
    world.upstream.wait_for(2).await;
    drop(caller);
    let post = posts.wait_for_items(2).await.remove(1);
    assert_eq!(
        (&post["status"], &post["error_information"]["error_code"]),
        (&json!("failure"), &json!("499"))
    );
    world.end(2).await;
    assert_eq!(posts.items().len(), 2);
}

#[tokio::test]
async fn a_caller_who_leaves_between_two_attempts_is_not_waited_for() {
    let world = World::build(|upstream| {
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        models(&[echo]).replace("num_retries: 0", "num_retries: 5")
    })
    .await;
    // The next attempt would be due in eight seconds.
    world.upstream.push(Answer::error(429, "later").header("retry-after", "8"));
    let caller = sent(&world, &chat_body("echo", "hi")).await;
    world
        .upstream
        .wait_until("the answer", |seen| {
            seen.first().is_some_and(|first| first.state == testkit::upstream::AnswerState::Done)
        })
        .await;
    drop(caller);
    let left = |event: &Value| event["error_type"] == "client_disconnected";
    let event = world.event("the call whose caller left", left).await;
    assert!(event["latency_ms"].as_u64().is_some_and(|ms| ms < 7_000), "{event}");
    assert_eq!(event["attempts"].as_array().map(Vec::len), Some(1), "{event}");
    assert_eq!(world.upstream.requests().len(), 1);
    world.end(1).await;
}

#[tokio::test]
async fn a_stream_is_complete_with_its_done_whoever_goes_then() {
    let world = World::new().await;
    // The provider says [DONE] and keeps the stream open: the caller is not kept waiting.
    let gate = Gate::new();
    let frames = || [delta("one "), stop(), DONE.to_owned()];
    world.upstream.push(Answer::sse(frames()).pause_after(3, &gate));
    let seen = world.gateway.client().chat_stream("echo", "hi").await;
    assert_eq!((seen.text(), seen.is_whole), (frames().concat(), true));
    let event = world.outcome(&seen).await;
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one ")));

    // The caller goes with [DONE] in hand: it has all that it wanted.
    let gate = Gate::new();
    world.upstream.push(Answer::sse(frames()).pause_after(3, &gate));
    let mut open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    let id = open.headers.iter().find(|(name, _)| name == "x-hookgate-request-id").cloned();
    let id = id.expect("every admitted call is named").1;
    open.read_until("[DONE]").await.expect("all passes");
    drop(open);
    let event = world.event("the outcome", |event| event["request_id"] == *id).await;
    assert_eq!((&event["event"], &event["content"]), (&json!("completion"), &json!("one ")));
    world.call_works().await;
    world.end(3).await;
}

#[tokio::test]
async fn a_caller_who_reads_slowly_holds_up_the_provider_not_the_memory() {
    const FRAMES: usize = 96;
    let world = World::build(|upstream| {
        let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), "");
        models(&[echo]) + "hookgate:\n  limits: {captured_bytes_max: 65536}\n"
    })
    .await;
    world.call_works().await;
    let resident_before = resident_bytes(&world);
    let gate = Gate::new();
    let mut frames = vec![delta(&"x".repeat(1 << 20)); FRAMES];
    frames.extend([stop(), DONE.to_owned()]);
    let bytes: usize = frames.iter().map(String::len).sum();
    world.upstream.push(Answer::sse(frames).pause_after(FRAMES, &gate));
    let open = world.gateway.client().open_stream("echo", "hi").await.expect("it begins");
    // Others are served meanwhile, and each of them gives the stream time to go on if it could.
    for _ in 0..50 {
        world.call_works().await;
    }
    let held = resident_bytes(&world).saturating_sub(resident_before);
    assert!(held < 32 << 20, "{held} bytes for a caller who does not read");
    assert!(!gate.is_reached(), "the provider could send {FRAMES} MiB to nobody");
    gate.open();
    let seen = open.finish().await;
    assert_eq!((seen.is_whole, seen.body.len()), (true, bytes), "nothing was lost");
    let event = world.outcome(&seen).await;
    assert_eq!((&event["event"], &event["truncated"]), (&json!("completion"), &json!(true)));
    world.end(52).await;
}

/// What the gateway's process holds in memory (proc(5), `VmRSS`).
fn resident_bytes(world: &World) -> usize {
    let path = format!("/proc/{}/status", world.gateway.pid());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    kib.expect("proc(5) says so") << 10
}
