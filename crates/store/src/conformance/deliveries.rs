//! Cases of `Lanes`: deliveries as people look at them.

use std::time::Duration;

use domain::{
    carried::Carried,
    delivery::{Attempt, EventRef, Timings},
    id::{DeliveryId, EventId},
    record::Sequence,
    time::Timestamp,
};

use crate::{
    conformance::{
        Engine,
        lanes::{moved_to, open, settle},
        sample::{MORNING, attempt, dead_letter, delivery, events, lane, parked},
    },
    lanes::{DeliveryQuery, DeliveryRow, DeliveryState, Lanes, Settlement},
};

fn tried(number: u16, count: u32, result: &str) -> Attempt {
    let started_at = MORNING.plus(Duration::from_secs(u64::from(number)));
    Attempt { number: count, started_at, result: result.to_owned(), ..attempt(number) }
}

/// Delivered at once, delivered at the third try, waiting, dead.
async fn store_four(lanes: &dyn Lanes, name: &str) {
    let first = Settlement {
        attempts: vec![
            tried(2, 1, "status 503"),
            tried(3, 1, "status 503"),
            tried(4, 1, "status 400"),
            tried(2, 2, "timeout"),
            tried(1, 1, "delivered"),
        ],
        parked: vec![parked(3, 1, MORNING)],
        buried: vec![dead_letter(name, 4)],
        ..moved_to(4)
    };
    settle(lanes, name, first).await;
    let second = vec![tried(2, 3, "delivered (backup)")];
    settle(lanes, name, Settlement { attempts: second, ..Settlement::default() }).await;
}

async fn list(lanes: &dyn Lanes, query: DeliveryQuery) -> Vec<DeliveryRow> {
    let limit = if query.limit == 0 { 100 } else { query.limit };
    lanes.deliveries(DeliveryQuery { limit, ..query }).await.expect("readable")
}

fn ids(rows: &[DeliveryRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

pub async fn each_delivery_is_listed_once_by_its_last_attempt(engine: &mut dyn Engine) {
    let lanes = open(engine);
    store_four(&*lanes, "a").await;
    let rows = list(&*lanes, DeliveryQuery::default()).await;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.id.as_str(), row.state, row.attempts, row.reason.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("bat_2", DeliveryState::Delivered, 3, "delivered (backup)"),
            ("bat_1", DeliveryState::Delivered, 1, "delivered"),
            ("bat_4", DeliveryState::Dead, 5, "status 400"),
            ("bat_3", DeliveryState::Waiting, 1, "status 503, attempt 1"),
        ]
    );
    assert_eq!(rows[0].last, Some(tried(2, 3, "delivered (backup)")));
    assert_eq!(rows[3].due_at, Some(MORNING));
    assert!(rows[..3].iter().all(|row| row.due_at.is_none()));
    assert!(rows.is_sorted_by(|newer, older| newer.number > older.number));
    // Revived, it waits; delivered then, it is delivered.
    lanes.revive(&lane("a"), None).await.expect("writable");
    assert_eq!(list(&*lanes, DeliveryQuery::default()).await[2].state, DeliveryState::Waiting);
    let again = Settlement {
        unparked: vec![delivery(4)],
        attempts: vec![tried(4, 1, "delivered")],
        ..Settlement::default()
    };
    settle(&*lanes, "a", again).await;
    let rows = list(&*lanes, DeliveryQuery::default()).await;
    assert_eq!(ids(&rows), ["bat_4", "bat_2", "bat_1", "bat_3"]);
    assert_eq!(rows[0].state, DeliveryState::Delivered);
}

pub async fn deliveries_come_in_pages_without_a_gap(engine: &mut dyn Engine) {
    let lanes = open(engine);
    for name in ["a", "b"] {
        store_four(&*lanes, name).await;
        // Without a known attempt.
        let unknown = Settlement {
            parked: (10..13).map(|number| parked(number, 0, MORNING)).collect(),
            buried: (20..24).map(|number| dead_letter(name, number)).collect(),
            ..Settlement::default()
        };
        settle(&*lanes, name, unknown).await;
    }
    let all = list(&*lanes, DeliveryQuery::default()).await;
    assert_eq!(all.len(), 22);
    for limit in 1..=22 {
        let mut paged = Vec::new();
        loop {
            let before = paged.last().map(|row: &DeliveryRow| row.number);
            let query = DeliveryQuery { before, limit, ..DeliveryQuery::default() };
            let page = list(&*lanes, query).await;
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all, "pages of {limit}");
    }
    let none = DeliveryQuery { limit: 0, ..DeliveryQuery::default() };
    assert_eq!(lanes.deliveries(none).await.expect("readable"), []);
}

pub async fn deliveries_are_found_by_destination_state_event_and_time(engine: &mut dyn Engine) {
    let lanes = open(engine);
    store_four(&*lanes, "a").await;
    store_four(&*lanes, "b").await;
    let of_a = || DeliveryQuery { lanes: vec![lane("a")], ..DeliveryQuery::default() };
    let at = |seconds| Some(MORNING.plus(Duration::from_secs(seconds)));
    let carrying = |event: EventId| DeliveryQuery { event: Some(event), ..of_a() };
    for (query, expected) in [
        (of_a(), &["bat_2", "bat_1", "bat_4", "bat_3"][..]),
        (DeliveryQuery { state: Some(DeliveryState::Dead), ..of_a() }, &["bat_4"]),
        (DeliveryQuery { state: Some(DeliveryState::Waiting), ..of_a() }, &["bat_3"]),
        (DeliveryQuery { state: Some(DeliveryState::Delivered), ..of_a() }, &["bat_2", "bat_1"]),
        (DeliveryQuery { since: at(3), ..of_a() }, &["bat_4", "bat_3"]),
        (DeliveryQuery { until: at(3), ..of_a() }, &["bat_2", "bat_1"]),
        (DeliveryQuery { since: at(2), until: at(3), ..of_a() }, &["bat_2"]),
        (carrying(events(3)[0].event.clone()), &["bat_3"]),
        (carrying(events(4)[0].event.clone()), &["bat_4"]),
        (carrying(EventId::from_stored("bat_1")), &["bat_1"]),
        (carrying(EventId::from_stored("evt_other")), &[]),
        (DeliveryQuery { lanes: vec![lane("c"), lane("a")], limit: 1, ..of_a() }, &["bat_2"]),
        (DeliveryQuery { lanes: vec![lane("c")], ..of_a() }, &[]),
        (DeliveryQuery { reason: Some("STATUS".to_owned()), ..of_a() }, &["bat_4", "bat_3"]),
        (DeliveryQuery { reason: Some("status 4".to_owned()), ..of_a() }, &["bat_4"]),
        (DeliveryQuery { status: Some(400), ..of_a() }, &[]),
    ] {
        assert_eq!(ids(&list(&*lanes, query.clone()).await), expected, "{query:?}");
    }
}

pub async fn a_batch_that_was_delivered_is_found_by_each_event_that_it_carried(
    engine: &mut dyn Engine,
) {
    let lanes = open(engine);
    let batch: Vec<EventRef> = (5..8).flat_map(events).collect();
    let delivered = Attempt {
        carried: Carried::of(&batch),
        event_count: 3,
        status: Some(204),
        ..tried(2, 1, "delivered")
    };
    let other = tried(9, 1, "delivered");
    let settlement = Settlement { attempts: vec![delivered, other], ..Settlement::default() };
    settle(&*lanes, "a", settlement).await;
    for event in &batch {
        let at = |sequence| DeliveryQuery {
            event: Some(event.event.clone()),
            event_at: Some(sequence),
            ..DeliveryQuery::default()
        };
        assert_eq!(ids(&list(&*lanes, at(event.sequence)).await), ["bat_2"]);
        assert!(list(&*lanes, at(Sequence(50))).await.is_empty());
    }
    let answered = DeliveryQuery { status: Some(204), ..DeliveryQuery::default() };
    let rows = list(&*lanes, answered).await;
    assert_eq!(ids(&rows), ["bat_2"]);
    assert_eq!(rows[0].carried, Carried::of(&batch));
    let detail = lanes.delivery(&lane("a"), &delivery(2)).await.expect("readable");
    assert_eq!(detail.expect("it is stored").row, rows[0]);
}

pub async fn what_failed_and_was_settled_otherwise_does_not_wait(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let batch = Attempt {
        carried: Carried::of(&(5..8).flat_map(events).collect::<Vec<_>>()),
        ..tried(2, 1, "status 503")
    };
    let settlement = Settlement { attempts: vec![batch], ..moved_to(4) };
    settle(&*lanes, "a", settlement).await;
    for (cursor, state) in [(4, DeliveryState::Waiting), (5, DeliveryState::Replaced)] {
        settle(&*lanes, "a", moved_to(cursor)).await;
        let rows = list(&*lanes, DeliveryQuery::default()).await;
        assert_eq!(rows[0].state, state);
        let detail = lanes.delivery(&lane("a"), &delivery(2)).await.expect("readable");
        assert_eq!(detail.expect("it is stored").row, rows[0]);
        let of_state = DeliveryQuery { state: Some(state), ..DeliveryQuery::default() };
        assert_eq!(list(&*lanes, of_state).await.len(), 1);
    }
}

pub async fn attempts_that_count_differ_from_those_that_were_made(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let failed = (0..4).map(|_| tried(3, 1, "timeout")).collect();
    let parked = vec![parked(3, 1, MORNING)];
    let settlement = Settlement { attempts: failed, parked, ..Settlement::default() };
    settle(&*lanes, "a", settlement).await;
    let rows = list(&*lanes, DeliveryQuery::default()).await;
    assert_eq!((rows[0].attempts, rows[0].made), (1, 4));
}

pub async fn what_has_no_attempt_is_listed_after_what_has_one(engine: &mut dyn Engine) {
    let lanes = open(engine);
    let unknown = Settlement {
        parked: vec![parked(10, 2, Timestamp::from_millis(5))],
        buried: vec![dead_letter("a", 20)],
        ..Settlement::default()
    };
    settle(&*lanes, "a", unknown).await;
    store_four(&*lanes, "a").await;
    let rows = list(&*lanes, DeliveryQuery::default()).await;
    assert_eq!(ids(&rows)[4..], ["bat_10", "bat_20"]);
    assert_eq!((rows[4].state, rows[4].attempts), (DeliveryState::Waiting, 2));
    assert_eq!(rows[4].due_at, Some(Timestamp::from_millis(5)));
    assert_eq!((rows[5].state, rows[5].attempts), (DeliveryState::Dead, 5));
    assert!(rows[4].last.is_none() && rows[5].last.is_none());
    let dead = DeliveryQuery { state: Some(DeliveryState::Dead), ..DeliveryQuery::default() };
    assert_eq!(ids(&list(&*lanes, dead).await), ["bat_4", "bat_20"]);
    let early = DeliveryQuery { until: Some(MORNING), ..DeliveryQuery::default() };
    assert_eq!(ids(&list(&*lanes, early).await), ["bat_10"]);
}

pub async fn a_delivery_is_shown_with_its_attempts_and_events(engine: &mut dyn Engine) {
    let lanes = open(engine);
    store_four(&*lanes, "a").await;
    let full = Attempt {
        timings: Timings {
            dns_ms: Some(1),
            connect_ms: Some(2),
            tls_ms: None,
            answer_ms: Some(0),
            body_ms: Some(u32::MAX),
        },
        address: Some("[::1]:443".to_owned()),
        status: Some(503),
        answer_start: "{\"busy\": \"ü\"}".to_owned(),
        ..tried(3, 2, "status 503")
    };
    settle(&*lanes, "a", Settlement { attempts: vec![full.clone()], ..Settlement::default() })
        .await;
    let show = async |id: &DeliveryId| lanes.delivery(&lane("a"), id).await.expect("readable");
    let listed = list(&*lanes, DeliveryQuery::default()).await;
    for row in &listed {
        let detail = show(&row.id).await.expect("it is listed");
        assert_eq!(detail.row, *row);
        assert_eq!(detail.attempts.last(), row.last.as_ref());
    }
    let waiting = show(&delivery(3)).await.expect("it is stored");
    assert_eq!(waiting.attempts, [tried(3, 1, "status 503"), full]);
    assert_eq!(waiting.events, events(3));
    assert_eq!(show(&delivery(4)).await.expect("it is stored").events, events(4));
    assert_eq!(show(&delivery(2)).await.expect("it is stored").attempts.len(), 3);
    assert_eq!(show(&delivery(77)).await, None);
    assert_eq!(lanes.delivery(&lane("b"), &delivery(3)).await.expect("readable"), None);
}
