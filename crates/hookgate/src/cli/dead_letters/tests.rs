use std::sync::Arc;

use clap::Parser;
use domain::{
    carried::Carried,
    delivery::{EventRef, Timings},
    id::EventId,
    record::Sequence,
    time::{Clock, SystemClock},
};
use store::{
    lanes::Settlement,
    sqlite::{Config, Store},
};

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// A store in which `letters` were buried: destination and id.
struct World {
    store: Store,
    dir: tempfile::TempDir,
}

impl World {
    fn with(letters: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { ballast_bytes: 0, ..Config::with_defaults(dir.path().to_owned()) };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(config, clock).unwrap();
        for (number, (destination, id)) in letters.iter().enumerate() {
            let letter = DeadLetter {
                destination: DestinationName::new(destination),
                id: DeliveryId::new(id),
                events: vec![EventRef {
                    sequence: Sequence(1),
                    event: EventId::from_stored("evt_1"),
                }],
                attempts: 5,
                buried_at: Timestamp::from_millis(1_700_000_000_123 + number as i64),
                reason: "status 500: out of\norder".to_owned(),
            };
            let lane = letter.destination.clone();
            let settlement = Settlement { buried: vec![letter], ..Settlement::default() };
            block_on(store.lanes().settle(&lane, settlement)).unwrap();
        }
        Self { store, dir }
    }

    /// The output, or the error, of the command beside the open store.
    fn run(&self, words: &[&str]) -> String {
        let dir = self.dir.path().to_str().unwrap();
        let words = ["dead-letters"].into_iter().chain(words.iter().copied());
        let words = words.chain(["--data-dir", dir]);
        let args = Command::try_parse_from(words).unwrap().args;
        let mut out = Vec::new();
        match run(args, &Environment::new(), &mut out) {
            Ok(_) => String::from_utf8(out).unwrap(),
            Err(error) => format!("error: {error}"),
        }
    }

    fn parked(&self, destination: &str) -> usize {
        let lane = DestinationName::new(destination);
        block_on(self.store.lanes().parked(&lane)).unwrap().len()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn dead_letters_are_listed_with_where_when_and_why() {
    let world = World::with(&[("primary", "evt_1"), ("rubrik", "bat_2")]);
    insta::assert_snapshot!(world.run(&[]), @r"
    ID     DESTINATION  EVENTS  ATTEMPTS  GIVEN UP AT           REASON
    evt_1  primary      1       5         2023-11-14T22:13:20Z  status 500: out of order
    bat_2  rubrik       1       5         2023-11-14T22:13:20Z  status 500: out of order
    ");
    let one = world.run(&["list", "--destination", "rubrik"]);
    assert!(one.contains("bat_2") && !one.contains("evt_1"), "{one}");
    let first = world.run(&["list", "--limit", "1"]);
    assert!(first.contains("evt_1") && !first.contains("bat_2"), "{first}");
    assert!(first.ends_with("… and more; list them with --limit.\n"), "{first}");
    assert_eq!(world.run(&["list", "--destination", "x"]), "There are no dead letters.\n");
}

#[test]
fn what_is_named_is_sent_again_and_nothing_else() {
    let world = World::with(&[("primary", "evt_1"), ("primary", "evt_2"), ("rubrik", "bat_3")]);
    assert_eq!(
        world.run(&["retry"]),
        "error: say which: --id ID, --model GLOB, --status STATUS or another filter, or --all"
    );
    assert_eq!(
        world.run(&["retry", "--id", "evt_2", "--id", "evt_9"]),
        "1 dead letter will be sent again, once a gateway runs on this data.\n\
         1 of those ids was not found.\n"
    );
    assert_eq!((world.parked("primary"), world.parked("rubrik")), (1, 0));
    assert_eq!(
        world.run(&["retry", "--all", "--destination", "primary"]),
        "1 dead letter will be sent again, once a gateway runs on this data.\n"
    );
    assert_eq!((world.parked("primary"), world.parked("rubrik")), (2, 0));
    assert_eq!(
        world.run(&["retry", "--id", "evt_9"]),
        "No dead letter matches; nothing is sent again.\n"
    );
    assert_eq!(
        world.run(&["retry", "--all"]),
        "1 dead letter will be sent again, once a gateway runs on this data.\n"
    );
    assert_eq!(world.run(&["list"]), "There are no dead letters.\n");
}

#[test]
fn those_given_up_at_a_time_or_for_a_reason_are_listed_and_sent_again() {
    let world = World::with(&[("primary", "evt_1"), ("primary", "evt_2"), ("rubrik", "bat_3")]);
    for (filter, count) in [
        (["--since", "2023-11-14T22:13:20Z"], 3),
        (["--since", "2023-11-14T22:13:21Z"], 0),
        (["--until", "2023-11-14T22:13:20.124Z"], 1),
        (["--until", "1700000000"], 0),
        (["--reason", "STATUS 500"], 3),
        (["--reason", "timeout"], 0),
    ] {
        let said = world.run(&[&["list"], &filter[..]].concat());
        // A head stands over them.
        assert_eq!(said.lines().count(), 1 + count, "{filter:?}: {said}");
    }
    let wrong = Command::try_parse_from(["dead-letters", "--since", "noon"]);
    assert!(wrong.is_err_and(|error| error.to_string().contains("2026-11-21T10:30:00Z")));
    let of = ["retry", "--destination", "primary", "--reason", "status 5"];
    let said = world.run(&[&of[..], &["--until", "2023-11-14T22:13:20.124Z"]].concat());
    assert!(said.starts_with("1 dead letter will be sent again"), "{said}");
    assert_eq!((world.parked("primary"), world.parked("rubrik")), (1, 0));
}

#[test]
fn letters_of_replays_are_told_as_such() {
    let world = World::with(&[("primary", "evt_1")]);
    assert!(!world.run(&[]).contains("hookgate replay list"));
    let world = World::with(&[("replay_19a2", "evt_1")]);
    assert!(world.run(&[]).contains("hookgate replay list"));
}

#[test]
fn one_is_shown_with_each_of_its_attempts() {
    let world = World::with(&[("primary", "evt_1"), ("rubrik", "evt_1")]);
    let lane = DestinationName::new("primary");
    let attempt = |status: Option<u16>, result: &str| Attempt {
        delivery: DeliveryId::new("evt_1"),
        number: 1,
        started_at: Timestamp::from_millis(1_700_000_000_000),
        duration_ms: 47,
        timings: Timings { connect_ms: Some(3), answer_ms: Some(40), ..Timings::default() },
        address: Some("192.0.2.7:443".to_owned()),
        status,
        answer_start: "out of\norder".to_owned(),
        result: result.to_owned(),
        event_count: 1,
        carried: Carried::default(),
    };
    let attempts = vec![attempt(None, "timeout"), attempt(Some(500), "status 500")];
    let settlement = Settlement { attempts, ..Settlement::default() };
    block_on(world.store.lanes().settle(&lane, settlement)).unwrap();
    insta::assert_snapshot!(world.run(&["show", "evt_1", "--destination", "primary"]));
    let both = world.run(&["show", "evt_1"]);
    assert!(both.contains("to rubrik") && both.contains("no longer known"), "{both}");
    assert_eq!(world.run(&["show", "evt_9"]), "There is no dead letter `evt_9`.\n");
}

#[test]
fn a_directory_without_data_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("none");
    let words = ["dead-letters", "--data-dir", data_dir.to_str().unwrap()];
    let args = Command::try_parse_from(words).unwrap().args;
    let error = run(args, &Environment::new(), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains(&data_dir.display().to_string()), "{error}");
    assert!(!data_dir.exists());
}
