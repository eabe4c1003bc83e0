//! Bytes that are not what was written: nothing is skipped in silence, and nothing else is lost.

use std::{fs, os::unix::fs::FileExt, sync::Arc};

use domain::{
    exchange::{Exchange, Payload},
    record::{Record, Sequence},
};
use store::{
    conformance::{
        Engine,
        journal::{ALL, append_all, expect_entries, expect_unsettled},
        sample::{admitted, captured, lane, noted, sealed},
    },
    journal::{Journal, ReadError},
    lanes::Settlement,
};

use crate::engine::SqliteEngine;

fn records() -> Vec<Record> {
    vec![admitted(1), captured(1, 0), sealed(1, 700), admitted(2), sealed(2, 700), admitted(3)]
}

async fn stored(engine: &mut SqliteEngine) {
    let journal = engine.open_now().journal;
    append_all(&*journal, &records()).await;
    engine.close();
}

/// Where the record's frame begins in the data file, each record being a block of its own.
fn position(engine: &SqliteEngine, sequence: u64) -> u64 {
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let position = "SELECT position FROM blocks WHERE first = ?1";
    db.query_row(position, [sequence.cast_signed()], |row| row.get::<_, i64>(0)).unwrap() as u64
}

async fn expect_corrupt(journal: &dyn Journal, cursor: u64, sequence: u64) {
    let refused = journal.read_after(Sequence(cursor), ALL).await;
    assert!(
        matches!(refused, Err(ReadError::Corrupt { sequence: at, .. }) if at.0 == sequence),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_changed_byte_is_reported_by_its_sequence_wherever_it_stands() {
    for sequence in 1..=6 {
        let mut engine = SqliteEngine::new();
        stored(&mut engine).await;
        let data = fs::File::options().read(true).write(true).open(engine.file(".data")).unwrap();
        let at = position(&engine, sequence) + 40;
        let mut byte = [0];
        data.read_exact_at(&mut byte, at).unwrap();
        data.write_all_at(&[byte[0] ^ 4], at).unwrap();

        let journal = engine.open_now().journal;
        expect_corrupt(&*journal, sequence - 1, sequence).await;
        // What stands after it is still there, and the journal goes on.
        expect_entries(&*journal, Sequence(sequence), &records()[sequence as usize..]).await;
        assert_eq!(journal.append(admitted(9)).await.unwrap(), Sequence(7));
    }
}

#[tokio::test]
async fn what_comes_before_the_damage_is_read_first() {
    let mut engine = SqliteEngine::new();
    stored(&mut engine).await;
    let data = fs::File::options().write(true).open(engine.file(".data")).unwrap();
    data.write_all_at(&[0xff; 9], position(&engine, 4)).unwrap();
    let journal = engine.open_now().journal;
    let read = journal.read_after(Sequence(0), ALL).await;
    match read {
        Ok(entries) => assert_eq!(entries.len(), 3),
        Err(error) => panic!("the entries before the damage are whole: {error}"),
    }
    expect_corrupt(&*journal, 3, 4).await;
}

/// Bytes of a frame before its checksummed part.
const PREFIX: usize = 12;

/// Stores all records in one block.
async fn stored_together(engine: &mut SqliteEngine) {
    let journal = engine.open_now().journal;
    let mut commits = Vec::new();
    for record in records() {
        commits.push(journal.append_soon(record));
    }
    journal.hurry();
    for commit in commits {
        commit.await.unwrap();
    }
    engine.close();
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    let blocks: i64 = db.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0)).unwrap();
    assert_eq!(blocks, 1);
}

/// Where frames begin that follow one another, by their lengths.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    loop {
        let at = starts[starts.len() - 1];
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let next = at + PREFIX + length as usize;
        if next == bytes.len() {
            return starts;
        }
        starts.push(next);
    }
}

/// Reads all there is as a lane does: it notes what is corrupt, and goes on from there.
async fn read_through(journal: &dyn Journal) -> (Vec<u64>, Vec<u64>) {
    let (mut read, mut corrupt) = (Vec::new(), Vec::new());
    let mut cursor = Sequence(0);
    loop {
        match journal.read_after(cursor, ALL).await {
            Ok(entries) if entries.is_empty() => return (read, corrupt),
            Ok(entries) => {
                for entry in entries {
                    assert_eq!(entry.record, records()[entry.sequence.0 as usize - 1]);
                    cursor = entry.sequence;
                    read.push(cursor.0);
                }
            }
            Err(ReadError::Corrupt { sequence, .. }) => {
                assert_eq!(sequence, cursor.next(), "all before it was read");
                cursor = sequence;
                corrupt.push(sequence.0);
            }
            refused => drop(refused.unwrap()),
        }
    }
}

async fn sequences_after(journal: &dyn Journal, cursor: u64) -> Vec<u64> {
    let entries = journal.read_after(Sequence(cursor), ALL).await.unwrap();
    entries.iter().map(|entry| entry.sequence.0).collect()
}

/// The calls that stay open when a record cannot be read: 3 has no outcome in any case.
fn open_without(sequence: u64) -> &'static [u16] {
    match sequence {
        3 => &[1, 3],
        5 => &[2, 3],
        6 => &[],
        _ => &[3],
    }
}

#[tokio::test]
async fn a_corrupt_record_takes_no_neighbour_along_whichever_of_its_bytes_changed() {
    let mut whole = SqliteEngine::new();
    stored_together(&mut whole).await;
    let bytes = fs::read(whole.file(".data")).unwrap();
    let starts = starts(&bytes);
    assert_eq!(starts.len(), 6);
    for sequence in 1..=6_u64 {
        let start = starts[sequence as usize - 1];
        // The length's lowest and highest byte, the checksum, the kind, the version, the payload.
        for offset in [0, 7, 8, PREFIX, PREFIX + 1, PREFIX + 40] {
            let mut engine = whole.copy();
            let mut bytes = bytes.clone();
            bytes[start + offset] ^= 0x44;
            fs::write(engine.file(".data"), bytes).unwrap();
            let journal = engine.open_now().journal;
            let others: Vec<_> = (1..=6).filter(|other| *other != sequence).collect();
            let through = read_through(&*journal).await;
            assert_eq!(through, (others, vec![sequence]), "byte {offset} of {sequence}");
            expect_unsettled(&*journal, open_without(sequence)).await;
            assert_eq!(journal.append(admitted(9)).await.unwrap(), Sequence(7));
        }
    }
}

#[tokio::test]
async fn a_length_that_leads_to_a_later_frame_shifts_no_sequence() {
    let mut engine = SqliteEngine::new();
    stored_together(&mut engine).await;
    let mut bytes = fs::read(engine.file(".data")).unwrap();
    let starts = starts(&bytes);
    let length = (starts[3] - starts[1] - PREFIX) as u64;
    bytes[starts[1]..starts[1] + 8].copy_from_slice(&length.to_le_bytes());
    fs::write(engine.file(".data"), bytes).unwrap();
    let journal = engine.open_now().journal;
    assert_eq!(read_through(&*journal).await, (vec![1, 3, 4, 5, 6], vec![2]));
    expect_unsettled(&*journal, &[3]).await;
}

#[tokio::test]
async fn records_between_two_broken_lengths_are_lost_and_those_around_them_are_not() {
    let mut engine = SqliteEngine::new();
    stored_together(&mut engine).await;
    let mut bytes = fs::read(engine.file(".data")).unwrap();
    let starts = starts(&bytes);
    for sequence in [2, 4] {
        bytes[starts[sequence - 1] + 7] = 0x44;
    }
    fs::write(engine.file(".data"), bytes).unwrap();
    let journal = engine.open_now().journal;
    assert_eq!(read_through(&*journal).await, (vec![1, 5, 6], vec![2]));
    let Err(ReadError::Corrupt { what, .. }) = journal.read_after(Sequence(1), ALL).await else {
        panic!("2 is corrupt")
    };
    assert!(what.ends_with("the records up to 4 are lost with it"), "{what}");
    // Wherever a cursor stands among them, reading goes on.
    for cursor in 2..=4 {
        assert_eq!(sequences_after(&*journal, cursor).await, [5, 6]);
    }
}

#[tokio::test]
async fn a_block_whose_bytes_are_gone_is_passed_whole() {
    let mut engine = SqliteEngine::new();
    stored_together(&mut engine).await;
    engine.config.period_bytes_max = 1;
    let journal = engine.open_now().journal;
    append_all(&*journal, &[admitted(9)]).await;
    engine.close();
    fs::File::options().write(true).open(engine.file(".data")).unwrap().set_len(0).unwrap();
    let journal = engine.open_now().journal;
    expect_corrupt(&*journal, 0, 1).await;
    for cursor in 1..=6 {
        assert_eq!(sequences_after(&*journal, cursor).await, [7]);
    }
}

#[tokio::test]
async fn a_corrupt_note_is_reported_like_any_record() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &[noted(1), noted(2), admitted(1)]).await;
    engine.close();
    let data = fs::File::options().write(true).open(engine.file(".data")).unwrap();
    data.write_all_at(b"?", position(&engine, 2) + 60).unwrap();
    let journal = engine.open_now().journal;
    expect_corrupt(&*journal, 1, 2).await;
    expect_entries(&*journal, Sequence(2), &[admitted(1)]).await;
    expect_unsettled(&*journal, &[1]).await;
}

/// An outcome with a response of so many zeros.
fn sealed_with_zeros(number: u16, zeros: usize) -> Record {
    let Record::Sealed(exchange) = sealed(number, 0) else { unreachable!("it is an outcome") };
    let response = Payload::whole(vec![0; zeros].into());
    Record::Sealed(Arc::new(Exchange { response, ..(*exchange).clone() }))
}

#[tokio::test]
async fn an_outcome_that_ends_in_zeros_is_no_hole() {
    let mut engine = SqliteEngine::new();
    let records = [admitted(1), sealed_with_zeros(1, 100_000)];
    append_all(&*engine.open_now().journal, &records).await;
    let journal = engine.open_now().journal;
    expect_entries(&*journal, Sequence(0), &records).await;
    expect_unsettled(&*journal, &[]).await;
}

#[tokio::test]
async fn a_damaged_admission_in_a_later_file_costs_its_own_call_only() {
    let mut engine = SqliteEngine::new();
    append_all(&*engine.open_now().journal, &[admitted(1), admitted(2)]).await;
    engine.config.period_bytes_max = 1;
    append_all(&*engine.open_now().journal, &[admitted(3)]).await;
    engine.close();
    let newest = engine.periods().pop().unwrap();
    assert!(newest > 1);
    let newest = engine.journal_dir().join(format!("{newest:020}.db"));
    let db = rusqlite::Connection::open(newest).unwrap();
    let damage = "UPDATE open_calls SET frame = substr(frame, 1, 50) WHERE sequence = 1";
    assert_eq!(db.execute(damage, []).unwrap(), 1);
    drop(db);
    expect_unsettled(&*engine.open_now().journal, &[2, 3]).await;
}

#[tokio::test]
async fn a_missing_row_is_reported_and_not_skipped() {
    let mut engine = SqliteEngine::new();
    stored(&mut engine).await;
    let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
    db.execute("DELETE FROM blocks WHERE first = 3", []).unwrap();
    drop(db);
    let refused = store::sqlite::Store::open(
        engine.config.clone(),
        std::sync::Arc::new(domain::time::SystemClock),
    );
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("record 3"), "{error}");
}

#[tokio::test]
async fn a_row_missing_in_an_older_file_is_reported_wherever_it_stood() {
    // A file takes three records; the rows are those of the first one.
    for missing in 1..=3_u64 {
        let mut engine = SqliteEngine::new();
        let journal = engine.open_now().journal;
        append_all(&*journal, &records()[..3]).await;
        engine.config.period_bytes_max = 1;
        let journal = engine.open_now().journal;
        append_all(&*journal, &records()[3..]).await;
        engine.close();
        assert_eq!(engine.periods(), [1, 4, 5, 6]);
        let db = rusqlite::Connection::open(engine.file(".db")).unwrap();
        db.execute("DELETE FROM blocks WHERE first = ?1", [missing.cast_signed()]).unwrap();
        drop(db);
        let journal = engine.open_now().journal;
        let before = journal.read_after(Sequence(0), ALL).await;
        assert_eq!(before.map_or(0, |entries| entries.len()), missing as usize - 1);
        expect_corrupt(&*journal, missing - 1, missing).await;
        expect_entries(&*journal, Sequence(3), &records()[3..]).await;
    }
}

#[tokio::test]
async fn data_that_never_reached_the_disk_end_the_journal_before_them() {
    for holes in [false, true] {
        let mut engine = SqliteEngine::new();
        stored(&mut engine).await;
        let data = fs::File::options().write(true).open(engine.file(".data")).unwrap();
        let length = data.metadata().unwrap().len();
        data.set_len(position(&engine, 5) + 100).unwrap();
        if holes {
            data.set_len(length).unwrap();
        }
        let journal = engine.open_now().journal;
        expect_entries(&*journal, Sequence(0), &records()[..4]).await;
        expect_unsettled(&*journal, &[2]).await;
        assert_eq!(journal.append(sealed(2, 5)).await.unwrap(), Sequence(5));
        engine.crash();
        let journal = engine.open_now().journal;
        expect_entries(&*journal, Sequence(4), &[sealed(2, 5)]).await;
    }
}

#[tokio::test]
async fn a_lost_end_gives_no_sequence_again_that_a_lane_has_settled() {
    let mut engine = SqliteEngine::new();
    stored(&mut engine).await;
    let lanes = engine.open_now().lanes;
    let settled = Settlement { cursor: Some(Sequence(6)), ..Settlement::default() };
    lanes.settle(&lane("a"), settled).await.unwrap();
    engine.close();
    let data = fs::File::options().write(true).open(engine.file(".data")).unwrap();
    data.set_len(position(&engine, 4)).unwrap();

    let journal = engine.open_now().journal;
    assert_eq!(*journal.head().borrow(), Sequence(6));
    assert_eq!(journal.append(admitted(7)).await.unwrap(), Sequence(7));
    for reopened in [false, true] {
        let journal = if reopened { engine.open_now().journal } else { journal.clone() };
        expect_entries(&*journal, Sequence(6), &[admitted(7)]).await;
        let all = journal.read_after(Sequence(0), ALL).await.unwrap();
        let sequences: Vec<_> = all.iter().map(|entry| entry.sequence.0).collect();
        assert_eq!(sequences, [1, 2, 3, 7]);
    }
}

/// What a loss of power may leave of SQLite's write-ahead log: any beginning of it.
#[tokio::test]
async fn any_cut_of_the_log_leaves_a_beginning_of_the_journal() {
    let mut engine = SqliteEngine::new();
    let journal = engine.open_now().journal;
    append_all(&*journal, &records()).await;
    engine.crash();
    let wal = fs::read(engine.file(".db-wal")).unwrap();
    assert!(wal.len() > 6 * 4096, "nothing was checkpointed");
    let mut kept = Vec::new();
    for length in (0..=wal.len()).rev().step_by(1013) {
        let mut engine = engine.copy();
        fs::write(engine.file(".db-wal"), &wal[..length]).unwrap();
        let journal = engine.open_now().journal;
        let head = journal.head().borrow().0;
        expect_entries(&*journal, Sequence(0), &records()[..head as usize]).await;
        assert_eq!(journal.append(admitted(40)).await.unwrap(), Sequence(head + 1));
        kept.push(head);
    }
    kept.dedup();
    assert_eq!(kept, [6, 5, 4, 3, 2, 1, 0]);
}
