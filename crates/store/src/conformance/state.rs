//! Cases of `Destinations`, `Switches` and `Spending`.

use std::{sync::Arc, time::Duration};

use domain::{
    budget::BudgetScope,
    record::Sequence,
    secret::Secret,
    time::{Clock, Timestamp},
};

use crate::{
    conformance::{
        Engine, HandClock, Opened,
        lanes::{moved_to, settle},
        sample::{MORNING, admitted, attempt, dead_letter, lane, note, parked},
    },
    lanes::Settlement,
    state::{SpendStep, Spent, SpentKey, SpentRow, StoredDestination},
};

fn open(engine: &mut dyn Engine) -> Opened {
    engine.open(Arc::new(HandClock::at(MORNING)))
}

fn destination(name: &str, id: &str) -> StoredDestination {
    StoredDestination {
        name: lane(name),
        id: id.to_owned(),
        door: "api".to_owned(),
        spec: "{\"url\": \"https://receiver.example/ü\"}".to_owned(),
        secrets: Vec::new(),
        enabled: true,
        created_at: MORNING,
        updated_at: MORNING,
    }
}

fn with_secrets(name: &str, id: &str, secrets: &[(&str, &str)]) -> StoredDestination {
    let secret = |(slot, text): &(&str, &str)| ((*slot).to_owned(), Secret::new(text));
    StoredDestination { secrets: secrets.iter().map(secret).collect(), ..destination(name, id) }
}

pub async fn a_destination_comes_back_with_its_secrets_in_order(engine: &mut dyn Engine) {
    let opened = open(engine);
    assert_eq!(opened.destinations.all().await.expect("readable"), []);
    let stored = [
        with_secrets("z", "1", &[("secret", "new"), ("secret", "old"), ("header", "ü")]),
        destination("a", "2"),
        with_secrets("m", "3", &[("secret", "")]),
    ];
    for destination in &stored {
        opened.destinations.put(destination.clone()).await.expect("writable");
    }
    assert_eq!(opened.destinations.all().await.expect("readable"), stored);
    engine.crash();
    assert_eq!(open(engine).destinations.all().await.expect("readable"), stored);
}

pub async fn a_destination_takes_the_place_of_the_one_of_its_name(engine: &mut dyn Engine) {
    let destinations = open(engine).destinations;
    let first = with_secrets("a", "1", &[("secret", "one"), ("secret", "two")]);
    destinations.put(first).await.expect("writable");
    destinations.put(destination("b", "2")).await.expect("writable");
    let changed = StoredDestination {
        door: "helicone".to_owned(),
        enabled: false,
        updated_at: Timestamp::from_millis(9),
        ..with_secrets("a", "7", &[("secret", "three")])
    };
    destinations.put(changed.clone()).await.expect("writable");
    let all = destinations.all().await.expect("readable");
    assert_eq!(all, [changed.clone(), destination("b", "2")]);
    // An id is one destination's.
    destinations.put(destination("c", "7")).await.expect_err("the id is taken");
    assert_eq!(destinations.all().await.expect("readable"), all);
}

pub async fn a_removed_destination_takes_all_of_its_lane_along(engine: &mut dyn Engine) {
    let opened = open(engine);
    for name in ["a", "b"] {
        let stored = with_secrets(name, name, &[("secret", name)]);
        opened.destinations.put(stored).await.expect("writable");
        opened.switches.set(&lane(name), Some("why".to_owned())).await.expect("writable");
        let settlement = Settlement {
            parked: vec![parked(1, 1, MORNING)],
            buried: vec![dead_letter(name, 2)],
            attempts: vec![attempt(1)],
            ..moved_to(5)
        };
        settle(&*opened.lanes, name, settlement).await;
    }
    assert!(opened.destinations.remove(&lane("a")).await.expect("writable"));
    assert!(!opened.destinations.remove(&lane("a")).await.expect("writable"));
    engine.crash();
    let opened = open(engine);
    let left = opened.destinations.all().await.expect("readable");
    assert_eq!(left, [with_secrets("b", "b", &[("secret", "b")])]);
    assert_eq!(opened.lanes.cursor(&lane("a")).await.expect("readable"), None);
    assert_eq!(opened.lanes.cursor(&lane("b")).await.expect("readable"), Some(Sequence(5)));
    assert_eq!(opened.lanes.parked(&lane("a")).await.expect("readable"), []);
    assert_eq!(opened.lanes.dead_letters(None, 9).await.expect("readable").len(), 1);
    assert_eq!(opened.switches.disabled().await.expect("readable").len(), 1);
    opened.switches.set(&lane("b"), None).await.expect("writable");
    opened.destinations.remove(&lane("b")).await.expect("writable");
    assert_eq!(opened.switches.resumed().await.expect("readable"), []);
    opened.destinations.put(with_secrets("b", "b", &[])).await.expect("writable");
    // A new one of that name begins without the old one's secrets.
    opened.destinations.put(destination("a", "new")).await.expect("writable");
    let all = opened.destinations.all().await.expect("readable");
    assert_eq!(all[1], destination("a", "new"));
}

pub async fn a_switch_stays_until_it_is_set_back(engine: &mut dyn Engine) {
    let clock = Arc::new(HandClock::at(MORNING));
    let switches = engine.open(Arc::clone(&clock)).switches;
    let later = Timestamp::from_millis(MORNING.as_millis() + 1000);
    switches.set(&lane("b"), Some("410 Gone".to_owned())).await.expect("writable");
    clock.set(later);
    switches.set(&lane("a"), Some("by hand".to_owned())).await.expect("writable");
    switches.set(&lane("b"), Some("by hand".to_owned())).await.expect("writable");
    engine.crash();
    let switches = open(engine).switches;
    let both =
        [(lane("a"), "by hand".to_owned(), later), (lane("b"), "by hand".to_owned(), MORNING)];
    assert_eq!(switches.disabled().await.expect("readable"), both);
    switches.set(&lane("b"), None).await.expect("writable");
    switches.set(&lane("never there"), None).await.expect("writable");
    assert_eq!(switches.disabled().await.expect("readable"), both[..1]);
}

pub async fn when_a_destination_was_last_resumed_is_known(engine: &mut dyn Engine) {
    let clock = Arc::new(HandClock::at(MORNING));
    let switches = engine.open(Arc::clone(&clock)).switches;
    for name in ["a", "b", "b"] {
        switches.set(&lane(name), Some("why".to_owned())).await.expect("writable");
        clock.set(clock.now().plus(Duration::from_secs(1)));
        switches.set(&lane(name), None).await.expect("writable");
    }
    clock.set(clock.now().plus(Duration::from_secs(1)));
    // What is not paused is not resumed.
    switches.set(&lane("a"), None).await.expect("writable");
    switches.set(&lane("c"), None).await.expect("writable");
    engine.crash();
    let opened = open(engine);
    let at = |secs| MORNING.plus(Duration::from_secs(secs));
    let both = [(lane("a"), at(1)), (lane("b"), at(3))];
    assert_eq!(opened.switches.resumed().await.expect("readable"), both);
    opened.switches.set(&lane("b"), Some("again".to_owned())).await.expect("writable");
    opened.lanes.forget(&lane("b")).await.expect("writable");
    assert_eq!(opened.switches.resumed().await.expect("readable"), both[..1]);
    assert_eq!(opened.switches.disabled().await.expect("readable"), []);
}

fn row(matched: &str, spent_nanodollars: i64, told: &[f64]) -> SpentRow {
    let key = SpentKey {
        scope: BudgetScope::EndUser,
        pattern: "*".to_owned(),
        matched: matched.to_owned(),
        duration: "daily".to_owned(),
        period_started_at: MORNING,
    };
    SpentRow { key, spent_nanodollars, told: told.to_vec() }
}

pub async fn spending_advances_in_one_step(engine: &mut dyn Engine) {
    let spending = open(engine).spending;
    assert_eq!(spending.load().await.expect("readable"), Spent::default());
    let first = SpendStep {
        cursor: Sequence(3),
        rows: vec![row("ann", 5, &[]), row("bob", 1 << 60, &[50.0, 99.5])],
        pending: vec![note(2), note(1)],
        ..SpendStep::default()
    };
    spending.advance(first.clone()).await.expect("writable");
    engine.crash();
    let spending = open(engine).spending;
    let stored = Spent { cursor: Some(Sequence(3)), rows: first.rows, pending: first.pending };
    assert_eq!(spending.load().await.expect("readable"), stored);
    let second = SpendStep {
        cursor: Sequence(9),
        rows: vec![row("bob", 7, &[50.0])],
        forgotten: vec![row("ann", 0, &[]).key],
        pending: vec![note(1), note(3)],
        told: vec![note(2).id],
    };
    spending.advance(second.clone()).await.expect("writable");
    let stored =
        Spent { cursor: Some(Sequence(9)), rows: second.rows, pending: vec![note(1), note(3)] };
    assert_eq!(spending.load().await.expect("readable"), stored);
}

/// However much of the journal is lost: what comes then must not pass for what was counted.
pub async fn no_sequence_is_given_again_that_was_counted(engine: &mut dyn Engine) {
    let opened = open(engine);
    let step = SpendStep { cursor: Sequence(41), ..SpendStep::default() };
    opened.spending.advance(step).await.expect("writable");
    let journal = open(engine).journal;
    assert_eq!(journal.append(admitted(1)).await.expect("taken"), Sequence(42));
}
