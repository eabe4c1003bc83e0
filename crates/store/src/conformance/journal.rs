//! Cases of `Journal`.

use std::sync::Arc;

use domain::record::{Entry, Record, Sequence};

use crate::{
    conformance::{
        Engine, HandClock, Opened,
        sample::{MORNING, admitted, call, captured, noted, sealed},
    },
    journal::{AppendError, Health, Journal, ReadError, ReadLimit},
};

/// More than any case stores.
pub const ALL: ReadLimit = ReadLimit { entries_max: usize::MAX, bytes_max: usize::MAX };

pub async fn sequences_are_consecutive_from_1(engine: &mut dyn Engine) {
    let journal = open(engine);
    assert_eq!(journal.oldest(), Sequence(1));
    assert_eq!(*journal.head().borrow(), Sequence(0));
    for number in 1..=100 {
        let sequence = journal.append(admitted(number)).await.expect("taken");
        assert_eq!(sequence, Sequence(u64::from(number)));
    }
    assert_eq!(journal.oldest(), Sequence(1));
    assert_eq!(journal.health(), Health::Ready);
    let journal = open(engine);
    assert_eq!(*journal.head().borrow(), Sequence(100));
    assert_eq!(journal.append(sealed(7, 3)).await.expect("taken"), Sequence(101));
}

pub async fn a_record_is_queued_whether_its_commit_is_polled_or_not(engine: &mut dyn Engine) {
    let journal = open(engine);
    drop(journal.append(admitted(1)));
    let second = journal.append(sealed(1, 0));
    let third = journal.append(admitted(2));
    assert_eq!(third.await.expect("taken"), Sequence(3));
    assert_eq!(second.await.expect("taken"), Sequence(2));
}

pub async fn a_record_in_no_hurry_is_committed_before_the_next_one(engine: &mut dyn Engine) {
    let journal = open(engine);
    let admission = journal.append_soon(admitted(1));
    assert_eq!(journal.append(sealed(1, 10)).await.expect("taken"), Sequence(2));
    assert_eq!(admission.await.expect("taken"), Sequence(1));
    engine.crash();
    let journal = open(engine);
    expect_entries(&*journal, Sequence(0), &[admitted(1), sealed(1, 10)]).await;
}

pub async fn a_record_in_no_hurry_is_committed_when_someone_hurries_or_closes(
    engine: &mut dyn Engine,
) {
    let journal = open(engine);
    journal.hurry();
    let admission = journal.append_soon(admitted(1));
    journal.hurry();
    assert_eq!(admission.await.expect("taken"), Sequence(1));
    let admission = journal.append_soon(admitted(2));
    engine.close();
    assert_eq!(admission.await.expect("taken"), Sequence(2));
    let journal = open(engine);
    expect_unsettled(&*journal, &[1, 2]).await;
}

pub async fn what_is_read_is_what_was_appended(engine: &mut dyn Engine) {
    let records = [
        admitted(1),
        captured(1, 0),
        admitted(2),
        captured(1, 1),
        sealed(1, 40_000),
        sealed(2, 0),
        admitted(3),
        noted(1),
        sealed(3, 3_000_000),
    ];
    let journal = open(engine);
    append_all(&*journal, &records).await;
    expect_entries(&*journal, Sequence(0), &records).await;
    let journal = open(engine);
    expect_entries(&*journal, Sequence(0), &records).await;
    expect_entries(&*journal, Sequence(6), &records[6..]).await;
    expect_entries(&*journal, Sequence(9), &[]).await;
    expect_entries(&*journal, Sequence(99), &[]).await;
}

pub async fn a_read_stops_at_its_limit_and_the_next_goes_on(engine: &mut dyn Engine) {
    let records: Vec<_> = (1..=40).flat_map(|n| [admitted(n), sealed(n, 500)]).collect();
    let mut journal = open(engine);
    append_all(&*journal, &records).await;
    for reopened in [false, true] {
        if reopened {
            journal = open(engine);
        }
        for limit in [
            ReadLimit { entries_max: 7, bytes_max: usize::MAX },
            ReadLimit { entries_max: usize::MAX, bytes_max: 3500 },
        ] {
            let mut cursor = Sequence(0);
            let mut read = Vec::new();
            loop {
                let some = journal.read_after(cursor, limit).await.expect("readable");
                let Some(last) = some.last() else { break };
                assert!(some.len() <= 7, "3 outcomes have 3,000 bytes, 4 admissions have none");
                cursor = last.sequence;
                read.extend(some.iter().map(|entry| entry.record.clone()));
            }
            assert_eq!(read, records);
        }
    }
}

pub async fn a_read_gives_at_least_one_entry_however_large(engine: &mut dyn Engine) {
    let records = [admitted(1), sealed(1, 2_000_000)];
    let limit = ReadLimit { entries_max: 0, bytes_max: 0 };
    let mut journal = open(engine);
    append_all(&*journal, &records).await;
    for reopened in [false, true] {
        if reopened {
            journal = open(engine);
        }
        let one = journal.read_after(Sequence(1), limit).await.expect("readable");
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].record, records[1]);
    }
}

pub async fn the_head_follows_the_commits(engine: &mut dyn Engine) {
    let journal = open(engine);
    let mut head = journal.head();
    for number in 1..=3 {
        let sequence = journal.append(admitted(number)).await.expect("taken");
        let reached = head.wait_for(|head| *head >= sequence).await.expect("open");
        assert_eq!(*reached, sequence);
    }
}

pub async fn what_was_acknowledged_survives_a_crash(engine: &mut dyn Engine) {
    let mut records = Vec::new();
    for round in 0..5_u16 {
        let journal = open(engine);
        let more = [admitted(round), captured(round, 0), sealed(round, 100 << (2 * round))];
        append_all(&*journal, &more).await;
        records.extend(more);
        engine.crash();
        let journal = open(engine);
        expect_entries(&*journal, Sequence(0), &records).await;
        assert_eq!(*journal.head().borrow(), Sequence(records.len() as u64));
    }
}

pub async fn a_call_takes_one_outcome(engine: &mut dyn Engine) {
    let journal = open(engine);
    expect_not_open(&*journal, sealed(1, 1)).await;
    expect_not_open(&*journal, captured(1, 0)).await;
    append_all(&*journal, &[admitted(1), sealed(1, 1)]).await;
    expect_not_open(&*journal, sealed(1, 2)).await;
    expect_not_open(&*journal, captured(1, 0)).await;
    append_all(&*journal, &[admitted(2)]).await;
    assert!(journal.append(admitted(2)).await.is_err(), "an admission is made once");
    let journal = open(engine);
    expect_not_open(&*journal, sealed(1, 3)).await;
    append_all(&*journal, &[sealed(2, 1)]).await;
    expect_not_open(&*journal, sealed(2, 1)).await;
    let records = [admitted(1), sealed(1, 1), admitted(2), sealed(2, 1)];
    expect_entries(&*journal, Sequence(0), &records).await;
}

pub async fn a_record_that_does_not_fit_leaves_the_others_alone(engine: &mut dyn Engine) {
    let journal = open(engine);
    // Appended without waiting, so that an engine that makes groups makes one of them.
    let records =
        [admitted(1), sealed(2, 1), captured(1, 0), sealed(1, 1), sealed(1, 2), admitted(3)];
    let commits: Vec<_> = records.iter().map(|record| journal.append(record.clone())).collect();
    let mut taken = Vec::new();
    for commit in commits {
        taken.push(commit.await.ok().map(|sequence| sequence.0));
    }
    assert_eq!(taken, [Some(1), None, Some(2), Some(3), None, Some(4)]);
    let kept = [admitted(1), captured(1, 0), sealed(1, 1), admitted(3)];
    expect_entries(&*journal, Sequence(0), &kept).await;
}

pub async fn a_note_is_of_no_call_and_survives_a_crash(engine: &mut dyn Engine) {
    let journal = open(engine);
    // The same news may come again: whoever appends it decides.
    append_all(&*journal, &[noted(1), admitted(1), noted(2), noted(1)]).await;
    engine.crash();
    let journal = open(engine);
    let records = [noted(1), admitted(1), noted(2), noted(1)];
    expect_entries(&*journal, Sequence(0), &records).await;
    expect_unsettled(&*journal, &[1]).await;
}

pub async fn open_calls_of_an_earlier_process_are_unsettled_until_they_are_sealed(
    engine: &mut dyn Engine,
) {
    let journal = open(engine);
    append_all(&*journal, &[admitted(1), admitted(2), admitted(3), sealed(2, 9)]).await;
    expect_unsettled(&*journal, &[]).await;
    engine.crash();
    let journal = open(engine);
    append_all(&*journal, &[admitted(4)]).await;
    expect_unsettled(&*journal, &[1, 3]).await;
    append_all(&*journal, &[sealed(3, 0)]).await;
    expect_unsettled(&*journal, &[1]).await;
    engine.crash();
    let journal = open(engine);
    expect_unsettled(&*journal, &[1, 4]).await;
    append_all(&*journal, &[sealed(1, 0), sealed(4, 0)]).await;
    expect_unsettled(&*journal, &[]).await;
    let journal = open(engine);
    expect_unsettled(&*journal, &[]).await;
}

pub async fn a_closed_journal_says_so(engine: &mut dyn Engine) {
    let journal = open(engine);
    append_all(&*journal, &[admitted(1)]).await;
    let queued = journal.append(sealed(1, 10));
    engine.close();
    assert_eq!(queued.await.expect("closing commits what is queued"), Sequence(2));
    let refused = journal.append(admitted(2)).await;
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    // What is in memory may still be read; what is not finds the journal closed.
    let journal_again = open(engine);
    engine.close();
    let refused = journal_again.read_after(Sequence(0), ALL).await;
    assert!(matches!(refused, Err(ReadError::Closed)), "{refused:?}");
}

fn open(engine: &mut dyn Engine) -> Arc<dyn Journal> {
    let Opened { journal, .. } = engine.open(Arc::new(HandClock::at(MORNING)));
    journal
}

/// Appends records one by one; each must be taken.
pub async fn append_all(journal: &dyn Journal, records: &[Record]) {
    for record in records {
        journal.append(record.clone()).await.expect("taken");
    }
}

/// Reads all entries after a cursor and compares them with records of consecutive sequences.
pub async fn expect_entries(journal: &dyn Journal, cursor: Sequence, records: &[Record]) {
    let read = journal.read_after(cursor, ALL).await.expect("readable");
    let expected = (cursor.0 + 1..).zip(records).map(|(sequence, record)| {
        Arc::new(Entry { sequence: Sequence(sequence), record: record.clone() })
    });
    assert_eq!(read, expected.collect::<Vec<_>>());
}

/// Compares the unsettled calls with those of the numbers.
pub async fn expect_unsettled(journal: &dyn Journal, numbers: &[u16]) {
    let mut ids: Vec<_> =
        journal.unsettled().await.expect("readable").iter().map(|call| call.id).collect();
    ids.sort_unstable();
    let expected: Vec<_> = numbers.iter().map(|number| call(*number).id).collect();
    assert_eq!(ids, expected);
}

async fn expect_not_open(journal: &dyn Journal, record: Record) {
    let id = record.call_id().expect("it is about a call");
    let refused = journal.append(record).await;
    assert!(matches!(refused, Err(AppendError::NotOpen { call }) if call == id), "{refused:?}");
}
