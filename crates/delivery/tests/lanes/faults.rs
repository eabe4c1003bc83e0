//! What lanes do when it is not the receiver alone that is at fault: one event spoils a batch, the
//! clock is set back, two decide at once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use delivery::control::StartFrom;
use domain::{
    call::Call,
    destination::{Batch, Destination, Format, LogFormat, RetryPolicy},
    event::{Captured, Delta, EventType},
    id::CallId,
    record::{Record, Sequence},
    sample,
    time::Clock,
};
use testkit::{DEADLINE, Gate, Receiver, Reply, receiver::accepted_items};

use crate::world::{World, destination, events, name, told, wait_event, wait_told};

#[tokio::test]
async fn a_receiver_is_seen_to_be_up_though_no_batch_passes_whole() {
    let receiver = Receiver::start().await;
    let lane = Destination {
        format: Format::GenericApi(LogFormat::JsonArray),
        batch: Batch { events_max: 4, bytes_max: 1 << 20, flush_interval: Duration::from_mins(1) },
        ..destination("lane", &receiver)
    };
    receiver.answer_to("poison", Reply::status(503));
    let mut world = World::new(vec![lane]).await;
    for _ in 0..8 {
        world.call("poison").await;
        world.calls(3).await;
    }
    receiver.wait_until("what it takes", |seen| !accepted_items(seen).is_empty()).await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_from_being_stored() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let first = world.calls(1).await;
    wait_told(&receiver, "lane", &first).await;
    let lanes = world.store.lanes();
    let lane = name("lane");
    let is_stored = async |head| {
        let waited = tokio::time::timeout(DEADLINE, async {
            while lanes.cursor(&lane).await.unwrap() != Some(head) {
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("it is stored in time");
    };
    is_stored(world.head()).await;
    world.clock.set_back(Duration::from_hours(1));
    let second = world.calls(1).await;
    wait_told(&receiver, "lane", &second).await;
    is_stored(world.head()).await;
}

#[tokio::test]
async fn attempts_that_are_refused_side_by_side_disable_a_destination_once() {
    let (receiver, watching) = (Receiver::start().await, Receiver::start().await);
    let watcher = Destination {
        event_types: vec![EventType::DestinationDisabled],
        ..destination("watcher", &watching)
    };
    let file = || vec![destination("lane", &receiver), watcher.clone()];
    let mut world = World::new(file()).await;
    let gate = Gate::new();
    receiver.set_default(Reply::status(410).held_at(&gate));
    world.calls(4).await;
    receiver.wait_for(4).await;
    gate.open();
    wait_event(&watching, "destination.disabled").await;
    // Whatever else there is to tell is told before the gateway stops.
    let world = world.restart(file()).await;
    world.wait_settled("watcher").await;
    assert_eq!(events(&watching.arrivals(), "destination.disabled").len(), 1);
}

#[tokio::test]
async fn a_pause_that_somebody_undoes_does_not_wait_for_a_rest_that_never_comes() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let gate = Gate::new();
    receiver.set_default(Reply::status(200).held_at(&gate));
    world.calls(1).await;
    receiver.wait_for(1).await;
    let control = world.control.clone();
    let pausing = async { control.pause(&name("lane"), "by hand").await };
    let resuming = async {
        world.wait_status("lane", |status| status.disabled.is_some()).await;
        world.control.resume(&name("lane")).await;
    };
    let both = async { tokio::join!(pausing, resuming) };
    tokio::time::timeout(DEADLINE, both).await.expect("both return");
    gate.open();
    assert_eq!(world.status("lane").disabled, None);
    assert_eq!(world.store.switches().disabled().await.unwrap(), []);
}

#[tokio::test]
async fn what_was_delivered_beside_an_attempt_that_a_stop_cuts_off_is_not_sent_again() {
    let receiver = Receiver::start().await;
    let file = || vec![destination("lane", &receiver)];
    let mut world = World::with_settle_timeout(file(), Duration::from_millis(50)).await;
    let gate = Gate::new();
    receiver.answer_to("hangs", Reply::status(200).held_at(&gate));
    let mut all = vec![world.call("hangs").await];
    receiver.wait_for(1).await;
    all.extend(world.calls(20).await);
    wait_told(&receiver, "lane", &all[1..]).await;
    let world = world.restart(file()).await;
    gate.open();
    world.expect_told_once(&receiver, "lane", &all).await;
}

#[tokio::test]
async fn a_lane_that_is_put_again_while_it_begins_sends_nothing_twice() {
    let receiver = Receiver::start().await;
    let mut world = World::new(Vec::new()).await;
    let all = world.calls(6).await;
    world.put(destination("lane", &receiver), StartFrom::At(Sequence(0)));
    let (lanes, lane) = (world.store.lanes(), name("lane"));
    let has_begun = tokio::time::timeout(DEADLINE, async {
        while lanes.cursor(&lane).await.unwrap().is_none() {}
    });
    has_begun.await.expect("it stores where it begins");
    world.put(destination("lane", &receiver), StartFrom::Stored);
    world.expect_told_once(&receiver, "lane", &all).await;
}

#[tokio::test]
async fn a_stream_whose_pieces_fail_does_not_hold_the_cursor() {
    let receiver = Receiver::start().await;
    receiver.answer_to("\"streaming\"", Reply::status(500));
    let lane = Destination {
        event_types: vec![EventType::Completion, EventType::Streaming],
        ..destination("lane", &receiver)
    };
    let mut world = World::new(vec![lane]).await;
    let id = CallId::new(world.clock.now(), [9; 10]);
    let call = Arc::new(Call { id, stream: true, ..sample::call() });
    let journal = world.store.journal();
    journal.append(Record::Admitted(Arc::clone(&call))).await.unwrap();
    for token_index in 0..10 {
        let content = "word ".to_owned();
        let delta = Delta { choice_index: 0, token_index, content, finish_reason: None };
        let (call, at) = (Arc::clone(&call), world.clock.now());
        let captured = Captured { call, at, deltas: vec![delta] };
        journal.append(Record::Captured(Arc::new(captured))).await.unwrap();
        let others = world.calls(1).await;
        wait_told(&receiver, "lane", &others).await;
    }
    // Though the call goes on: else all that others were told of would come again after a crash.
    world.wait_settled("lane").await;
}

#[tokio::test]
async fn what_failed_while_a_receiver_was_down_goes_in_order_once_it_is_back() {
    let receiver = Receiver::start().await;
    let lane = Destination { concurrent_deliveries: 1, ..destination("lane", &receiver) };
    let mut world = World::new(vec![lane]).await;
    receiver.set_default(Reply::status(503));
    let ids = world.calls(14).await;
    receiver.wait_for(40).await;
    receiver.set_default(Reply::status(200));
    wait_told(&receiver, "lane", &ids).await;
    // The first four may have rows, which do not hold the cursor.
    let mut told = told(&receiver.arrivals(), "lane");
    told.retain(|id| ids[4..].contains(id));
    assert_eq!(told, ids[4..]);
}

#[tokio::test]
async fn a_lane_that_fails_to_read_forgets_nothing_that_it_delivered() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let gate = Gate::new();
    receiver.answer_to("hangs", Reply::status(200).held_at(&gate));
    let mut all = vec![world.call("hangs").await];
    receiver.wait_for(1).await;
    all.extend(world.calls(20).await);
    wait_told(&receiver, "lane", &all[1..]).await;
    world.journal.fails.store(true, Ordering::SeqCst);
    all.extend(world.calls(1).await);
    // Another lane begins, and sends what was cut off first.
    receiver.wait_for(22).await;
    gate.open();
    world.expect_told_once(&receiver, "lane", &all).await;
}

#[tokio::test]
async fn one_that_is_out_of_attempts_and_cut_off_after_another_passed_is_a_dead_letter() {
    let receiver = Receiver::start().await;
    let max_delay = Duration::from_millis(10);
    let retry = RetryPolicy { max_attempts: 1, max_delay, ..destination("lane", &receiver).retry };
    let file = || vec![Destination { retry: retry.clone(), ..destination("lane", &receiver) }];
    let mut world = World::with_settle_timeout(file(), Duration::from_millis(50)).await;
    // While nothing passes nobody knows whose fault it is, so it has another one.
    receiver.push(Reply::status(400));
    receiver.push(Reply::status(200).held_at(&Gate::new()));
    world.call("refused").await;
    receiver.wait_for(2).await;
    let passes = world.calls(1).await;
    wait_told(&receiver, "lane", &passes).await;
    let world = world.restart(file()).await;
    assert_eq!(world.letters(1).await.len(), 1);
    world.wait_settled("lane").await;
    assert_eq!(receiver.arrivals().len(), 3);
}
