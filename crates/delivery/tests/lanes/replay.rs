//! Dead letters that go again, and ranges of the journal that do.

use std::time::Duration;

use delivery::{
    control::StartFrom,
    replay::{Replay, ReplayError, ReplayState},
};
use domain::{
    destination::{Destination, EventFilter, Format, LogFormat},
    event::EventType,
    record::Sequence,
};
use testkit::{Gate, Receiver, Reply, receiver::Arrival};

use crate::world::{World, destination, name, told, wait_told};

fn all(world: &World, to: &str) -> Replay {
    Replay {
        destination: name(to),
        from: Sequence(1),
        to: world.head(),
        event_types: None,
        filter: EventFilter::default(),
        rate: None,
        format: None,
    }
}

/// Waits until the replay is finished, and says how many deliveries succeeded and were given up.
async fn finished(world: &World, id: &str) -> (u64, u64) {
    let waited = tokio::time::timeout(testkit::DEADLINE, async {
        loop {
            let replays = world.control.replays().await.unwrap();
            let replay = replays.into_iter().find(|replay| replay.id == id).unwrap();
            if replay.state == ReplayState::Finished {
                break (replay.delivered, replay.given_up);
            }
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("the replay ends in time")
}

fn ids_of(arrivals: &[Arrival]) -> Vec<String> {
    arrivals.iter().map(|a| a.header("webhook-id").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_range_goes_once_more_under_the_same_ids_and_the_lane_knows_nothing_of_it() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(5).await;
    wait_told(&receiver, "lane", &ids).await;
    world.wait_settled("lane").await;
    let mut before = ids_of(&receiver.arrivals());
    receiver.clear();
    // Two records a call: from the second call's to the fourth's.
    let range = Replay { from: Sequence(3), to: Sequence(8), ..all(&world, "lane") };
    let replay = world.control.replay(range).await.unwrap();
    assert_eq!(finished(&world, &replay.id).await, (3, 0));
    let mut again = ids_of(&receiver.arrivals());
    again.sort();
    before.sort();
    assert_eq!(again, before[1..4]);
    assert_eq!(world.status("lane").cursor, world.head());
    let names: Vec<_> =
        world.control.destinations().iter().map(|s| s.destination.name.clone()).collect();
    assert_eq!(names, [name("lane")], "a replay is no destination");
}

#[tokio::test]
async fn a_replay_goes_to_another_destination_in_another_format_at_its_own_rate() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let mut world =
        World::new(vec![destination("first", &first), destination("second", &second)]).await;
    let ids = world.calls(4).await;
    wait_told(&second, "second", &ids).await;
    second.clear();
    let replay = Replay {
        format: Some(Format::GenericApi(LogFormat::Single)),
        rate: Some(20),
        ..all(&world, "second")
    };
    let replay = world.control.replay(replay).await.unwrap();
    assert_eq!(finished(&world, &replay.id).await, (4, 0));
    let arrivals = second.arrivals();
    assert!(arrivals.iter().all(|a| a.json()["litellm_call_id"].is_string()), "{arrivals:#?}");
    let whole = arrivals[3].at - arrivals[0].at;
    assert!(whole > Duration::from_millis(120), "20 a second: {whole:?}");
}

#[tokio::test]
async fn a_dry_run_counts_and_sends_nothing() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(6).await;
    wait_told(&receiver, "lane", &ids).await;
    let dry = all(&world, "lane");
    let told = world.control.rehearse(dry.clone()).await.unwrap();
    assert_eq!(told.matched.into_iter().collect::<Vec<_>>(), [(EventType::Completion, 6)]);
    assert_eq!(told.bodies, 6);
    let first = told.first.expect("it sends something");
    assert_eq!(first.id.as_str(), ids_of(&receiver.arrivals())[0]);
    assert_eq!(first.content, receiver.arrivals()[0].body);
    let filter = EventFilter { models: vec!["other*".to_owned()], ..EventFilter::default() };
    let told = world.control.rehearse(Replay { filter, ..dry.clone() }).await.unwrap();
    assert!(told.matched.is_empty() && told.bodies == 0 && told.first.is_none(), "{told:?}");
    let event_types = Some(vec![EventType::Error]);
    let told = world.control.rehearse(Replay { event_types, ..dry.clone() }).await.unwrap();
    assert!(told.matched.is_empty(), "{told:?}");
    assert_eq!(receiver.arrivals().len(), 6);
    assert!(world.control.replays().await.unwrap().is_empty(), "it leaves nothing behind");
}

#[tokio::test]
async fn a_replay_goes_on_after_a_restart_and_is_known_once_it_has_ended() {
    let receiver = Receiver::start().await;
    let file = || vec![destination("lane", &receiver)];
    let mut world = World::new(file()).await;
    let ids = world.calls(10).await;
    wait_told(&receiver, "lane", &ids).await;
    receiver.clear();
    receiver.set_default(Reply::status(503));
    let replay = world.control.replay(all(&world, "lane")).await.unwrap();
    receiver.wait_for(3).await;
    let world = world.restart(file()).await;
    assert_eq!(world.control.replays().await.unwrap()[0].state, ReplayState::Running);
    receiver.set_default(Reply::status(200));
    finished(&world, &replay.id).await;
    let mut again = told(&receiver.arrivals(), "lane");
    again.sort();
    again.dedup();
    let mut expected = ids;
    expected.sort();
    assert_eq!(again, expected);
    let count = receiver.arrivals().len();
    let world = world.restart(file()).await;
    assert_eq!(finished(&world, &replay.id).await.1, 0);
    world.wait_settled("lane").await;
    assert_eq!(receiver.arrivals().len(), count, "what has ended does not begin again");
    assert!(world.control.remove_replay(&replay.id).await.unwrap());
    assert!(world.control.replays().await.unwrap().is_empty());
    assert!(!world.control.remove_replay(&replay.id).await.unwrap());
    assert!(!world.control.remove_replay("lane").await.unwrap(), "a destination is no replay");
}

#[tokio::test]
async fn what_a_replay_cannot_deliver_stands_in_the_dead_letters_and_ends_it() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(2).await;
    wait_told(&receiver, "lane", &ids).await;
    receiver.answer_to(&ids[1], Reply::status(422));
    let replay = world.control.replay(all(&world, "lane")).await.unwrap();
    assert_eq!(finished(&world, &replay.id).await, (1, 1));
    let letter = world.letters(1).await.remove(0);
    assert_eq!(letter.destination.as_str(), replay.id);
}

#[tokio::test]
async fn a_replay_that_is_removed_stops() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(50).await;
    wait_told(&receiver, "lane", &ids).await;
    world.wait_settled("lane").await;
    receiver.clear();
    let slow = Replay { rate: Some(5), ..all(&world, "lane") };
    let replay = world.control.replay(slow).await.unwrap();
    receiver.wait_for(1).await;
    assert!(world.control.remove_replay(&replay.id).await.unwrap());
    let seen = receiver.arrivals().len();
    assert!(seen < 10, "{seen}");
    let later = world.calls(1).await;
    wait_told(&receiver, "lane", &later).await;
    assert_eq!(receiver.arrivals().len(), seen + 1);
}

#[tokio::test]
async fn a_replay_without_a_destination_or_a_range_is_refused() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    world.calls(1).await;
    let nobody = world.control.replay(all(&world, "nobody")).await;
    assert!(matches!(nobody, Err(ReplayError::NoDestination(_))), "{nobody:?}");
    let ahead = Replay { from: Sequence(3), to: Sequence(9), ..all(&world, "lane") };
    let ahead = world.control.replay(ahead).await;
    assert!(matches!(ahead, Err(ReplayError::EmptyRange)), "{ahead:?}");
}

#[tokio::test]
async fn dead_letters_go_again_by_destination() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let file = vec![destination("first", &first), destination("second", &second)];
    let mut world = World::new(file).await;
    for receiver in [&first, &second] {
        receiver.answer_to("poison", Reply::status(422));
    }
    world.call("poison 1").await;
    world.call("poison 2").await;
    let ids = world.calls(2).await;
    wait_told(&first, "first", &ids).await;
    wait_told(&second, "second", &ids).await;
    world.letters(4).await;
    first.answer_alike();
    second.answer_alike();
    assert_eq!(world.control.retry(&name("first"), None).await.unwrap(), 2);
    let four = |of: &'static str| move |seen: &[Arrival]| told(seen, of).len() == 4;
    first.wait_until("both", four("first")).await;
    assert_eq!(world.letters(2).await[0].destination, name("second"));
    assert_eq!(world.control.retry(&name("second"), None).await.unwrap(), 2);
    second.wait_until("both", four("second")).await;
    assert_eq!(world.control.retry(&name("second"), None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_replay_to_a_destination_of_other_types_sends_what_that_one_wants() {
    let receiver = Receiver::start().await;
    let errors =
        Destination { event_types: vec![EventType::Error], ..destination("errors", &receiver) };
    let mut world = World::new(vec![errors]).await;
    world.calls(3).await;
    let replay = world.control.replay(all(&world, "errors")).await.unwrap();
    assert_eq!(finished(&world, &replay.id).await, (0, 0));
    assert_eq!(receiver.arrivals().len(), 0);
}

/// A destination named `lane`, the replay to it that ended with a dead letter, and whose that is.
async fn with_a_letter(receiver: &Receiver) -> (World, String, String) {
    let mut world = World::new(vec![destination("lane", receiver)]).await;
    let ids = world.calls(2).await;
    wait_told(receiver, "lane", &ids).await;
    world.wait_settled("lane").await;
    receiver.answer_to(&ids[1], Reply::status(422));
    let replay = world.control.replay(all(&world, "lane")).await.unwrap();
    assert_eq!(finished(&world, &replay.id).await, (1, 1));
    receiver.answer_alike();
    receiver.clear();
    let [_, refused] = ids.try_into().expect("two calls");
    (world, replay.id, refused)
}

#[tokio::test]
async fn the_dead_letter_of_a_replay_that_has_ended_goes_again() {
    let receiver = Receiver::start().await;
    let (world, id, refused) = with_a_letter(&receiver).await;
    assert_eq!(world.control.retry(&name(&id), None).await.unwrap(), 1);
    wait_told(&receiver, "lane", &[refused]).await;
    assert_eq!(finished(&world, &id).await, (2, 0));
    assert_eq!(receiver.arrivals().len(), 1, "nothing else of its range goes again");
}

#[tokio::test]
async fn the_dead_letter_of_a_replay_that_has_ended_goes_again_after_a_restart() {
    let receiver = Receiver::start().await;
    let (world, id, refused) = with_a_letter(&receiver).await;
    let world = world.restart(vec![destination("lane", &receiver)]).await;
    assert_eq!(world.control.retry(&name(&id), None).await.unwrap(), 1);
    wait_told(&receiver, "lane", &[refused]).await;
    finished(&world, &id).await;
}

#[tokio::test]
async fn what_was_revived_of_a_replay_while_nothing_ran_goes_at_the_next_start() {
    let receiver = Receiver::start().await;
    let (world, id, refused) = with_a_letter(&receiver).await;
    // The lane has ended, so nobody looks.
    assert_eq!(world.store.lanes().revive(&name(&id), None).await.unwrap(), 1);
    let world = world.restart(vec![destination("lane", &receiver)]).await;
    wait_told(&receiver, "lane", &[refused]).await;
    finished(&world, &id).await;
}

#[tokio::test]
async fn a_replay_rests_while_its_destination_is_paused_and_goes_with_it() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(30).await;
    wait_told(&receiver, "lane", &ids).await;
    world.wait_settled("lane").await;
    receiver.clear();
    let slow = Replay { rate: Some(20), ..all(&world, "lane") };
    let replay = world.control.replay(slow).await.unwrap();
    receiver.wait_for(1).await;
    world.control.pause(&name("lane"), "the receiver moves").await;
    let sent = receiver.arrivals().len();
    let stopped = &world.control.replays().await.unwrap()[0].state;
    assert_eq!(
        *stopped,
        ReplayState::Stopped("its destination is not sent to: the receiver moves".to_owned())
    );
    world.control.resume(&name("lane")).await;
    receiver.wait_for(sent + 1).await;
    world.control.remove(&name("lane")).await.unwrap();
    let sent = receiver.arrivals().len();
    assert!(sent < 30, "{sent}");
    assert_eq!(world.control.replays().await.unwrap(), []);
    assert!(!world.control.remove_replay(&replay.id).await.unwrap());
    assert_eq!(world.store.lanes().cursor(&name(&replay.id)).await.unwrap(), None);
}

#[tokio::test]
async fn a_replay_goes_on_as_its_destination_is_now() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let mut world = World::new(vec![destination("lane", &old)]).await;
    let ids = world.calls(30).await;
    wait_told(&old, "lane", &ids).await;
    old.clear();
    let slow = Replay { rate: Some(50), ..all(&world, "lane") };
    let replay = world.control.replay(slow).await.unwrap();
    old.wait_for(1).await;
    world.put(destination("lane", &new), StartFrom::Stored);
    world.control.taken_up(&name("lane")).await;
    let sent = old.arrivals().len();
    finished(&world, &replay.id).await;
    assert_eq!(old.arrivals().len(), sent, "nothing goes where it was any more");
    let all = [told(&old.arrivals(), "lane"), told(&new.arrivals(), "lane")].concat();
    assert!(ids.iter().all(|id| all.contains(id)), "{all:?}");
}

#[tokio::test]
async fn a_replay_of_nothing_but_what_is_refused_ends_once_its_destination_delivers_beside_it() {
    let receiver = Receiver::start().await;
    let mut world = World::new(vec![destination("lane", &receiver)]).await;
    let ids = world.calls(8).await;
    wait_told(&receiver, "lane", &ids).await;
    world.wait_settled("lane").await;
    for id in &ids {
        receiver.answer_to(id, Reply::status(500));
    }
    let replay = world.control.replay(all(&world, "lane")).await.unwrap();
    let ended = tokio::time::timeout(testkit::DEADLINE, async {
        loop {
            // The receiver is up, which the replay alone does not see.
            let passes = world.calls(1).await;
            wait_told(&receiver, "lane", &passes).await;
            let seen = world.control.replays().await.unwrap().remove(0);
            if seen.state == ReplayState::Finished {
                break (seen.delivered, seen.given_up);
            }
        }
    });
    assert_eq!(ended.await.expect("the replay ends in time"), (0, 8), "{}", replay.id);
}

#[tokio::test]
async fn what_is_dead_behind_the_cursor_is_not_sent_again_by_a_restart() {
    let receiver = Receiver::start().await;
    let file = || vec![destination("lane", &receiver)];
    let mut world = World::with_settle_timeout(file(), Duration::from_millis(50)).await;
    let gate = Gate::new();
    receiver.answer_to("held", Reply::status(200).held_at(&gate));
    receiver.answer_to("poison", Reply::status(422));
    // Its attempt keeps the cursor where it is.
    let held = world.call("held").await;
    gate.reached_by(1).await;
    world.call("poison").await;
    let passes = world.calls(1).await;
    wait_told(&receiver, "lane", &passes).await;
    let letter = world.letters(1).await.remove(0);
    assert!(world.status("lane").cursor < letter.events[0].sequence);
    let world = world.restart(file()).await;
    gate.open();
    wait_told(&receiver, "lane", &[held]).await;
    world.wait_settled("lane").await;
    assert_eq!(world.letters(1).await, std::slice::from_ref(&letter));
    let times =
        ids_of(&receiver.arrivals()).iter().filter(|id| **id == *letter.id.as_str()).count();
    assert_eq!(times, 1);
}
