//! What becomes of a destination whose receiver wants no more, is gone for long, or comes back.

use std::time::Duration;

use delivery::control::{BreakerStatus, LaneStatus, StartFrom};
use domain::{destination::Destination, event::EventType, secret::Secret};
use testkit::{Receiver, Reply};

use crate::world::{World, destination, events, name, told, wait_event, wait_told};

/// A destination that is told of deliveries themselves.
fn watcher(receiver: &Receiver) -> Destination {
    let event_types = EventType::ALL.into_iter().filter(|kind| kind.is_operational()).collect();
    Destination { event_types, ..destination("watcher", receiver) }
}

#[tokio::test]
async fn a_receiver_that_wants_no_more_is_left_alone_until_somebody_resumes_it() {
    let answers = [
        (Reply::status(410), false),
        (Reply::status(503).header("Webhook-Delivery", "disable"), false),
        (Reply::status(200).header("webhook-delivery", "disable"), true),
    ];
    for (answer, is_delivered) in answers {
        let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
        let file = || vec![destination("lane", &receiver), watcher(&watching)];
        let mut world = World::new(file()).await;
        let first = world.calls(1).await;
        wait_told(&receiver, "lane", &first).await;
        world.wait_settled("lane").await;
        receiver.push(answer);
        let refused = world.calls(1).await;
        world.wait_status("lane", |status| status.disabled.is_some()).await;
        let event = wait_event(&watching, "destination.disabled").await;
        assert_eq!(event["destination"], "lane", "{event}");
        let mut world = world.restart(file()).await;
        let later = world.calls(3).await;
        assert!(world.status("lane").disabled.is_some(), "it stays so");
        assert_eq!(receiver.arrivals().len(), 2, "and gets nothing");
        world.control.resume(&name("lane")).await;
        let rest = if is_delivered { later } else { [refused, later].concat() };
        wait_told(&receiver, "lane", &rest).await;
        world.wait_settled("lane").await;
        assert_eq!(told(&receiver.arrivals(), "lane").len(), 5, "each once");
        assert_eq!(events(&watching.arrivals(), "destination.disabled").len(), 1);
    }
}

#[tokio::test]
async fn a_primary_that_wants_no_more_leaves_its_events_to_its_backup() {
    let (primary, backup) = (Receiver::start().await, Receiver::start().await);
    let standby = Box::new(destination("spare", &backup));
    let lane = Destination { backup: Some(standby), ..destination("lane", &primary) };
    let mut world = World::new(vec![lane]).await;
    primary.set_default(Reply::status(410));
    let ids = world.calls(10).await;
    wait_told(&backup, "spare", &ids).await;
    assert_eq!(world.status("lane").disabled, None);
}

#[tokio::test]
async fn a_backup_that_wants_no_more_is_not_sent_to() {
    let (primary, backup) = (Receiver::start().await, Receiver::start().await);
    let standby = Box::new(destination("spare", &backup));
    let lane = Destination { backup: Some(standby), ..destination("lane", &primary) };
    let mut world = World::new(vec![lane]).await;
    primary.set_default(Reply::status(503));
    backup.set_default(Reply::status(410));
    let ids = world.calls(10).await;
    backup.wait_for(1).await;
    let switches = world.store.switches();
    while switches.disabled().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    primary.set_default(Reply::status(200));
    wait_told(&primary, "lane", &ids).await;
    assert!(backup.arrivals().len() <= 4, "what was in flight, and no more");
}

#[tokio::test]
async fn days_without_a_success_disable_a_destination() {
    let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &receiver), watcher(&watching)];
    let mut world = World::new(file).await;
    receiver.set_default(Reply::status(503));
    let ids = world.calls(3).await;
    world.wait_status("lane", |status| status.breaker != BreakerStatus::Closed).await;
    world.clock.advance(Duration::from_hours(119));
    let before = receiver.arrivals().len();
    receiver.wait_for(before + 3).await;
    assert_eq!(world.status("lane").disabled, None, "not yet");
    world.clock.advance(Duration::from_hours(2));
    world.wait_status("lane", |status| status.disabled.is_some()).await;
    let why = world.status("lane").disabled.unwrap().why;
    assert!(why.contains("no delivery has succeeded since"), "{why}");
    let event = wait_event(&watching, "destination.disabled").await;
    assert!(event["reason"].as_str().is_some_and(|reason| reason == why), "{event}");
    receiver.set_default(Reply::status(200));
    world.control.resume(&name("lane")).await;
    wait_told(&receiver, "lane", &ids).await;
    assert_eq!(world.store.lanes().dead_letters(None, 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_restart_does_not_make_an_outage_young_again() {
    let receiver = Receiver::start().await;
    let file = || vec![destination("lane", &receiver)];
    let mut world = World::new(file()).await;
    let first = world.calls(2).await;
    wait_told(&receiver, "lane", &first).await;
    receiver.set_default(Reply::status(503));
    world.calls(3).await;
    world.wait_status("lane", |status| status.breaker != BreakerStatus::Closed).await;
    let since = world.status("lane").failing_since.unwrap();
    world.attempts("lane", 2 + 5).await;
    world.clock.advance(Duration::from_hours(100));
    let world = world.restart(file()).await;
    world.wait_status("lane", |status| status.failing_since.is_some()).await;
    let known = world.status("lane").failing_since.unwrap();
    assert!(known.since(since) < Duration::from_mins(1), "{since} and {known}");
    world.clock.advance(Duration::from_hours(21));
    world.wait_status("lane", |status| status.disabled.is_some()).await;
    // Once it has taken something, all is forgiven.
    receiver.set_default(Reply::status(200));
    world.control.resume(&name("lane")).await;
    receiver.wait_until("all", |seen| told(seen, "lane").len() == 5).await;
    world.wait_status("lane", |status| status.failing_since.is_none()).await;
    let world = world.restart(file()).await;
    world.wait_status("lane", |status| status.concurrency > 0).await;
    assert_eq!(world.status("lane").failing_since, None);
}

#[tokio::test]
async fn a_destination_that_is_resumed_after_days_gets_its_time_anew() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    receiver.set_default(Reply::status(503));
    world.calls(2).await;
    world.wait_status("lane", |status| status.breaker != BreakerStatus::Closed).await;
    world.clock.advance(Duration::from_hours(121));
    world.wait_status("lane", |status| status.disabled.is_some()).await;
    world.wait_status("lane", |status| status.in_flight == 0).await;
    world.control.resume(&name("lane")).await;
    let before = receiver.arrivals().len();
    receiver.wait_for(before + 10).await;
    assert_eq!(world.status("lane").disabled, None, "it was somebody's decision");
}

#[tokio::test]
async fn a_restart_does_not_take_back_what_resuming_a_destination_forgave() {
    // Given up for days of failures, or at once for its answer.
    for answer in [503, 410] {
        let receiver = Receiver::start().await;
        let file = || vec![destination("lane", &receiver)];
        let mut world = World::new(file()).await;
        receiver.set_default(Reply::status(answer));
        world.calls(2).await;
        receiver.wait_for(1).await;
        world.clock.advance(Duration::from_hours(121));
        world.wait_status("lane", |status| status.disabled.is_some()).await;
        world.wait_status("lane", |status| status.in_flight == 0).await;
        receiver.set_default(Reply::status(503));
        // Days may pass before somebody resumes it, too.
        world.clock.advance(Duration::from_hours(121));
        world.control.resume(&name("lane")).await;
        let is_open = |status: &LaneStatus| status.breaker != BreakerStatus::Closed;
        for _ in 0..2 {
            world.wait_status("lane", is_open).await;
            let before = receiver.arrivals().len();
            receiver.wait_for(before + 10).await;
            assert_eq!(world.status("lane").disabled, None, "it was somebody's decision");
            world = world.restart(file()).await;
        }
        // Its time runs on over the restarts.
        world.clock.advance(Duration::from_hours(121));
        world.wait_status("lane", |status| status.disabled.is_some()).await;
    }
}

#[tokio::test]
async fn no_news_of_deliveries_holds_a_secret_that_a_receiver_echoed() {
    let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
    let secret = Secret::new("Bearer canary-token");
    let lane = Destination {
        headers: vec![("Authorization".to_owned(), secret)],
        ..destination("lane", &receiver)
    };
    let mut world = World::new(vec![lane, watcher(&watching)]).await;
    receiver.push(Reply::status(400).body("no: Bearer canary-token"));
    world.calls(2).await;
    let event = wait_event(&watching, "delivery.exhausted").await.to_string();
    assert!(event.contains("no: •••") && !event.contains("canary"), "{event}");
}

#[tokio::test]
async fn a_receiver_that_was_down_for_a_minute_is_told_of_when_it_is_back() {
    let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &receiver), watcher(&watching)];
    let mut world = World::new(file).await;
    // Short outages are nobody's news.
    for (outage, told_of) in [(Duration::ZERO, 0), (Duration::from_secs(61), 1)] {
        receiver.set_default(Reply::status(503));
        let ids = world.calls(6).await;
        world.wait_status("lane", |status| status.breaker != BreakerStatus::Closed).await;
        world.clock.advance(outage);
        receiver.set_default(Reply::status(200));
        wait_told(&receiver, "lane", &ids).await;
        world.wait_status("lane", |status| status.breaker == BreakerStatus::Closed).await;
        if told_of > 0 {
            let event = wait_event(&watching, "destination.recovered").await;
            assert_eq!(event["destination"], "lane", "{event}");
        }
        assert_eq!(events(&watching.arrivals(), "destination.recovered").len(), told_of);
    }
}

#[tokio::test]
async fn a_delivery_that_is_given_up_is_told_of_and_no_news_makes_news() {
    let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("lane", &receiver), watcher(&watching)];
    let mut world = World::new(file).await;
    receiver.push(Reply::status(422).body("no"));
    watching.push(Reply::status(400));
    world.calls(3).await;
    let letter = world.letters(1).await.remove(0);
    assert_eq!((letter.destination.as_str(), letter.attempts), ("lane", 1));
    // The first news is refused; what passes after it buries it, and that is not told of.
    watching.wait_for(1).await;
    receiver.push(Reply::status(422));
    world.calls(2).await;
    let event = wait_event(&watching, "delivery.exhausted").await;
    assert_eq!(event["destination"], "lane", "{event}");
    let letters = world.letters(3).await;
    assert_eq!(letters.iter().filter(|l| l.destination == name("watcher")).count(), 1);
    world.wait_settled("watcher").await;
    assert_eq!(watching.arrivals().len(), 2, "{:#?}", watching.arrivals());
}

#[tokio::test]
async fn a_delivery_that_the_receiver_asks_to_abort_is_given_up_at_once() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    receiver.push(Reply::status(503).header("webhook-delivery", "abort-message"));
    world.calls(1).await;
    let letter = world.letters(1).await.remove(0);
    assert!(letter.reason.starts_with("asked to abort; status 503"), "{}", letter.reason);
    assert_eq!(letter.attempts, 1);
    world.wait_settled("lane").await;
    assert_eq!(receiver.arrivals().len(), 1);
}

#[tokio::test]
async fn where_calls_are_few_a_delivery_that_never_passes_is_given_up_too() {
    for status in [422, 503] {
        let receiver = Receiver::start().await;
        let mut world = World::new(vec![destination("lane", &receiver)]).await;
        receiver.answer_to("poison", Reply::status(status));
        let first = world.calls(1).await;
        wait_told(&receiver, "lane", &first).await;
        world.call("poison").await;
        // Between two calls it fails so often that the receiver is taken for down, until it is given
        // up.
        for _ in 0..8 {
            let is_open = |status: &LaneStatus| status.breaker != BreakerStatus::Closed;
            world.wait_status("lane", |status| is_open(status) || status.waiting == 0).await;
            let next = world.calls(1).await;
            wait_told(&receiver, "lane", &next).await;
        }
        let letter = world.letters(1).await.remove(0);
        assert!(letter.reason.starts_with(&format!("status {status}")), "{}", letter.reason);
    }
}

#[tokio::test]
async fn a_receiver_is_seen_to_be_back_though_it_never_takes_what_comes_first() {
    let receiver = Receiver::start().await;
    receiver.set_default(Reply::status(503));
    let lane = Destination { queue_size: 1, ..destination("lane", &receiver) };
    let mut world = World::new(vec![lane]).await;
    receiver.answer_to("poison", Reply::status(503));
    for _ in 0..2 {
        world.call("poison").await;
    }
    world.wait_status("lane", |status| status.breaker != BreakerStatus::Closed).await;
    receiver.set_default(Reply::status(200));
    let ids = world.calls(3).await;
    wait_told(&receiver, "lane", &ids).await;
}

#[tokio::test]
async fn destinations_that_come_and_go_leave_the_others_alone() {
    let (steady, coming) = (Receiver::start().await, Receiver::start().await);
    let mut world = World::new(vec![destination("steady", &steady)]).await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let lane = format!("lane{}", number % 3);
        world.put(destination(&lane, &coming), StartFrom::Head);
        ids.extend(world.calls(2).await);
        if number % 2 == 0 {
            world.control.remove(&name(&lane)).await.unwrap();
        }
    }
    wait_told(&steady, "steady", &ids).await;
    world.wait_settled("steady").await;
    let mut told = told(&steady.arrivals(), "steady");
    told.sort();
    ids.sort();
    assert_eq!(told, ids);
}
