//! How deliveries go: in which order, how large, how fast, and what is remembered of each attempt.

use std::time::{Duration, Instant};

use domain::{
    destination::{Batch, Destination, Format, LogFormat, Otlp, SignatureAlgorithm},
    destination::{SignedContent, Signing},
    secret::Secret,
};
use testkit::{Gate, Receiver, Reply, receiver::Arrival};

use crate::world::{World, destination, told, wait_told};

fn batching(receiver: &Receiver) -> Destination {
    Destination {
        format: Format::GenericApi(LogFormat::JsonArray),
        batch: Batch { events_max: 8, bytes_max: 1 << 20, flush_interval: Duration::from_mins(1) },
        ..destination("lane", receiver)
    }
}

#[tokio::test]
async fn an_attempt_is_remembered_with_what_was_seen_of_it() {
    let receiver = Receiver::start().await;
    let signing = Signing {
        secrets: vec![Secret::new("canary-secret")],
        algorithm: SignatureAlgorithm::Sha256,
        header: "X-Webhook-Signature".to_owned(),
        signed_content: SignedContent::TimestampAndBody,
    };
    let lane = Destination { signing: Some(signing), ..destination("lane", &receiver) };
    let mut world = World::new(vec![lane]).await;
    let echo = format!("{}\u{1b}[2J canary-secret {}", "<p>", "x".repeat(2_000));
    receiver.push(Reply::status(500).body(echo));
    world.calls(1).await;
    let attempts = world.attempts("lane", 2).await;
    let [first, second] = &attempts[..] else { panic!("{attempts:#?}") };
    assert_eq!((first.number, first.status, second.status), (1, Some(500), Some(200)));
    assert!(first.answer_start.starts_with("<p>\\u{1b}[2J ••• xxx"), "{}", first.answer_start);
    assert_eq!(first.answer_start.chars().count(), 1_000 + 5 + 1, "with the escape and the …");
    assert!(first.result.starts_with("status 500: <p>"), "{}", first.result);
    assert!(!format!("{attempts:?}").contains("canary"), "{attempts:?}");
    let address = receiver.url();
    let address = address.trim_start_matches("http://").trim_end_matches("/hook");
    assert_eq!(first.address.as_deref(), Some(address));
    assert_eq!(second.address.as_deref(), Some(address));
    let timings = first.timings;
    assert!(timings.dns_ms.is_some() && timings.connect_ms.is_some(), "{timings:?}");
    assert!(timings.answer_ms.is_some() && timings.body_ms.is_some(), "{timings:?}");
    assert_eq!(timings.tls_ms, None);
    assert_eq!(second.timings.connect_ms, None, "the connection stood already");
    assert_eq!(second.result, "delivered");
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_halves_with_all_its_texts() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![batching(&receiver)]).await;
    receiver.push(Reply::status(413));
    receiver.push(Reply::status(413));
    world.calls(8).await;
    let items = receiver.wait_for_items(8).await;
    let sizes = |is_accepted: bool| {
        let arrivals = receiver.arrivals();
        let some = arrivals.iter().filter(|arrival| arrival.is_accepted() == is_accepted);
        let mut sizes: Vec<_> = some.map(|arrival| arrival.items().len()).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!((sizes(false), sizes(true)), (vec![4, 8], vec![2, 2, 4]));
    for item in &items {
        assert!(item["response"].to_string().contains("text of call"), "{item}");
    }
    let mut calls: Vec<_> = items.iter().map(|item| item["litellm_call_id"].to_string()).collect();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), 8, "each once");
    world.wait_settled("lane").await;
    assert_eq!(world.store.lanes().dead_letters(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn an_event_that_is_too_large_goes_once_more_without_its_texts() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    receiver.push(Reply::status(413));
    let ids = world.calls(1).await;
    wait_told(&receiver, "lane", &ids).await;
    let arrivals = receiver.arrivals();
    let text = |arrival: &Arrival| String::from_utf8_lossy(&arrival.body).contains("text of call");
    assert_eq!(arrivals.iter().map(text).collect::<Vec<_>>(), [true, false]);
    assert_eq!(arrivals[0].header("webhook-id"), arrivals[1].header("webhook-id"));
    let attempts = world.attempts("lane", 2).await;
    assert!(attempts.iter().any(|a| a.result == "delivered (without texts)"), "{attempts:#?}");
}

#[tokio::test]
async fn an_event_that_is_too_large_without_its_texts_too_is_given_up() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    receiver.push(Reply::status(413));
    receiver.push(Reply::status(413).body("still"));
    world.calls(1).await;
    receiver.wait_for(2).await;
    let ids = world.calls(1).await;
    wait_told(&receiver, "lane", &ids).await;
    let letter = world.letters(1).await.remove(0);
    assert_eq!(letter.reason, "status 413: still");
}

#[tokio::test]
async fn an_otlp_receivers_partial_success_is_delivered_and_remarked_on() {
    let receiver = Receiver::start().await;
    let lane =
        Destination { format: Format::Otlp(Otlp::default()), ..destination("lane", &receiver) };
    let mut world = World::new(vec![lane]).await;
    let said = r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}"#;
    receiver.push(Reply::status(200).body(said));
    world.calls(1).await;
    let attempts = world.attempts("lane", 1).await;
    assert_eq!(attempts[0].result, "delivered; the receiver rejected 1 span: too old");
    world.wait_settled("lane").await;
    assert_eq!(receiver.arrivals().len(), 1, "it is never sent again");
}

fn strict(receiver: &Receiver) -> Destination {
    Destination { strict_order: true, ..destination("lane", receiver) }
}

#[tokio::test]
async fn where_order_is_strict_a_failing_delivery_holds_up_the_rest() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![strict(&receiver)]).await;
    for status in [503, 429, 500] {
        receiver.push(Reply::status(status));
    }
    let ids = world.calls(6).await;
    wait_told(&receiver, "lane", &ids).await;
    assert_eq!(told(&receiver.arrivals(), "lane"), ids, "in the journal's order");
    let first = receiver.arrivals()[0].header("webhook-id").map(str::to_owned);
    let tried: Vec<_> = receiver.arrivals()[..4]
        .iter()
        .map(|arrival| arrival.header("webhook-id").map(str::to_owned))
        .collect();
    assert_eq!(tried, vec![first; 4]);
}

#[tokio::test]
async fn where_order_is_strict_one_at_a_time_is_in_flight() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![strict(&receiver)]).await;
    let gate = Gate::new();
    receiver.push(Reply::status(200).held_at(&gate));
    let ids = world.calls(5).await;
    gate.reached_by(1).await;
    world.wait_status("lane", |status| status.waiting == 4).await;
    assert_eq!((receiver.arrivals().len(), world.status("lane").in_flight), (1, 1));
    gate.open();
    wait_told(&receiver, "lane", &ids).await;
    assert_eq!(told(&receiver.arrivals(), "lane"), ids);
}

#[tokio::test]
async fn where_order_is_strict_a_delivery_that_never_passes_is_given_up_and_the_rest_goes_on() {
    for status in [400, 503] {
        let receiver = Receiver::start().await;
        let mut world = World::new(vec![strict(&receiver)]).await;
        receiver.answer_to("poison", Reply::status(status));
        let poison = world.call("poison").await;
        let ids = world.calls(4).await;
        wait_told(&receiver, "lane", &ids).await;
        assert_eq!(told(&receiver.arrivals(), "lane"), ids);
        let letter = world.letters(1).await.remove(0);
        let poisoned = receiver.arrivals().iter().filter(|a| a.status == status).count();
        let attempts = if status == 400 { 1 } else { 5 };
        assert_eq!((letter.attempts, poisoned), (attempts, attempts as usize), "{poison}");
    }
}

#[tokio::test]
async fn where_order_is_strict_an_outage_buries_nothing_and_keeps_the_order() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![strict(&receiver)]).await;
    receiver.set_default(Reply::status(503));
    let ids = world.calls(5).await;
    // Far more attempts than one delivery has.
    receiver.wait_for(25).await;
    receiver.set_default(Reply::status(200));
    wait_told(&receiver, "lane", &ids).await;
    assert_eq!(told(&receiver.arrivals(), "lane"), ids);
    assert_eq!(world.store.lanes().dead_letters(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn where_order_is_strict_a_restart_keeps_it() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![strict(&receiver)]).await;
    receiver.set_default(Reply::status(503));
    let mut ids = world.calls(3).await;
    receiver.wait_for(2).await;
    let mut world = world.restart(vec![strict(&receiver)]).await;
    ids.extend(world.calls(3).await);
    receiver.set_default(Reply::status(200));
    wait_told(&receiver, "lane", &ids).await;
    let mut order = told(&receiver.arrivals(), "lane");
    order.dedup();
    assert_eq!(order, ids);
}

#[tokio::test]
async fn a_rate_limit_drains_a_backlog_without_a_refusal() {
    let receiver = Receiver::start().await;
    let rate = 50;
    let lane = Destination {
        rate_limit: Some(rate),
        concurrent_deliveries: 10,
        ..destination("lane", &receiver)
    };
    let mut world = World::new(Vec::new()).await;
    let ids = world.calls(110).await;
    world.put(lane, delivery::control::StartFrom::At(domain::record::Sequence(0)));
    let began = Instant::now();
    wait_told(&receiver, "lane", &ids).await;
    let took = began.elapsed();
    let arrivals = receiver.arrivals();
    for (index, first) in arrivals.iter().enumerate() {
        let end = first.at + Duration::from_secs(1);
        let inside = arrivals[index..].iter().take_while(|arrival| arrival.at < end).count();
        // What is measured is when it had been read, which a busy machine delays by this much.
        assert!(inside <= rate as usize + 2, "{inside} in a second");
    }
    assert!(took < Duration::from_secs(6), "110 at 50 a second in {took:?}");
}
