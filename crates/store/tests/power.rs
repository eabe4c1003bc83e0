//! Loss of power: whatever the disk held back, nothing that was acknowledged under
//! `Durability::Power` is lost.
//!
//! A test here records all that a store does to its files, lays down what the disk may hold after
//! some step, and opens it. `SEED=… cargo test` repeats a run.

#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{path::Path, sync::Arc};

use domain::{
    id::DestinationName,
    record::{Entry, Record, Sequence},
    secret::Secret,
    time::SystemClock,
};
use powerloss::Recording;
use store::{
    conformance::{
        journal::ALL,
        sample::{MORNING, admitted, attempt, captured, lane, note, noted, parked, sealed},
    },
    journal::ReadError,
    lanes::Settlement,
    sqlite::{Config, Durability, OpenError, PreviousKey, Store},
    state::{SpendStep, StoredDestination},
};

/// One recording at a time, also where tests share a process.
static RECORDING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Cuts of one recording.
const CUTS: usize = 60;

/// What was acknowledged by a step of the recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Acked {
    step: usize,
    /// The first so many records.
    records: usize,
    /// The cursor of lane `a`, and of spending; so many deliveries are parked.
    settled: u64,
    destinations: usize,
}

struct Run {
    recording: Recording,
    records: Vec<Record>,
    acked: Vec<Acked>,
}

fn config(dir: &Path, durability: Durability) -> Config {
    Config {
        durability,
        // Several files, so that some are prepared, renamed, checkpointed and closed.
        period_bytes_max: 300_000,
        tail_bytes_max: 0,
        ballast_bytes: 0,
        ..Config::with_defaults(dir.join("data"))
    }
}

fn open(dir: &Path, durability: Durability) -> Result<Store, OpenError> {
    Store::open(config(dir, durability), Arc::new(SystemClock))
}

fn destination(number: usize) -> StoredDestination {
    StoredDestination {
        name: DestinationName::new(&format!("d{number}")),
        id: number.to_string(),
        door: "api".to_owned(),
        spec: "{}".to_owned(),
        secrets: vec![("secret".to_owned(), Secret::new("whsec_s"))],
        enabled: true,
        created_at: MORNING,
        updated_at: MORNING,
    }
}

impl Run {
    async fn record(durability: Durability, dice: &mut fastrand::Rng) -> Self {
        let _recording = RECORDING.lock().await;
        let dir = tempfile::tempdir().unwrap();
        powerloss::start(dir.path());
        let mut run = Self::new();
        for _ in 0..2 {
            let store = open(dir.path(), durability).unwrap();
            for _ in 0..40 {
                run.go_on(&store, dice).await;
            }
            store.close();
        }
        run.recording = powerloss::stop();
        run
    }

    fn new() -> Self {
        // Replaced by the real one in the end.
        Self { recording: Recording::default(), records: Vec::new(), acked: vec![Acked::default()] }
    }

    fn last(&self) -> Acked {
        *self.acked.last().expect("there is a first")
    }

    fn ack(&mut self, change: impl FnOnce(&mut Acked)) {
        let mut acked = Acked { step: powerloss::mark(), ..self.last() };
        change(&mut acked);
        self.acked.push(acked);
    }

    async fn go_on(&mut self, store: &Store, dice: &mut fastrand::Rng) {
        let number = self.last().records as u16;
        // Blocks that stand in their row, and blocks that stand in the data file.
        let bytes = [10, 3000, 60_000, 200_000][dice.usize(..4)];
        let group = [admitted(number), captured(number, 0), noted(number), sealed(number, bytes)];
        let group = &group[..if dice.bool() { 4 } else { 3 }];
        let journal = store.journal();
        let commits: Vec<_> = group.iter().map(|record| journal.append(record.clone())).collect();
        self.records.extend(group.iter().cloned());
        for commit in commits {
            commit.await.unwrap();
        }
        let records = self.records.len();
        self.ack(|acked| acked.records = records);

        let settled = self.last().settled + 1;
        let settlement = Settlement {
            cursor: Some(Sequence(settled)),
            parked: vec![parked(settled as u16, 1, MORNING)],
            attempts: vec![attempt(settled as u16)],
            ..Settlement::default()
        };
        store.lanes().settle(&lane("a"), settlement).await.unwrap();
        let pending = vec![note(settled as u16)];
        let step = SpendStep { cursor: Sequence(settled), pending, ..SpendStep::default() };
        store.spending().advance(step).await.unwrap();
        self.ack(|acked| acked.settled = settled);

        if dice.u8(..8) == 0 {
            let destinations = self.last().destinations + 1;
            store.destinations().put(destination(destinations)).await.unwrap();
            self.ack(|acked| acked.destinations = destinations);
        }
    }

    /// Cuts the power after a step. Says what is missing or wrong, if anything is.
    async fn cut(&self, step: usize, dice: &mut fastrand::Rng) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data/journal")).unwrap();
        self.recording.lay_down(step, dice, dir.path()).unwrap();
        let acked = self.acked.iter().rfind(|acked| acked.step <= step).expect("the first");
        let store = match open(dir.path(), Durability::Power) {
            Ok(store) => store,
            Err(error) => return Err(format!("it does not open: {error}: {acked:?}")),
        };
        let read = read_all(&store).await.map_err(|error| format!("{error}: {acked:?}"))?;
        let kept = read.len();
        if kept < acked.records {
            return Err(format!("{kept} records are left: {acked:?}"));
        }
        for (number, entry) in read.iter().enumerate() {
            if entry.sequence.0 != number as u64 + 1 || entry.record != self.records[number] {
                return Err(format!("record {} is another", number + 1));
            }
        }
        let spent = store.spending().load().await.unwrap();
        let found = [
            store.lanes().cursor(&lane("a")).await.unwrap().map_or(0, |cursor| cursor.0),
            store.lanes().parked(&lane("a")).await.unwrap().len() as u64,
            spent.cursor.map_or(0, |cursor| cursor.0),
            spent.pending.len() as u64,
        ];
        if found.iter().any(|found| *found < acked.settled) {
            return Err(format!("{found:?} is settled: {acked:?}"));
        }
        let destinations = store.destinations().all().await.unwrap().len();
        if destinations < acked.destinations {
            return Err(format!("{destinations} destinations are left: {acked:?}"));
        }
        Ok(())
    }
}

async fn read_all(store: &Store) -> Result<Vec<Arc<Entry>>, ReadError> {
    let mut all: Vec<Arc<Entry>> = Vec::new();
    loop {
        let cursor = all.last().map_or(Sequence(0), |entry| entry.sequence);
        let some = store.journal().read_after(cursor, ALL).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "repeats a run that failed")]
    let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}

/// Cuts a recorded run at random steps; says what each of them lost.
async fn lost(durability: Durability, seed: u64) -> Vec<String> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let run = Run::record(durability, &mut dice).await;
    assert!(run.recording.len() > 500, "{} steps", run.recording.len());
    let mut lost = Vec::new();
    for _ in 0..CUTS {
        let step = dice.usize(..=run.recording.len());
        if let Err(what) = run.cut(step, &mut dice).await {
            lost.push(format!("after step {step}: {what}"));
        }
    }
    lost
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_wherever_the_power_fails() {
    let seed = seed();
    let lost = lost(Durability::Power, seed).await;
    assert!(lost.is_empty(), "SEED={seed}\n{}", lost.join("\n"));
}

/// What shows that the layer drops anything at all.
#[tokio::test]
async fn process_durability_does_lose_what_was_acknowledged() {
    let lost = lost(Durability::Process, seed()).await;
    assert!(lost.iter().any(|what| what.contains("records are left")), "{lost:#?}");
}

const OLD_KEY: &str = "the key of yesterday";
const NEW_KEY: &str = "the key of today, 18";
const DESTINATIONS: usize = 100;

fn open_with(dir: &Path, key: &str, previous: Option<&str>) -> Result<Store, OpenError> {
    let config = Config {
        encryption_key: Some(Secret::new(key)),
        previous_key: previous.map(|text| PreviousKey::Text(Secret::new(text))),
        ..config(dir, Durability::Process)
    };
    Store::open(config, Arc::new(SystemClock))
}

/// Whether these keys open what is there. If they do, all of it is there.
async fn opens(dir: &Path, key: &str, previous: Option<&str>) -> bool {
    match open_with(dir, key, previous) {
        Err(OpenError::WrongKey { .. }) => false,
        opened => {
            let destinations = opened.unwrap().destinations().all().await.unwrap();
            assert_eq!(destinations.len(), DESTINATIONS);
            true
        }
    }
}

/// So it is under `Durability::Process` too: who reads that the previous key is no longer needed
/// throws it away.
#[tokio::test]
async fn wherever_the_power_fails_all_secrets_are_under_the_old_key_or_all_under_the_new_one() {
    let _recording = RECORDING.lock().await;
    let seed = seed();
    let mut dice = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    powerloss::start(dir.path());
    let store = open_with(dir.path(), OLD_KEY, None).unwrap();
    for number in 0..DESTINATIONS {
        store.destinations().put(destination(number)).await.unwrap();
    }
    store.close();
    let before = powerloss::mark();
    let store = open_with(dir.path(), NEW_KEY, Some(OLD_KEY)).unwrap();
    let told = powerloss::mark();
    store.close();
    let recording = powerloss::stop();

    let mut under_new = Vec::new();
    for step in before..=recording.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data/journal")).unwrap();
        recording.lay_down(step, &mut dice, dir.path()).unwrap();
        let at = format!("SEED={seed}, after step {step} of {before}..{told}..{}", recording.len());
        let is_new = opens(dir.path(), NEW_KEY, None).await;
        assert_eq!(opens(dir.path(), OLD_KEY, None).await, !is_new, "{at}");
        assert!(is_new || step < told, "{at}: the previous key is still needed");
        assert!(opens(dir.path(), NEW_KEY, Some(OLD_KEY)).await, "{at}");
        assert!(opens(dir.path(), NEW_KEY, None).await, "{at}");
        under_new.push(is_new);
    }
    assert!(!under_new[0] && under_new.contains(&true), "the change is among the steps");
}
