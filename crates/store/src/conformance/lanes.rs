//! Cases of `Lanes`.

use std::{sync::Arc, time::Duration};

use domain::{delivery::Parked, record::Sequence};

use crate::{
    conformance::{
        Engine, HandClock, Opened,
        sample::{MORNING, attempt, dead_letter, delivery, events, lane, parked},
    },
    lanes::{DeliveryQuery, Lanes, LanesError, Settlement, WAITING_MAX},
};

pub async fn a_lane_that_never_ran_has_no_cursor(engine: &mut dyn Engine) {
    let lanes = open(engine);
    assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), None);
    settle(&*lanes, "a", moved_to(0)).await;
    assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), Some(Sequence(0)));
    settle(&*lanes, "a", Settlement::default()).await;
    assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), Some(Sequence(0)));
}

pub async fn a_settlement_is_stored_whole_and_survives_a_crash(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let settlement = Settlement {
        cursor: Some(Sequence(41)),
        parked: vec![parked(1, 2, MORNING)],
        unparked: Vec::new(),
        buried: vec![dead_letter("a", 2)],
        attempts: vec![attempt(1), attempt(2)],
    };
    settle(&*lanes, "a", settlement).await;
    for crashed in [false, true] {
        let lanes = if crashed {
            engine.crash();
            open(engine)
        } else {
            Arc::clone(&lanes)
        };
        assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), Some(Sequence(41)));
        expect_parked(&*lanes, "a", &[parked(1, 2, MORNING)]).await;
        let buried = lanes.dead_letters(None, 10).await.expect("readable");
        assert_eq!(buried, [dead_letter("a", 2)]);
    }
}

pub async fn parked_deliveries_come_back_by_due_time(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let due = |seconds| MORNING.plus(Duration::from_secs(seconds));
    let waiting = [parked(1, 1, due(30)), parked(2, 1, due(10)), parked(3, 1, due(20))];
    settle(&*lanes, "a", Settlement { parked: waiting.to_vec(), ..moved_to(3) }).await;
    let [first, second, third] = waiting;
    let lanes = open(engine);
    expect_parked(&*lanes, "a", &[second.clone(), third, first.clone()]).await;
    let done = Settlement { unparked: vec![delivery(3), delivery(99)], ..Settlement::default() };
    settle(&*lanes, "a", done).await;
    expect_parked(&*lanes, "a", &[second, first]).await;
}

pub async fn the_newest_parking_of_a_delivery_wins(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let later = MORNING.plus(Duration::from_mins(1));
    let twice = vec![parked(1, 1, MORNING), parked(1, 2, later)];
    settle(&*lanes, "a", Settlement { parked: twice, ..Settlement::default() }).await;
    expect_parked(&*lanes, "a", &[parked(1, 2, later)]).await;
    let again = vec![parked(1, 3, MORNING)];
    settle(&*lanes, "a", Settlement { parked: again, ..Settlement::default() }).await;
    expect_parked(&*lanes, "a", &[parked(1, 3, MORNING)]).await;
    // Parked and settled in one: it no longer waits.
    let both = Settlement {
        parked: vec![parked(1, 4, later)],
        unparked: vec![delivery(1)],
        ..Settlement::default()
    };
    settle(&*lanes, "a", both).await;
    expect_parked(&*lanes, "a", &[]).await;
}

pub async fn a_buried_delivery_stays_and_no_longer_waits(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let waiting = vec![parked(1, 4, MORNING), parked(2, 4, MORNING)];
    settle(&*lanes, "a", Settlement { parked: waiting, ..moved_to(2) }).await;
    let buried = Settlement { buried: vec![dead_letter("a", 1)], ..Settlement::default() };
    settle(&*lanes, "a", buried).await;
    engine.crash();
    let lanes = open(engine);
    expect_parked(&*lanes, "a", &[parked(2, 4, MORNING)]).await;
    let letters = lanes.dead_letters(Some(&lane("a")), 10).await.expect("readable");
    assert_eq!(letters, [dead_letter("a", 1)]);
}

pub async fn a_revived_dead_letter_is_due_at_once_with_no_attempt_counted(engine: &mut dyn Engine) {
    let noon = MORNING.plus(Duration::from_hours(4));
    let clock = Arc::new(HandClock::at(MORNING));
    let Opened { lanes, .. } = engine.open(Arc::clone(&clock));
    settle(&*lanes, "a", Settlement { buried: vec![dead_letter("a", 1)], ..moved_to(1) }).await;
    clock.set(noon);
    assert_eq!(lanes.revive(&lane("a"), None).await.expect("writable"), 1);
    let waiting = lanes.parked(&lane("a")).await.expect("readable");
    let expected = Parked { reason: "status 400".to_owned(), ..parked(1, 0, noon) };
    assert_eq!(waiting, [expected]);
    assert_eq!(lanes.dead_letters(None, 10).await.expect("readable"), []);
    assert_eq!(lanes.revive(&lane("a"), None).await.expect("writable"), 0);
}

pub async fn named_dead_letters_are_revived_and_the_others_stay(engine: &mut dyn Engine) {
    let lanes = open(engine);
    for name in ["a", "b"] {
        let buried = (1..=3).map(|number| dead_letter(name, number)).collect();
        settle(&*lanes, name, Settlement { buried, ..Settlement::default() }).await;
    }
    let ids = [delivery(1), delivery(3), delivery(77)];
    assert_eq!(lanes.revive(&lane("a"), Some(&ids)).await.expect("writable"), 2);
    let left = lanes.dead_letters(Some(&lane("a")), 10).await.expect("readable");
    assert_eq!(left, [dead_letter("a", 2)]);
    assert_eq!(lanes.dead_letters(None, 10).await.expect("readable").len(), 4);
    assert_eq!(lanes.revive(&lane("b"), None).await.expect("writable"), 3);
    assert_eq!(lanes.parked(&lane("b")).await.expect("readable").len(), 3);
}

pub async fn no_more_dead_letters_are_revived_than_may_wait(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let buried: Vec<_> = (2..).take(WAITING_MAX).map(|n| dead_letter("a", n)).collect();
    let [oldest, youngest] = [&buried[0], &buried[WAITING_MAX - 1]].map(|letter| letter.id.clone());
    let parked = vec![parked(1, 1, MORNING)];
    settle(&*lanes, "a", Settlement { parked, buried, ..Settlement::default() }).await;
    assert_eq!(lanes.revive(&lane("a"), None).await.expect("writable"), WAITING_MAX - 1);
    assert_eq!(lanes.parked(&lane("a")).await.expect("readable").len(), WAITING_MAX);
    let left = [youngest];
    assert_eq!(lanes.revive(&lane("a"), Some(&left)).await.expect("writable"), 0);
    let done = Settlement { unparked: vec![oldest], ..Settlement::default() };
    settle(&*lanes, "a", done).await;
    assert_eq!(lanes.revive(&lane("a"), Some(&left)).await.expect("writable"), 1);
    assert_eq!(lanes.dead_count(&lane("a")).await.expect("readable"), 0);
}

pub async fn dead_letters_are_listed_oldest_first_up_to_a_limit(engine: &mut dyn Engine) {
    let lanes = open(engine);
    for number in [5, 3, 9] {
        let buried = vec![dead_letter("a", number)];
        settle(&*lanes, "a", Settlement { buried, ..Settlement::default() }).await;
    }
    let listed = lanes.dead_letters(None, 2).await.expect("readable");
    assert_eq!(listed, [dead_letter("a", 5), dead_letter("a", 3)]);
}

pub async fn dead_letters_behind_the_cursor_are_known_by_their_events(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let buried = vec![dead_letter("a", 2), dead_letter("a", 7), dead_letter("a", 9)];
    settle(&*lanes, "a", Settlement { buried, ..moved_to(6) }).await;
    let mut behind = lanes.dead_after(&lane("a"), Sequence(6)).await.expect("readable");
    behind.sort();
    assert_eq!(behind, [events(7)[0].event.clone(), events(9)[0].event.clone()]);
    assert_eq!(lanes.dead_after(&lane("a"), Sequence(9)).await.expect("readable"), []);
    assert_eq!(lanes.dead_after(&lane("b"), Sequence(0)).await.expect("readable"), []);
    assert_eq!(lanes.dead_count(&lane("a")).await.expect("readable"), 3);
    assert_eq!(lanes.dead_count(&lane("b")).await.expect("readable"), 0);
}

pub async fn lanes_do_not_see_each_other(engine: &mut dyn Engine) {
    let lanes = open(engine);
    settle(&*lanes, "a", Settlement { parked: vec![parked(1, 1, MORNING)], ..moved_to(5) }).await;
    let other = Settlement { unparked: vec![delivery(1)], ..moved_to(7) };
    settle(&*lanes, "b", other).await;
    assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), Some(Sequence(5)));
    assert_eq!(lanes.cursor(&lane("b")).await.expect("readable"), Some(Sequence(7)));
    expect_parked(&*lanes, "a", &[parked(1, 1, MORNING)]).await;
    expect_parked(&*lanes, "b", &[]).await;
}

pub async fn a_forgotten_lane_never_ran(engine: &mut dyn Engine) {
    let lanes = open(engine);
    for name in ["a", "b"] {
        let settlement = Settlement {
            parked: vec![parked(1, 1, MORNING)],
            buried: vec![dead_letter(name, 2)],
            attempts: vec![attempt(1), attempt(2)],
            ..moved_to(5)
        };
        settle(&*lanes, name, settlement).await;
    }
    let both = vec![(lane("a"), Sequence(5)), (lane("b"), Sequence(5))];
    assert_eq!(lanes.cursors().await.expect("readable"), both);
    lanes.forget(&lane("a")).await.expect("writable");
    lanes.forget(&lane("never there")).await.expect("writable");
    engine.crash();
    let lanes = open(engine);
    assert_eq!(lanes.cursor(&lane("a")).await.expect("readable"), None);
    assert_eq!(lanes.cursors().await.expect("readable"), both[1..]);
    expect_parked(&*lanes, "a", &[]).await;
    expect_parked(&*lanes, "b", &[parked(1, 1, MORNING)]).await;
    let letters = lanes.dead_letters(None, 10).await.expect("readable");
    assert_eq!(letters, [dead_letter("b", 2)]);
    let query = DeliveryQuery { limit: 10, ..DeliveryQuery::default() };
    let rows = lanes.deliveries(query).await.expect("readable");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.destination == lane("b")));
}

pub async fn lanes_without_a_destination_are_marked_until_that_is_over(engine: &mut dyn Engine) {
    let lanes = open(engine);
    assert_eq!(lanes.removed().await.expect("readable"), []);
    lanes.mark_removed(&[lane("b"), lane("a")]).await.expect("writable");
    engine.crash();
    let lanes = open(engine);
    assert_eq!(lanes.removed().await.expect("readable"), [lane("a"), lane("b")]);
    lanes.mark_removed(&[lane("b"), lane("c")]).await.expect("writable");
    assert_eq!(lanes.removed().await.expect("readable"), [lane("b"), lane("c")]);
    lanes.forget(&lane("b")).await.expect("writable");
    assert_eq!(lanes.removed().await.expect("readable"), [lane("c")]);
    lanes.mark_removed(&[]).await.expect("writable");
    assert_eq!(lanes.removed().await.expect("readable"), []);
}

pub async fn a_closed_state_says_so(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let name = lane("a");
    let queued = lanes.settle(&name, moved_to(3));
    engine.close();
    queued.await.expect("closing commits what is queued");
    let refused = lanes.cursor(&name).await;
    assert!(matches!(refused, Err(LanesError::Closed)), "{refused:?}");
}

pub(super) fn open(engine: &mut dyn Engine) -> Arc<dyn Lanes> {
    let Opened { lanes, .. } = engine.open(Arc::new(HandClock::at(MORNING)));
    lanes
}

pub(super) fn moved_to(cursor: u64) -> Settlement {
    Settlement { cursor: Some(Sequence(cursor)), ..Settlement::default() }
}

pub(super) async fn settle(lanes: &dyn Lanes, name: &str, settlement: Settlement) {
    lanes.settle(&lane(name), settlement).await.expect("writable");
}

async fn expect_parked(lanes: &dyn Lanes, name: &str, expected: &[Parked]) {
    assert_eq!(lanes.parked(&lane(name)).await.expect("readable"), expected);
}
