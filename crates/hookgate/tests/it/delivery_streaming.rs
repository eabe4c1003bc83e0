//! Streaming events: ranges without gaps, coarser for a slow receiver, never after the outcome.

use serde_json::{Value, json};
use testkit::{Answer, Gate, Gateway, Receiver, Reply, Upstream, client::Seen, receiver::Arrival};

use crate::delivery_world::{QUICK, of, start, wait_failed, webhook, webhooks};

const ALL: &str = "events: {subscribe: [completion, error, streaming]}\n";
const TEXT: &str = "one two three four five six";

async fn world(sections: &str) -> (Upstream, Receiver, Gateway) {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entry = webhook("primary", &receiver, "");
    let gateway = start(&upstream, &format!("{}{ALL}{sections}", webhooks(&[entry]))).await;
    (upstream, receiver, gateway)
}

/// Waits until an outcome of the call was accepted; returns all that came of the call.
async fn events(receiver: &Receiver, seen: &Seen) -> Vec<Arrival> {
    let id = seen.header("x-hookgate-request-id").expect("every admitted call is named");
    let is_of_call = |arrival: &Arrival| arrival.json()["request_id"] == id;
    let arrivals = receiver
        .wait_until("the outcome", |arrivals| {
            arrivals.iter().any(|arrival| {
                is_of_call(arrival)
                    && arrival.is_accepted()
                    && arrival.json()["event"] != "streaming"
            })
        })
        .await;
    arrivals.into_iter().filter(is_of_call).collect()
}

fn pieces(arrivals: &[Arrival], choice: u64) -> Vec<Value> {
    let accepted = arrivals.iter().filter(|arrival| arrival.is_accepted());
    let all = accepted.map(Arrival::json);
    all.filter(|event| event["event"] == "streaming" && event["choice_index"] == choice).collect()
}

/// The ranges follow each other from 0; returns the joined text.
#[track_caller]
fn joined(pieces: &[Value]) -> String {
    let mut next = 0;
    for piece in pieces {
        assert_eq!(piece["token_index_first"], next, "{pieces:#?}");
        let last = piece["token_index"].as_u64().expect("it is a number");
        assert!(last >= next, "{pieces:#?}");
        next = last + 1;
    }
    pieces.iter().filter_map(|piece| piece["content"].as_str()).collect()
}

/// The outcome is the last that came, and has this text.
#[track_caller]
fn expect_outcome(arrivals: &[Arrival], kind: &str, text: &str) {
    let (last, before) = arrivals.split_last().expect("something came");
    let last = last.json();
    assert_eq!((&last["event"], &last["content"]), (&json!(kind), &json!(text)));
    assert!(before.iter().all(|arrival| arrival.json()["event"] == "streaming"), "{before:#?}");
}

#[tokio::test]
async fn the_ranges_of_a_stream_join_to_its_text_and_the_outcome_comes_last() {
    let (upstream, receiver, gateway) = world(QUICK).await;
    for number in 0..20 {
        let answer = Answer::text(TEXT);
        // In pieces that end anywhere, too.
        let split = [usize::MAX, 1, 7, 200][number % 4];
        upstream.push(if split == usize::MAX { answer } else { answer.in_chunks_of(split) });
        let seen = gateway.client().chat_stream("echo", "hi").await;
        assert_eq!((seen.content().as_str(), seen.is_whole), (TEXT, true));
        let arrivals = events(&receiver, &seen).await;
        let pieces = pieces(&arrivals, 0);
        assert_eq!(joined(&pieces), TEXT);
        expect_outcome(&arrivals, "completion", TEXT);
        let last = pieces.last().expect("there are pieces");
        assert_eq!(last["finish_reason"], "stop");
        assert!(pieces[..pieces.len() - 1].iter().all(|piece| piece["finish_reason"].is_null()));
        let mut ids: Vec<_> = arrivals.iter().filter_map(|a| a.header("webhook-id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), arrivals.len(), "each event has an id of its own");
    }
    // Without a stream there is nothing to tell on the way.
    let seen = gateway.client().chat("echo", "hi").await;
    assert_eq!(events(&receiver, &seen).await.len(), 1);
}

#[tokio::test]
async fn what_a_stream_began_with_is_told_while_it_goes_on() {
    let (upstream, receiver, gateway) = world(QUICK).await;
    let gate = Gate::new();
    upstream.push(Answer::text(TEXT).pause_after(2, &gate));
    let mut open = gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("one ").await.expect("the first word passes");
    let so_far = |arrivals: &[Arrival]| joined(&pieces(arrivals, 0)) == "one ";
    let arrivals = receiver.wait_until("the first word", so_far).await;
    assert!(arrivals.iter().all(|arrival| arrival.json()["finish_reason"].is_null()));
    gate.open();
    let seen = Seen { headers: open.headers.clone(), ..open.finish().await };
    let arrivals = events(&receiver, &seen).await;
    assert_eq!(joined(&pieces(&arrivals, 0)), TEXT);
    expect_outcome(&arrivals, "completion", TEXT);
}

#[tokio::test]
async fn each_piece_says_whose_stream_it_is() {
    let (_upstream, receiver, gateway) = world(QUICK).await;
    let mut body = testkit::client::chat_body("echo", TEXT);
    body["stream"] = true.into();
    body["user"] = "ann".into();
    body["session_id"] = "chat-7".into();
    body["metadata"] = json!({"tags": ["live"]});
    let seen = gateway.client().post("/v1/chat/completions", &body).await;
    let pieces = pieces(&events(&receiver, &seen).await, 0);
    assert_eq!(joined(&pieces), TEXT);
    for piece in pieces {
        let whose = ["end_user", "session_id", "tags"].map(|name| piece[name].clone());
        assert_eq!(whose, [json!("ann"), json!("chat-7"), json!(["live"])]);
    }
}

#[tokio::test]
async fn while_a_receiver_holds_an_answer_what_follows_merges_and_nobody_else_waits() {
    let (_upstream, receiver, gateway) = world(QUICK).await;
    let gate = Gate::new();
    receiver.push(Reply::status(200).held_at(&gate));
    let seen = gateway.client().chat_stream("echo", TEXT).await;
    assert_eq!((seen.content().as_str(), seen.is_whole), (TEXT, true), "the caller does not wait");
    gate.reached_by(1).await;
    // Another stream is not held up, and shows that the lane had time to send more of the first.
    let other = gateway.client().chat_stream("echo", "not held").await;
    expect_outcome(&events(&receiver, &other).await, "completion", "not held");
    let id = seen.header("x-hookgate-request-id").expect("it is named");
    let of_first = receiver.arrivals().into_iter().filter(|a| a.json()["request_id"] == id);
    assert_eq!(of_first.count(), 1, "one at a time, and the outcome after it");
    gate.open();
    let arrivals = events(&receiver, &seen).await;
    expect_outcome(&arrivals, "completion", TEXT);
    let pieces = pieces(&arrivals, 0);
    assert_eq!(joined(&pieces), TEXT);
    assert!(pieces.len() <= 2, "the rest is one event: {pieces:#?}");
}

#[tokio::test]
async fn a_piece_that_fails_goes_again_with_what_followed() {
    let (upstream, receiver, gateway) = world(QUICK).await;
    let gate = Gate::new();
    upstream.push(Answer::text(TEXT).pause_after(3, &gate));
    receiver.push(Reply::status(503));
    let mut open = gateway.client().open_stream("echo", "hi").await.expect("it begins");
    open.read_until("two ").await.expect("two words pass");
    let refused = receiver.wait_for(1).await.remove(0);
    wait_failed(&gateway, &refused, 1).await;
    gate.open();
    let seen = Seen { headers: open.headers.clone(), ..open.finish().await };
    let arrivals = events(&receiver, &seen).await;
    let (failed, first) = (arrivals[0].json(), &pieces(&arrivals, 0)[0]);
    assert_eq!(arrivals[0].status, 503);
    assert_eq!(failed["token_index_first"], first["token_index_first"]);
    let text = |event: &Value| event["content"].as_str().unwrap_or_default().to_owned();
    assert!(text(first).starts_with(&text(&failed)), "{failed} {first}");
    assert_eq!(joined(&pieces(&arrivals, 0)), TEXT);
    expect_outcome(&arrivals, "completion", TEXT);
}

#[tokio::test]
async fn an_outcome_waits_for_no_piece_that_keeps_failing_and_has_the_whole_text() {
    let (_upstream, receiver, gateway) = world(QUICK).await;
    receiver.answer_to("\"event\":\"streaming\"", Reply::status(400));
    for _ in 0..10 {
        let seen = gateway.client().chat_stream("echo", TEXT).await;
        let arrivals = events(&receiver, &seen).await;
        expect_outcome(&arrivals, "completion", TEXT);
        assert!(arrivals.len() > 1, "pieces were tried");
    }
    gateway.terminate().await;
    let after_outcome = receiver.arrivals().windows(2).any(|pair| {
        let (first, second) = (pair[0].json(), pair[1].json());
        first["event"] == "completion" && first["request_id"] == second["request_id"]
    });
    assert!(!after_outcome, "nothing of a call comes after its outcome");
}

#[tokio::test]
async fn two_choices_have_ranges_of_their_own() {
    let (upstream, receiver, gateway) = world(QUICK).await;
    let frame = |choice: u64, text: &str| {
        let delta = json!({"id": "c1", "object": "chat.completion.chunk", "choices": [
            {"index": choice, "delta": {"content": text}, "finish_reason": null}]});
        format!("data: {delta}\n\n")
    };
    let end = |choice: u64, reason: &str| {
        let delta = json!({"id": "c1", "object": "chat.completion.chunk", "choices": [
            {"index": choice, "delta": {}, "finish_reason": reason}]});
        format!("data: {delta}\n\n")
    };
    let frames = vec![
        frame(0, "a0 "),
        frame(1, "b0 "),
        frame(1, "b1 "),
        frame(0, "a1 "),
        end(1, "length"),
        frame(0, "a2"),
        end(0, "stop"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let gate = Gate::new();
    receiver.push(Reply::status(200).held_at(&gate));
    upstream.push(Answer::sse(frames));
    let seen = gateway.client().chat_stream("echo", "hi").await;
    gate.reached_by(1).await;
    gate.open();
    let arrivals = events(&receiver, &seen).await;
    for (choice, text, reason) in [(0, "a0 a1 a2", "stop"), (1, "b0 b1 ", "length")] {
        let pieces = pieces(&arrivals, choice);
        assert_eq!(joined(&pieces), text);
        assert_eq!(pieces.last().expect("there are pieces")["finish_reason"], reason);
    }
    expect_outcome(&arrivals, "completion", "a0 a1 a2");
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_up_to_where_it_broke() {
    let (upstream, receiver, gateway) = world(QUICK).await;
    upstream.push(Answer::text(TEXT).cut_after(4));
    let seen = gateway.client().chat_stream("echo", "hi").await;
    assert!(!seen.is_whole);
    let arrivals = events(&receiver, &seen).await;
    assert_eq!(joined(&pieces(&arrivals, 0)), "one two three ");
    expect_outcome(&arrivals, "error", "one two three ");
}

#[tokio::test]
async fn pieces_go_only_to_destinations_that_asked_for_them() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let sections = webhooks(&[
        webhook("all", &receiver, ""),
        webhook("outcomes", &receiver, ", event_types: [completion, error]"),
        webhook("pieces", &receiver, ", event_types: [streaming]"),
        webhook("secretive", &receiver, ", privacy: true"),
    ]);
    let gateway = start(&upstream, &format!("{sections}{ALL}{QUICK}")).await;
    let seen = gateway.client().chat_stream("echo", TEXT).await;
    assert!(seen.is_whole);
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for (name, has_pieces, has_outcome, has_text) in [
        ("all", true, true, true),
        ("outcomes", false, true, true),
        ("pieces", true, false, true),
        ("secretive", true, true, false),
    ] {
        let own = of(&arrivals, name);
        let pieces = pieces(&own, 0);
        assert_eq!(!pieces.is_empty(), has_pieces, "{name}");
        assert_eq!(own.len() > pieces.len(), has_outcome, "{name}");
        let told = own.iter().any(|arrival| arrival.json().to_string().contains("three"));
        assert_eq!(told, has_text, "{name}");
        if has_pieces {
            assert_eq!(joined(&pieces), if has_text { TEXT } else { "" }, "{name}");
        }
    }
}
