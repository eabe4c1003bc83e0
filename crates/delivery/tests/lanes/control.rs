//! Lanes that come, go, pause and are replaced while others work.

use std::time::Duration;

use bytes::Bytes;
use delivery::control::StartFrom;
use domain::{
    destination::{Destination, Format, LogFormat, SignatureAlgorithm, SignedContent, Signing},
    event::EventType,
    id::DeliveryId,
    record::Sequence,
    secret::Secret,
};
use testkit::{Gate, Receiver, Reply};
use webhook::verdict::Verdict;

use crate::world::{World, destination, name, told, wait_told};

#[tokio::test]
async fn a_lane_that_is_put_begins_where_it_is_told_to() {
    let receiver = Receiver::start().await;
    let mut world = World::new(Vec::new()).await;
    let before = world.calls(3).await;
    world.put(destination("from_now", &receiver), StartFrom::Head);
    world.put(destination("from_stored", &receiver), StartFrom::Stored);
    world.put(destination("from_start", &receiver), StartFrom::At(Sequence(0)));
    world.put(destination("from_between", &receiver), StartFrom::At(Sequence(2)));
    for lane in ["from_now", "from_stored", "from_start", "from_between"] {
        world.wait_status(lane, |status| status.concurrency > 0).await;
    }
    let after = world.calls(2).await;
    let all = [before.clone(), after.clone()].concat();
    for (lane, expected) in [
        ("from_now", &after[..]),
        ("from_stored", &after[..]),
        ("from_start", &all[..]),
        ("from_between", &all[1..]),
    ] {
        wait_told(&receiver, lane, expected).await;
        world.wait_settled(lane).await;
        let mut told = told(&receiver.arrivals(), lane);
        told.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(told, expected, "{lane}");
    }
}

#[tokio::test]
async fn a_replaced_lane_settles_what_is_in_flight_and_loses_and_repeats_nothing() {
    let (old, new, other) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &old), destination("other", &other)];
    let mut world = World::new(file).await;
    let gate = Gate::new();
    old.set_default(Reply::status(200).held_at(&gate));
    let ids = world.calls(10).await;
    // As many as may run at once.
    gate.reached_by(4).await;
    world.put(destination("lane", &new), StartFrom::Stored);
    wait_told(&other, "other", &ids).await;
    let later = world.calls(3).await;
    wait_told(&other, "other", &later).await;
    assert_eq!(new.arrivals().len(), 0, "what is in flight settles first");
    gate.open();
    wait_told(&new, "lane", &[&ids[4..], &later].concat()).await;
    world.wait_settled("lane").await;
    let mut all = [told(&old.arrivals(), "lane"), told(&new.arrivals(), "lane")].concat();
    all.sort();
    let mut expected = [ids, later].concat();
    expected.sort();
    assert_eq!(all, expected, "each once, at the old or the new one");
}

#[tokio::test]
async fn what_a_replaced_lane_cannot_settle_in_time_is_sent_again() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let settle_timeout = Duration::from_millis(50);
    let file = vec![destination("lane", &old)];
    let mut world = World::with_settle_timeout(file, settle_timeout).await;
    let gate = Gate::new();
    old.set_default(Reply::status(200).held_at(&gate));
    let ids = world.calls(6).await;
    gate.reached_by(4).await;
    world.put(destination("lane", &new), StartFrom::Stored);
    wait_told(&new, "lane", &ids).await;
    world.wait_settled("lane").await;
    assert_eq!(told(&new.arrivals(), "lane").len(), ids.len());
}

#[tokio::test]
async fn a_delivery_that_waits_goes_to_the_receiver_that_replaces_the_old_one() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let mut late = destination("lane", &old);
    late.retry.initial_delay = Duration::from_hours(1);
    late.retry.max_delay = Duration::from_hours(1);
    let mut world = World::new(vec![late]).await;
    old.push(Reply::status(503));
    let ids = world.calls(2).await;
    wait_told(&old, "lane", &ids[1..]).await;
    world.wait_status("lane", |status| status.waiting == 1).await;
    world.put(destination("lane", &new), StartFrom::Stored);
    world.wait_status("lane", |status| status.in_flight == 0 && status.waiting == 1).await;
    // Its time has not come; it is the same delivery.
    world.clock.advance(Duration::from_hours(2));
    world.control.woken(&name("lane"));
    wait_told(&new, "lane", &ids[..1]).await;
}

#[tokio::test]
async fn a_removed_lane_stops_and_nothing_of_it_is_left() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &receiver), destination("other", &other)];
    let mut world = World::new(file).await;
    receiver.push(Reply::status(400));
    let ids = world.calls(3).await;
    wait_told(&receiver, "lane", &ids[1..]).await;
    world.letters(1).await;
    world.control.remove(&name("lane")).await.unwrap();
    assert!(world.control.get(&name("lane")).is_none());
    let later = world.calls(2).await;
    wait_told(&other, "other", &later).await;
    assert_eq!(receiver.arrivals().len(), 3, "it gets nothing any more");
    let lanes = world.store.lanes();
    assert_eq!(lanes.dead_letters(None, 10).await.unwrap(), []);
    let cursors = lanes.cursors().await.unwrap();
    assert!(cursors.iter().all(|(lane, _)| *lane == name("other")), "{cursors:?}");
    // A new one of that name knows nothing of the old one.
    world.put(destination("lane", &receiver), StartFrom::Stored);
    world.wait_status("lane", |status| status.concurrency > 0).await;
    let newest = world.calls(1).await;
    wait_told(&receiver, "lane", &newest).await;
    assert_eq!(receiver.arrivals().len(), 4);
}

#[tokio::test]
async fn a_removed_lane_may_be_put_again_at_once() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(2).await;
    wait_told(&receiver, "lane", &ids).await;
    let removing = world.control.clone();
    let removed = async move { removing.remove(&name("lane")).await };
    let mut removed = std::pin::pin!(removed);
    // It has begun and not ended when the next wish comes.
    tokio::select! {
        biased;
        _ = &mut removed => {}
        () = std::future::ready(()) => {}
    }
    world.put(destination("lane", &receiver), StartFrom::At(Sequence(0)));
    let both = |seen: &[testkit::receiver::Arrival]| told(seen, "lane").len() == 4;
    receiver.wait_until("both calls again", both).await;
}

#[tokio::test]
async fn a_paused_destination_gets_nothing_until_it_is_resumed_also_after_a_restart() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let file = || vec![destination("lane", &receiver), destination("other", &other)];
    let mut world = World::new(file()).await;
    let before = world.calls(2).await;
    wait_told(&receiver, "lane", &before).await;
    world.control.pause(&name("lane"), "maintenance").await;
    let disabled = world.status("lane").disabled.unwrap();
    assert_eq!(disabled.why, "maintenance");
    let while_paused = world.calls(3).await;
    wait_told(&other, "other", &while_paused).await;
    assert_eq!(world.status("lane").lag, 6, "two records a call wait");
    let mut world = world.restart(file()).await;
    let after_restart = world.calls(1).await;
    wait_told(&other, "other", &after_restart).await;
    let status = world.status("lane");
    assert_eq!(status.disabled.as_ref().map(|d| &d.why), Some(&disabled.why));
    assert_eq!((status.lag, status.in_flight), (8, 0));
    assert_eq!(receiver.arrivals().len(), 2);
    world.control.resume(&name("lane")).await;
    wait_told(&receiver, "lane", &[while_paused, after_restart].concat()).await;
    world.wait_settled("lane").await;
    assert_eq!(receiver.arrivals().len(), 6, "nothing twice");
    let world = world.restart(file()).await;
    assert_eq!(world.status("lane").disabled, None);
}

#[tokio::test]
async fn a_pause_returns_once_what_was_in_flight_has_settled() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let gate = Gate::new();
    receiver.push(Reply::status(200).held_at(&gate));
    let ids = world.calls(1).await;
    gate.reached_by(1).await;
    let control = world.control.clone();
    let mut pausing = tokio::task::JoinSet::new();
    pausing.spawn(async move { control.pause(&name("lane"), "why").await });
    world.wait_status("lane", |status| status.disabled.is_some()).await;
    assert!(pausing.try_join_next().is_none());
    gate.open();
    pausing.join_next().await.unwrap().unwrap();
    assert_eq!(told(&receiver.arrivals(), "lane"), ids);
    let stored = world.store.lanes().cursor(&name("lane")).await.unwrap();
    assert_eq!(stored, Some(world.head()), "and is stored");
}

#[tokio::test]
async fn a_paused_destination_that_is_replaced_stays_paused() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &receiver), destination("other", &other)];
    let mut world = World::new(file).await;
    world.control.pause(&name("lane"), "why").await;
    world.put(destination("lane", &receiver), StartFrom::Stored);
    let ids = world.calls(2).await;
    wait_told(&other, "other", &ids).await;
    assert_eq!(receiver.arrivals().len(), 0);
    world.control.resume(&name("lane")).await;
    wait_told(&receiver, "lane", &ids).await;
}

#[tokio::test]
async fn pieces_are_wanted_while_anybody_who_is_sent_to_wants_them() {
    let receiver = Receiver::start().await;
    let streaming =
        Destination { event_types: vec![EventType::Streaming], ..destination("s", &receiver) };
    let world = World::new(vec![destination("lane", &receiver)]).await;
    let control = &world.control;
    assert!(!control.wants_pieces());
    control.put(streaming.clone(), StartFrom::Head);
    assert!(control.wants_pieces());
    control.pause(&name("s"), "why").await;
    assert!(!control.wants_pieces());
    control.resume(&name("s")).await;
    assert!(control.wants_pieces());
    control.remove(&name("s")).await.unwrap();
    assert!(!control.wants_pieces());
}

#[tokio::test]
async fn a_dead_letter_that_is_revived_goes_at_once() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    receiver.push(Reply::status(400));
    let ids = world.calls(2).await;
    world.letters(1).await;
    assert_eq!(world.control.retry(&name("lane"), None).await.unwrap(), 1);
    wait_told(&receiver, "lane", &ids).await;
}

#[tokio::test]
async fn one_request_through_the_guarded_client_says_all_that_came_of_it() {
    let receiver = Receiver::start().await;
    let world = World::new(Vec::new()).await;
    let signing = Signing {
        secrets: vec![Secret::new("whsec_Y2FuYXJ5")],
        algorithm: SignatureAlgorithm::Sha256,
        header: "X-Webhook-Signature".to_owned(),
        signed_content: SignedContent::TimestampAndBody,
    };
    let to = Destination { signing: Some(signing), ..destination("test", &receiver) };
    let body = || Bytes::from_static(b"{\"resourceSpans\":[]}").into();
    let id = DeliveryId::new("msg_1");
    let headers = [("X-Test-Connection".to_owned(), "true".to_owned())];
    receiver.push(Reply::status(200).body("whsec_Y2FuYXJ5 <b>\n"));
    let tested = world.control.send_once(&to, &id, "application/json", body(), &headers).await;
    assert_eq!(tested.verdict, Verdict::Delivered);
    assert_eq!(tested.status, Some(200));
    assert_eq!(tested.answer_start, "••• <b>");
    assert_eq!(tested.error, None);
    let address = receiver.url();
    let address = address.trim_start_matches("http://").trim_end_matches("/hook");
    assert_eq!(tested.address.as_deref(), Some(address));
    assert!(tested.timings.connect_ms.is_some() && tested.timings.answer_ms.is_some());
    let arrival = receiver.wait_for(1).await.remove(0);
    assert_eq!(arrival.header("x-test-connection"), Some("true"));
    assert_eq!(arrival.header("webhook-id"), Some("msg_1"));
    assert!(arrival.header("x-webhook-signature").is_some());

    let strict = Destination { allow_private: false, ..to };
    let tested = world.control.send_once(&strict, &id, "application/json", body(), &[]).await;
    assert!(matches!(tested.verdict, Verdict::GiveUp { .. }));
    assert!(tested.error.unwrap().contains("loopback"));
    assert_eq!(receiver.arrivals().len(), 1, "a test reaches no further than a delivery");
}

#[tokio::test]
async fn a_preview_is_the_newest_event_that_would_be_sent_and_is_not_sent() {
    let receiver = Receiver::start().await;
    let mut world = World::new(Vec::new()).await;
    let secret = ("Authorization".to_owned(), Secret::new("Bearer canary"));
    let to = Destination { headers: vec![secret], ..destination("preview", &receiver) };
    assert!(world.control.preview(&to).await.unwrap().is_none());
    let ids = world.calls(3).await;
    let preview = world.control.preview(&to).await.unwrap().unwrap();
    assert_eq!(preview.event_type, EventType::Completion);
    let body: serde_json::Value = serde_json::from_slice(&preview.body).unwrap();
    assert_eq!(body["request_id"], ids[2]);
    let shown = format!("{:?}", preview.headers);
    assert!(shown.contains("Authorization") && !shown.contains("canary"), "{shown}");
    let batched = Destination { format: Format::GenericApi(LogFormat::JsonArray), ..to.clone() };
    let preview = world.control.preview(&batched).await.unwrap().unwrap();
    assert!(preview.body.starts_with(b"[{"), "{preview:?}");
    let errors = Destination { event_types: vec![EventType::Error], ..to };
    assert!(world.control.preview(&errors).await.unwrap().is_none());
    assert_eq!(receiver.arrivals().len(), 0);
}
