//! A broken database: no new calls, outcomes wait, and all goes on once it is mended.

use domain::record::Sequence;
use store::{
    conformance::{
        Engine, HandClock,
        journal::{append_all, expect_entries, expect_unsettled},
        sample::{MORNING, admitted, attempt, lane, parked, sealed},
    },
    journal::{AppendError, Health},
    lanes::Settlement,
};

use crate::engine::SqliteEngine;

/// Breaks the live file for every connection, until the returned statement is run.
fn break_it(db: &rusqlite::Connection) -> String {
    let made = "SELECT sql FROM sqlite_schema WHERE name = 'blocks'";
    let made: String = db.query_row(made, [], |row| row.get(0)).unwrap();
    db.execute_batch("ALTER TABLE blocks RENAME TO hidden").unwrap();
    assert!(made.starts_with("CREATE TABLE blocks"));
    "ALTER TABLE hidden RENAME TO blocks".to_owned()
}

#[tokio::test]
async fn outcomes_wait_for_a_broken_database_and_calls_are_refused() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(1), admitted(2)]).await;
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let mend = break_it(&db);

    let waiting = journal.append(sealed(1, 100));
    let refused = journal.append(admitted(3)).await;
    assert!(matches!(refused, Err(AppendError::Refusing { .. })), "{refused:?}");
    assert!(matches!(journal.health(), Health::Refusing(reason) if reason.contains("blocks")));

    db.execute_batch(&mend).unwrap();
    assert_eq!(waiting.await.unwrap(), Sequence(3));
    // The writer tries again every second; until then calls are refused at once.
    loop {
        match journal.append(admitted(4)).await {
            Ok(sequence) => break assert_eq!(sequence, Sequence(4)),
            Err(AppendError::Refusing { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(journal.health(), Health::Ready);
    engine.crash();
    let journal = engine.open_now().journal;
    let kept = [admitted(1), admitted(2), sealed(1, 100), admitted(4)];
    expect_entries(&*journal, Sequence(0), &kept).await;
}

#[tokio::test]
async fn when_hope_is_gone_the_caller_is_told_and_the_outcome_comes_once_it_can() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(1), admitted(2)]).await;
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let mend = break_it(&db);
    let told = [journal.append(sealed(1, 100)), journal.append(sealed(2, 100))];
    for told in told {
        let told = told.await;
        assert!(matches!(told, Err(AppendError::Commit { .. })), "{told:?}");
    }
    // A process that ends now leaves the calls open.
    let mut copy = engine.copy();
    let copied = rusqlite::Connection::open(copy.file(".db")).unwrap();
    copied.execute_batch(&mend).unwrap();
    drop(copied);
    let after_crash = copy.open_now().journal;
    expect_unsettled(&*after_crash, &[1, 2]).await;
    append_all(&*after_crash, &[sealed(1, 100)]).await;

    db.execute_batch(&mend).unwrap();
    while journal.health() != Health::Ready {
        tokio::task::yield_now().await;
    }
    let kept = [admitted(1), admitted(2), sealed(1, 100), sealed(2, 100)];
    expect_entries(&*journal, Sequence(0), &kept).await;
    let second = journal.append(sealed(1, 100)).await;
    assert!(matches!(second, Err(AppendError::NotOpen { .. })), "{second:?}");
    engine.crash();
    let journal = engine.open_now().journal;
    expect_unsettled(&*journal, &[]).await;
    expect_entries(&*journal, Sequence(0), &kept).await;
}

#[tokio::test]
async fn an_outcome_that_was_given_up_is_written_when_the_store_closes() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(1)]).await;
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let mend = break_it(&db);
    let told = journal.append(sealed(1, 100)).await;
    assert!(matches!(told, Err(AppendError::Commit { .. })), "{told:?}");
    db.execute_batch(&mend).unwrap();
    let journal = engine.open_now().journal;
    expect_unsettled(&*journal, &[]).await;
    expect_entries(&*journal, Sequence(0), &[admitted(1), sealed(1, 100)]).await;
}

/// What was taken from the queue together is more than a group; what is queued while the first
/// group fails must not be told of before the rest of it.
#[tokio::test]
async fn nothing_overtakes_what_was_queued_before_it_when_a_commit_fails() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(1)]).await;
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let mend = break_it(&db);
    let first = journal.append_soon(sealed(1, 4 << 20));
    let admission = journal.append_soon(admitted(2));
    journal.hurry();
    while journal.health() == Health::Ready {
        tokio::task::yield_now().await;
    }
    let outcome = journal.append(sealed(2, 100));
    let refused = admission.await;
    assert!(matches!(refused, Err(AppendError::Refusing { .. })), "{refused:?}");
    db.execute_batch(&mend).unwrap();
    assert_eq!(first.await.unwrap(), Sequence(2));
    // Its call was never admitted, so there is no call left open without it.
    let refused = outcome.await;
    assert!(matches!(refused, Err(AppendError::NotOpen { .. })), "{refused:?}");
    engine.crash();
    let journal = engine.open_now().journal;
    expect_unsettled(&*journal, &[]).await;
    expect_entries(&*journal, Sequence(0), &[admitted(1), sealed(1, 4 << 20)]).await;
}

#[tokio::test]
async fn calls_are_refused_beforehand_while_the_queue_is_full() {
    let mut engine = SqliteEngine::with(|config| config.queue_bytes_max = 5000);
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(1)]).await;
    assert_eq!(journal.health(), Health::Ready);
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    // A commit waits for this lock, longer than the rest takes.
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The writer takes some of them before it waits.
    let mut outcomes = Vec::new();
    while journal.health() == Health::Ready {
        assert!(outcomes.len() < 1000, "a queue that no writer empties is full");
        outcomes.push(journal.append(sealed(1, 5000)));
    }
    assert!(matches!(journal.health(), Health::Refusing(why) if why.contains("keep up")));
    let refused = journal.append(admitted(2)).await;
    assert!(matches!(refused, Err(AppendError::Refusing { .. })), "{refused:?}");
    db.execute_batch("COMMIT").unwrap();
    for outcome in outcomes {
        // One of them is the outcome, and the others find none wanted.
        drop(outcome.await);
    }
    assert_eq!(journal.health(), Health::Ready);
    append_all(&*journal, &[admitted(2)]).await;
}

#[tokio::test]
async fn a_settlement_that_fails_leaves_nothing_and_takes_no_other_with_it() {
    let mut engine = SqliteEngine::new();
    let lanes = engine.open_now().lanes;
    let db = rusqlite::Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    db.execute_batch("ALTER TABLE attempts RENAME TO hidden").unwrap();
    let moved = Settlement {
        cursor: Some(Sequence(9)),
        parked: vec![parked(1, 1, MORNING)],
        ..Settlement::default()
    };
    let with_attempt = Settlement { attempts: vec![attempt(1)], ..moved.clone() };
    let (names, mut settled) = (["a", "b", "c"].map(lane), Vec::new());
    // Queued before any is waited for, so that they make groups.
    for (name, settlement) in names.iter().zip([&moved, &with_attempt, &moved]) {
        settled.push(lanes.settle(name, settlement.clone()));
    }
    let mut outcomes = Vec::new();
    for settled in settled {
        outcomes.push(settled.await.is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    for (name, stored) in names.iter().zip(outcomes) {
        assert_eq!(lanes.cursor(name).await.unwrap(), stored.then_some(Sequence(9)));
        assert_eq!(lanes.parked(name).await.unwrap().len(), usize::from(stored));
    }
}

#[tokio::test]
async fn only_the_newest_attempts_are_kept() {
    let mut engine = SqliteEngine::with(|config| config.attempts_max = 10);
    let lanes = engine.open(std::sync::Arc::new(HandClock::at(MORNING))).lanes;
    for round in 0..3_u16 {
        let attempts = (0..1000).map(|number| attempt(round * 1000 + number)).collect();
        let settlement = Settlement { attempts, ..Settlement::default() };
        lanes.settle(&lane("a"), settlement).await.unwrap();
    }
    engine.close();
    let db = rusqlite::Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    let (count, oldest): (i64, String) = db
        .query_row("SELECT count(*), min(delivery) FROM attempts", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!((count, oldest.as_str()), (10, "bat_2990"));
}
