//! The fakes do what they are scripted to, seen from the other side of the wire.

use std::{
    fs::Permissions,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
};

use serde_json::json;
use testkit::{
    Answer, Client, Gate, Gateway, Receiver, Reply, Upstream, client::chat_body,
    upstream::AnswerState,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn address(url: &str) -> SocketAddr {
    let url = url.trim_start_matches("http://");
    url.split('/').next().and_then(|host| host.parse().ok()).expect("fakes have such URLs")
}

fn caller(upstream: &Upstream) -> Client {
    Client::new(address(&upstream.url()))
}

#[tokio::test]
async fn an_upstream_echoes_in_the_dialect_of_the_path_plain_and_streamed() {
    let upstream = Upstream::start().await;
    let client = caller(&upstream);

    let plain = client.chat("m", "one two three").await;
    assert_eq!((plain.code(), plain.content().as_str()), (200, "one two three"));
    assert_eq!(plain.json()["usage"]["completion_tokens"], 3);

    let stream = client.chat_stream("m", "one two three").await;
    assert!(stream.is_whole);
    assert_eq!(stream.content(), "one two three");
    assert_eq!(stream.data().len(), 6, "role, three words, the end, [DONE]");
    assert!(!stream.text().contains("usage"));

    let mut asked = chat_body("m", "one two three");
    asked["stream"] = true.into();
    asked["stream_options"] = json!({"include_usage": true});
    let with_usage = client.post("/v1/chat/completions", &asked).await;
    assert!(with_usage.data()[5].contains(r#""total_tokens":6"#));

    let message = client.post("/v1/messages", &chat_body("c", "hi there")).await.json();
    assert_eq!(message["content"][0]["text"], "hi there");
    let events = client.post("/v1/messages", &asked).await.text();
    assert!(events.starts_with("event: message_start\ndata: {"));
    assert!(events.contains(r#""text":"three""#) && events.contains("event: message_stop"));

    let seen = upstream.requests();
    assert_eq!(seen.len(), 5);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].json()["messages"][0]["content"], "one two three");
}

#[tokio::test]
async fn a_scripted_answer_is_given_once_and_then_the_default_again() {
    let upstream = Upstream::answering(Answer::text("default")).await;
    upstream.push(Answer::error(429, "slow down").header("retry-after", "7"));
    let client = caller(&upstream);
    let limited = client.chat("m", "x").await;
    assert_eq!((limited.code(), limited.header("retry-after")), (429, Some("7")));
    assert_eq!(limited.json()["error"]["message"], "slow down");
    assert_eq!(client.chat("m", "x").await.content(), "default");
}

#[tokio::test]
async fn a_broken_answer_breaks_where_the_script_says() {
    let upstream = Upstream::start().await;
    let client = caller(&upstream);
    let cases = [
        ("closed before the head", Answer::close(), None, ""),
        ("reset before the head", Answer::reset(), None, ""),
        ("garbage", Answer::garbage("no HTTP\r\n\r\n"), None, ""),
        ("cut stream", Answer::sse(["a", "b", "c"]).cut_after(2), Some(200), "ab"),
        (
            "cut length",
            Answer::body(200, "text/plain", "abcd").in_chunks_of(2).cut_after(1),
            Some(200),
            "ab",
        ),
    ];
    for (name, answer, status, body) in cases {
        upstream.push(answer);
        let seen = client.chat("m", "x").await;
        assert_eq!(
            (seen.status, seen.text().as_str(), seen.is_whole),
            (status, body, false),
            "{name}"
        );
    }
    let gate = Gate::new();
    upstream.push(Answer::sse(["a", "b"]).pause_after(1, &gate).reset_after(1));
    let mut open = client.open_stream("m", "x").await.expect("the head comes");
    assert_eq!(open.next_piece().await.expect("before the reset").as_deref(), Some(&b"a"[..]));
    gate.open();
    let error = open.next_piece().await.expect_err("the reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_caller_who_leaves_in_a_pause_or_a_stall_is_noticed() {
    let upstream = Upstream::start().await;
    let client = caller(&upstream);
    let gate = Gate::new();
    let leaving = [Answer::echo().pause_after(1, &gate), Answer::echo().stall_after(1)];
    for (index, answer) in leaving.into_iter().enumerate() {
        upstream.push(answer);
        let mut open = client.open_stream("m", "x").await.expect("the head comes");
        open.read_until("assistant").await.expect("the first chunk comes");
        drop(open);
        upstream.wait_for_caller_gone(index).await;
    }
}

#[tokio::test]
async fn a_gate_holds_an_answer_until_it_opens() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    upstream.push(Answer::text("late").pause_before_head(&gate));
    let client = caller(&upstream);
    let (seen, ()) = tokio::join!(client.chat("m", "x"), async {
        gate.reached_by(1).await;
        gate.open();
    });
    assert_eq!(seen.content(), "late");
}

#[tokio::test]
async fn a_receiver_answers_by_script_and_counts_what_it_accepted() {
    let receiver = Receiver::start().await;
    receiver.fail(2, 503);
    receiver.push(Reply::status(429).header("retry-after", "3"));
    let client = Client::new(address(&receiver.url()));
    let mut statuses = Vec::new();
    for items in [json!([1]), json!([2]), json!([3]), json!([4, 5]), json!({"six": 6})] {
        statuses.push(client.post("/hook", &items).await.code());
    }
    assert_eq!(statuses, [503, 503, 429, 200, 200]);
    client.request("POST", "/hook", b"{\"n\":7}\n{\"n\":8}\n").await;
    let items = receiver.wait_for_items(5).await;
    assert_eq!(items, [json!(4), json!(5), json!({"six": 6}), json!({"n": 7}), json!({"n": 8})]);
    assert_eq!(receiver.arrivals().len(), 6);
}

#[tokio::test]
async fn a_receiver_that_went_down_refuses_and_comes_back_at_its_address() {
    let mut receiver = Receiver::start().await;
    let client = Client::new(address(&receiver.url()));
    assert_eq!(client.post("/hook", &json!({})).await.code(), 200);
    receiver.go_down().await;
    assert_eq!(client.post("/hook", &json!({})).await.status, None);
    receiver.come_up().await;
    assert_eq!(client.post("/hook", &json!({})).await.code(), 200);
    assert_eq!(receiver.arrivals().len(), 2);
}

#[tokio::test]
async fn a_reused_connection_dies_where_the_test_wants_it_to() {
    let upstream = Upstream::start().await;
    let request = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
    let connect = async || {
        let mut stream = TcpStream::connect(address(&upstream.url())).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).await.expect("it answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        stream
    };
    let mut reused = connect().await;
    upstream.refuse_reused(1);
    reused.write_all(request).await.expect("it still reads");
    assert_eq!(reused.read(&mut [0; 64]).await.unwrap_or_default(), 0, "closed, not answered");

    let mut idle = connect().await;
    upstream.wait_until("the answer to end", |seen| seen[1].state == AnswerState::Done).await;
    upstream.close_idle();
    assert_eq!(idle.read(&mut [0; 64]).await.expect("a close in good order"), 0);
    assert_eq!((upstream.requests().len(), upstream.connections()), (2, 2));
}

/// Stands in for the binary: announces its port, ends in good order on SIGTERM.
const STAND_IN: &str = r#"
port=$7; [ "$port" = 0 ] && port=4242
echo "life at $port" >&2
trap 'echo drained; exit 3' TERM
echo "INFO Hookgate listens on http://127.0.0.1:$port (pid $$)"
mkfifo fifo 2>/dev/null; read -r _ <> fifo
"#;

#[tokio::test]
async fn a_gateway_is_started_killed_restarted_on_its_port_and_ended() {
    let directory = tempfile::tempdir().expect("the system has room");
    let binary = directory.path().join("stand-in");
    std::fs::write(&binary, format!("#!/bin/sh\n{STAND_IN}")).expect("writable");
    std::fs::set_permissions(&binary, Permissions::from_mode(0o700)).expect("our file");

    let gateway = Gateway::start(binary.to_str().expect("ASCII"), "model_list: []\n").await;
    assert_eq!(gateway.url(), "http://127.0.0.1:4242");
    let killed = gateway.kill().await;
    assert_eq!(killed.status.signal(), Some(9));
    let again = killed.start().await;
    assert_eq!(again.address().port(), 4242);
    again.wait_for_log("life at 4242").await;
    let ended = again.terminate().await;
    assert_eq!(ended.status.code(), Some(3));
    assert_eq!(ended.log().last().map(String::as_str), Some("drained"));
    assert_eq!(ended.log().iter().filter(|line| line.starts_with("INFO")).count(), 2);
}
