//! What a lane does when its receiver refuses pieces, and when its own state cannot be stored.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{Gateway, Receiver, Reply, Upstream};

use crate::support::{BINARY, model};

fn ids(events: &[Value]) -> BTreeMap<String, usize> {
    let mut ids = BTreeMap::new();
    for event in events {
        let id = event["event_id"].as_str().expect("every event is named").to_owned();
        *ids.entry(id).or_default() += 1;
    }
    ids
}

async fn start(upstream: &Upstream, receiver: &Receiver, sections: &str) -> Gateway {
    let webhooks = format!(
        "
webhooks:
  primary: {{url: '{}'}}
retry: {{initial_delay_ms: 20, max_delay_ms: 100}}
{sections}",
        receiver.url()
    );
    Gateway::start(BINARY, &format!("{}{webhooks}", model(upstream))).await
}

#[tokio::test]
async fn a_receiver_that_refuses_pieces_gets_every_outcome() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    receiver.answer_to("\"event\":\"streaming\"", Reply::status(400));
    let sections = "
events: {subscribe: [completion, error, streaming]}
delivery: {queue_size: 20}
";
    let gateway = start(&upstream, &receiver, sections).await;
    let text = "word ".repeat(200);
    let client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.chat_stream("echo", &text).await.content(), text);
    }
    assert_eq!(client.chat("echo", "plain").await.code(), 200);
    let outcomes = receiver.wait_for_items(4).await;
    assert_eq!(ids(&outcomes).len(), 4);
    assert!(outcomes.iter().all(|event| event["event"] == "completion"));
    let stopped = gateway.terminate().await;
    assert!(!stopped.log().iter().any(|line| line.contains("is down")), "it is not down");
}

#[tokio::test]
async fn while_what_was_delivered_cannot_be_stored_nothing_is_sent_twice() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let gateway = start(&upstream, &receiver, "events: {subscribe: [completion]}\n").await;
    let client = gateway.client();
    client.chat("echo", "before").await;
    receiver.wait_for_items(1).await;
    let state = rusqlite::Connection::open(gateway.setup.data_dir().join("state.db"))
        .expect("the state is there");
    state.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes for long");
    for _ in 0..5 {
        assert_eq!(client.chat("echo", "meanwhile").await.code(), 200, "callers do not notice");
    }
    gateway.wait_for_log("could not be stored").await;
    state.execute_batch("ROLLBACK").expect("it was begun");
    client.chat("echo", "after").await;
    let events = receiver.wait_for_items(7).await;
    let repeated: Vec<_> = ids(&events).into_iter().filter(|(_, times)| *times > 1).collect();
    assert_eq!(repeated, []);
    gateway.terminate().await;
    assert_eq!(ids(&receiver.items()).values().sum::<usize>(), 7);
}
