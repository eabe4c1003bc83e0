//! What the journal holds at start: where it ends, and which calls have no outcome.
//!
//! Reads the newest period whole, so a flaw in it is seen before anything builds on it. Bytes that
//! a loss of power kept from the disk are cut off, which `Durability::Process` allows for and says;
//! bytes that changed on the disk stay, and reading them fails.

use std::{collections::HashMap, path::Path, sync::Arc};

use domain::{call::Call, id::CallId, record::Sequence, time::Timestamp};

use crate::{
    journal::ReadError,
    sqlite::{
        Durability, OpenError,
        catalog::Catalog,
        codec::{self, Kind},
        files::{self, engine},
        live::Live,
        migrate,
        open_calls::OpenCalls,
        period_reader::{PeriodReader, StoredBlock},
    },
};

/// So many zero bytes at the end of a block are a hole in the file, not something that was written.
const HOLE_BYTES: usize = 64;

/// The journal as the last process left it.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) live: Live,
    pub(super) head: Sequence,
    pub(super) open: OpenCalls,
}

/// Opens the newest period, or begins the first one. `floor` is the furthest that a lane settled:
/// no sequence up to it is given again, even if the records were lost.
pub(super) fn recover(
    catalog: &Catalog,
    floor: Sequence,
    now: Timestamp,
    durability: Durability,
) -> Result<Recovered, OpenError> {
    while let Some(first) = catalog.newest() {
        let path = catalog.database(first);
        if !has_begun(&path)? {
            catalog.remove(first);
            catalog.remove_files(first).map_err(engine(&path))?;
            continue;
        }
        let scan = scan(catalog, first).map_err(|error| opening(&path, error))?;
        let live = Live::open(catalog, first, durability)
            .map_err(|error| engine(&path)(error.into_cause()))?;
        let head = scan.head;
        if let Some(cut) = scan.cut_from {
            tracing::warn!(
                first = cut.0, path = %path.display(),
                "The journal's newest records never reached the disk; it ends before them.",
            );
            live.cut_after(head).map_err(|error| engine(&path)(error.into_cause()))?;
        }
        let open = scan.open_calls();
        if head >= floor {
            return Ok(Recovered { live, head, open });
        }
        tracing::warn!(
            head = head.0,
            floor = floor.0,
            "The journal ends before what lanes have settled; it goes on after that.",
        );
        return begin(catalog, head, floor, now, open, durability);
    }
    begin(catalog, floor, floor, now, OpenCalls::default(), durability)
}

fn begin(
    catalog: &Catalog,
    head: Sequence,
    floor: Sequence,
    now: Timestamp,
    open: OpenCalls,
    durability: Durability,
) -> Result<Recovered, OpenError> {
    let first = floor.next();
    let live = Live::begin(catalog, (head, first), now, &open.in_order(), durability)
        .map_err(|error| engine(&catalog.database(first))(error.into_cause()))?;
    catalog.add(first);
    Ok(Recovered { live, head: floor, open })
}

/// Whether a period became the live one, rather than being left half made by a crash.
fn has_begun(path: &Path) -> Result<bool, OpenError> {
    let db = files::database(path).map_err(engine(path))?;
    let found = migrate::version(&db).map_err(engine(path))?;
    let known = u32::try_from(migrate::PERIOD.len()).expect("a handful");
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    if found == 0 {
        return Ok(false);
    }
    db.query_row("SELECT count(*) = 1 FROM period", [], |row| row.get(0)).map_err(engine(path))
}

/// What a walk through a period found.
#[derive(Debug)]
struct Scan {
    head: Sequence,
    /// The first of the blocks at the end whose bytes are missing.
    cut_from: Option<Sequence>,
    open: HashMap<CallId, (Sequence, Vec<u8>)>,
}

fn scan(catalog: &Catalog, first: Sequence) -> Result<Scan, ReadError> {
    let period = PeriodReader::open(catalog, first)?;
    let head = Sequence(first.0.saturating_sub(1));
    let mut scan = Scan { head, cut_from: None, open: HashMap::new() };
    scan.carry(&period)?;
    let mut end = head;
    period.each_block_from(Sequence(0), |block| {
        if block.first != end.next() {
            let what = format!("the next one is {}", block.first);
            return Err(ReadError::Corrupt { sequence: end.next(), what });
        }
        end = block.last;
        scan.block(block);
        Ok(true)
    })?;
    scan.head = match scan.cut_from {
        Some(cut) => Sequence(cut.0 - 1),
        None => end,
    };
    Ok(scan)
}

impl Scan {
    /// Takes over the calls that were open when the period began.
    fn carry(&mut self, period: &PeriodReader) -> Result<(), ReadError> {
        let mut statement = period.db.prepare("SELECT sequence, frame FROM open_calls")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sequence = Sequence(row.get::<_, i64>(0)?.cast_unsigned());
            let frame: Vec<u8> = row.get(1)?;
            for place in codec::places(&frame, sequence, sequence) {
                match place.frame {
                    Ok(frame) => {
                        self.open.insert(frame.call, (sequence, frame.payload.to_vec()));
                    }
                    Err(flaw) => lost_call(sequence, &flaw.0),
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: StoredBlock) {
        if ends_in_hole(&block) {
            self.cut_from.get_or_insert(block.first);
            return;
        }
        if let Some(cut) = self.cut_from.take() {
            tracing::error!(
                sequence = cut.0,
                "A record's bytes are missing; reading it will fail."
            );
        }
        let bytes = block.bytes.unwrap_or_default();
        for place in codec::places(&bytes, block.first, block.last) {
            match place.frame {
                Ok(frame) if frame.kind == Kind::Admitted => {
                    self.open.insert(frame.call, (place.first, frame.payload.to_vec()));
                }
                Ok(frame) if frame.kind == Kind::Sealed => {
                    self.open.remove(&frame.call);
                }
                Ok(_) => {}
                Err(flaw) => {
                    tracing::error!(
                        sequence = place.first.0,
                        last = place.last.0,
                        what = flaw.0,
                        "A record is corrupt; reading it will fail.",
                    );
                }
            }
        }
    }

    fn open_calls(self) -> OpenCalls {
        let mut open = OpenCalls::default();
        for (sequence, json) in self.open.into_values() {
            match codec::decode_json::<Call>(&json) {
                Ok(call) => open.insert(sequence, Arc::new(call)),
                Err(flaw) => lost_call(sequence, &flaw.0),
            }
        }
        open
    }
}

/// A call that is open and cannot be read gets no outcome; that must not keep all others from theirs.
fn lost_call(sequence: Sequence, what: &str) {
    tracing::error!(
        sequence = sequence.0,
        what,
        "The admission of an open call is corrupt; the call gets no outcome.",
    );
}

/// Whether a block's bytes never reached the disk, all or the last of them. What was written may end
/// in zeros, too, but then its checksum fits.
fn ends_in_hole(block: &StoredBlock) -> bool {
    let Some(bytes) = &block.bytes else { return true };
    let end = &bytes[bytes.len().saturating_sub(HOLE_BYTES)..];
    end.iter().all(|byte| *byte == 0)
        && codec::places(bytes, block.first, block.last)
            .last()
            .is_none_or(|place| place.frame.is_err())
}

fn opening(path: &Path, error: ReadError) -> OpenError {
    match error {
        ReadError::Corrupt { sequence, what } => {
            OpenError::Corrupt { path: path.to_owned(), what: format!("record {sequence}: {what}") }
        }
        other => engine(path)(other),
    }
}
