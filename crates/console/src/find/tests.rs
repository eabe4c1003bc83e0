use delivery::{Service, Stores, send::Sender};
use domain::{
    event::Detail,
    exchange::{Exchange, Payload},
    note::{News, Note},
    sample::{NOW, call, facts},
    time::SystemClock,
};
use provider::price::Prices;
use store::sqlite::{Config, Store};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::{policy::tests::policy, service::Parts};

struct World {
    console: Console,
    store: Store,
    _directory: TempDir,
}

/// A store without destinations, and the console over it.
fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        ballast_bytes: 0,
        // Those of the samples are of 2023.
        retention: Duration::from_hours(24 * 365 * 100),
        ..Config::with_defaults(directory.path().to_owned())
    };
    let clock = Arc::new(SystemClock);
    let store = Store::open(config, clock.clone()).unwrap();
    let stores = Stores {
        journal: store.journal(),
        lanes: store.lanes(),
        switches: store.switches(),
        destinations: store.destinations(),
    };
    let config = delivery::config::Config {
        settle_timeout: Duration::ZERO,
        unstored_max: 1,
        events_cached_max: 1,
        disable_after: None,
    };
    let sender = Sender::new().unwrap();
    let service = Service::new(config, Vec::new(), stores, sender, clock.clone());
    let console = Console::new(Parts {
        control: service.control(),
        destinations: store.destinations(),
        files: Vec::new(),
        journal: store.journal(),
        lanes: store.lanes(),
        prices: Arc::new(Prices::new()),
        policy: policy(),
        clock,
        background: Handle::current(),
    });
    World { console, store, _directory: directory }
}

/// The time of the record that is made `number`th.
fn at(number: u64) -> Timestamp {
    NOW.plus(Duration::from_mins(number))
}

fn note(number: u64) -> Record {
    let news =
        News::DestinationRecovered { destination: DestinationName::new("x"), failing_since: NOW };
    let id = EventId::from_stored(&format!("evt_recovered_{number}"));
    Record::Noted(Arc::new(Note { id, at: at(number), news }))
}

/// The admission and the outcome of a call.
fn outcome(number: u64) -> [Record; 2] {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let call = Call { id: CallId::new(at(number), random), arrived_at: at(number), ..call() };
    let mut facts = facts(call);
    facts.finished_at = at(number);
    let call = Arc::clone(&facts.call);
    let (request, response) = (Payload::default(), Payload::default());
    let exchange = Exchange { facts, request, response };
    [Record::Admitted(call), Record::Sealed(Arc::new(exchange))]
}

impl World {
    /// So many notes and outcomes by turns, a minute apart.
    async fn fill(&self, count: u64) {
        let kinds = |number: u64| match number % 2 {
            0 => vec![note(number)],
            _ => outcome(number).into(),
        };
        self.append((1..=count).flat_map(kinds)).await;
    }

    async fn append(&self, records: impl Iterator<Item = Record>) {
        let journal = self.store.journal();
        let commits: Vec<_> = records.map(|record| journal.append(record)).collect();
        let mut last = Sequence(0);
        for commit in commits {
            last = commit.await.unwrap();
        }
        // The head moves right after those who wait were told.
        journal.head().wait_for(|head| last <= *head).await.unwrap();
    }

    async fn search(&self, search: Search) -> Found {
        super::search(&self.console, &search).await.unwrap()
    }
}

fn ids(found: &Found) -> Vec<String> {
    found.events.iter().map(|event| event.id.to_string()).collect()
}

#[tokio::test]
async fn pages_of_any_size_show_the_same_events_once_each_newest_first() {
    let world = world();
    world.fill(101).await;
    let all = world.search(Search { limit: 1_000, ..Search::default() }).await;
    let times: Vec<_> = all.events.iter().map(|event| event.occurred_at).collect();
    assert_eq!(times, (1..=101).rev().map(at).collect::<Vec<_>>());
    assert_eq!((all.next, all.back_to), (None, Some(at(1))));
    for limit in [1, 2, 7, 32, 101] {
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = world.search(Search { before, limit, ..Search::default() }).await;
            assert!(page.events.len() <= limit);
            paged.extend(ids(&page));
            let Some(next) = page.next else { break };
            // As a caller hands it back.
            before = Some(Position::parse(&next.to_string()).unwrap());
        }
        assert_eq!(paged, ids(&all), "{limit} a page");
    }
}

#[tokio::test]
async fn a_search_in_time_reads_about_that_time_only() {
    let world = world();
    world.fill(2_000).await;
    let found = world
        .search(Search {
            since: Some(at(500)),
            until: Some(at(510)),
            limit: 1_000,
            ..Search::default()
        })
        .await;
    let times: Vec<_> = found.events.iter().map(|event| event.occurred_at).collect();
    assert_eq!(times, (500..510).rev().map(at).collect::<Vec<_>>());
    assert!(found.scanned < 200, "{} records are looked at", found.scanned);
    let nothing = Search { until: Some(NOW), limit: 10, ..Search::default() };
    assert_eq!(world.search(nothing).await.events.len(), 0);
}

#[tokio::test]
async fn a_search_ends_at_its_bound_and_says_where_to_go_on() {
    let world = world();
    world.append((1..=RECORDS_MAX + 1_000).map(note)).await;
    let types = vec![EventType::Error];
    let found = world.search(Search { types: types.clone(), limit: 10, ..Search::default() }).await;
    assert!(found.events.is_empty() && found.scanned < RECORDS_MAX + WINDOW_MAX);
    let before = found.next;
    assert!(before.is_some_and(|next| next.sequence <= 1_001), "{before:?}");
    let rest = world.search(Search { types, before, limit: 10, ..Search::default() }).await;
    assert!(rest.next.is_none() && rest.scanned <= 1_001);
}

#[tokio::test]
async fn an_event_is_found_by_its_id_alone() {
    let world = world();
    world.fill(500).await;
    let all = world.search(Search { limit: 1_000, ..Search::default() }).await;
    for found in all.events.iter().step_by(61) {
        let again = event(&world.console, &found.id).await.unwrap();
        assert_eq!(again.as_ref(), Some(found));
    }
    for unknown in ["evt_recovered_1", "evt_", "x", "evt_00000000000000000000000000000000_error"] {
        let found = event(&world.console, &EventId::from_stored(unknown)).await.unwrap();
        assert_eq!(found, None, "{unknown}");
    }
    let Detail::Completion(report) = &all.events.last().unwrap().detail else { unreachable!() };
    let wrong = EventId::of_outcome(report.exchange.facts.call.id, EventType::Error);
    assert_eq!(event(&world.console, &wrong).await.unwrap(), None);
}

#[tokio::test]
async fn a_time_stands_for_the_first_record_of_it_or_the_last_before_it() {
    let world = world();
    world.fill(100).await;
    let position = async |time, which| place(&world.console, time, which).await.unwrap();
    let head = world.console.journal.head().borrow().0;
    assert_eq!(position(NOW, Place::First).await, Sequence(1));
    assert_eq!(position(NOW, Place::Last).await, Sequence(0));
    assert_eq!(position(at(1_000), Place::First).await, Sequence(head + 1));
    assert_eq!(position(at(1_000), Place::Last).await, Sequence(head));
    let middle = position(at(50), Place::First).await;
    assert_eq!(position(at(50), Place::Last).await, Sequence(middle.0 - 1));
}
