//! Files begin by bytes and by age, and go whole when their newest entry is past retention.

use std::{sync::Arc, time::Duration};

use domain::record::Sequence;
use store::conformance::{
    Engine, HandClock,
    journal::{ALL, append_all, expect_entries, expect_unsettled},
    sample::{MORNING, admitted, sealed},
};

use crate::engine::SqliteEngine;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_file_ends_by_bytes() {
    let mut engine = SqliteEngine::with(|config| config.period_bytes_max = 30_000);
    let journal = engine.open_now().journal;
    let records: Vec<_> = (1..=12).flat_map(|n| [admitted(n), sealed(n, 2500)]).collect();
    append_all(&*journal, &records).await;
    // An outcome takes about 6,000 bytes: five calls fill a file.
    let periods = engine.periods();
    assert_eq!(periods.len(), 3, "{periods:?}");
    let journal = engine.open_now().journal;
    expect_entries(&*journal, Sequence(0), &records).await;
}

#[tokio::test]
async fn a_file_ends_by_age() {
    let clock = Arc::new(HandClock::at(MORNING));
    let mut engine = SqliteEngine::with(|config| config.retention = 24 * HOUR);
    let journal = engine.open(Arc::clone(&clock)).journal;
    append_all(&*journal, &[admitted(1)]).await;
    clock.set(MORNING.plus(HOUR).minus(Duration::from_nanos(1)));
    append_all(&*journal, &[sealed(1, 1)]).await;
    assert_eq!(engine.periods(), [1]);
    clock.set(MORNING.plus(HOUR));
    append_all(&*journal, &[admitted(2)]).await;
    assert_eq!(engine.periods(), [1, 3]);
}

#[tokio::test]
async fn what_is_past_retention_goes_and_reads_skip_it() {
    let clock = Arc::new(HandClock::at(MORNING));
    let mut engine = SqliteEngine::with(|config| {
        config.retention = 24 * HOUR;
        config.tail_bytes_max = 0;
    });
    let journal = engine.open(Arc::clone(&clock)).journal;
    append_all(&*journal, &[admitted(1), sealed(1, 1), admitted(2)]).await;
    clock.set(MORNING.plus(10 * HOUR));
    append_all(&*journal, &[admitted(3)]).await;
    clock.set(MORNING.plus(20 * HOUR));
    append_all(&*journal, &[sealed(3, 1)]).await;
    assert_eq!(engine.periods(), [1, 4, 5]);

    // The keeper looks at start, and then every minute.
    clock.set(MORNING.plus(24 * HOUR));
    engine.open(Arc::clone(&clock));
    engine.close();
    assert_eq!(engine.periods(), [1, 4, 5], "the newest entry is not past retention yet");
    clock.set(MORNING.plus(24 * HOUR + Duration::from_nanos(1)));
    let journal = engine.open(Arc::clone(&clock)).journal;
    engine.close();
    assert_eq!(engine.periods(), [4, 5]);
    assert_eq!(journal.oldest(), Sequence(4));

    let journal = engine.open(clock).journal;
    assert_eq!(journal.oldest(), Sequence(4));
    expect_entries(&*journal, Sequence(3), &[admitted(3), sealed(3, 1)]).await;
    let read = journal.read_after(Sequence(0), ALL).await.unwrap();
    assert_eq!(read[0].sequence, Sequence(4));
    // The call whose admission went still gets its outcome.
    expect_unsettled(&*journal, &[2]).await;
    append_all(&*journal, &[sealed(2, 1)]).await;
}

#[tokio::test]
async fn the_live_file_stays_however_old() {
    let clock = Arc::new(HandClock::at(MORNING));
    let mut engine = SqliteEngine::with(|config| config.retention = 24 * HOUR);
    let journal = engine.open(Arc::clone(&clock)).journal;
    append_all(&*journal, &[admitted(1), sealed(1, 1)]).await;
    engine.close();
    clock.set(MORNING.plus(1000 * HOUR));
    let journal = engine.open(clock).journal;
    append_all(&*journal, &[admitted(2)]).await;
    expect_entries(&*journal, Sequence(2), &[admitted(2)]).await;
}
