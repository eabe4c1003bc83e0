//! A disk that is really full: each test runs again in a process of its own, in which a small
//! tmpfs is mounted that no other process sees. Where that is not allowed, it says so.

use std::{fs, path::Path, process::Command, sync::Arc};

use domain::record::{Record, Sequence};
use store::{
    conformance::{
        HandClock,
        journal::{ALL, append_all, expect_unsettled},
        sample::{MORNING, admitted, lane, sealed},
    },
    journal::{AppendError, Health, Journal},
    lanes::Settlement,
    sqlite::{Config, Store},
};

/// Set in the inner process: where the tmpfs is mounted.
const MOUNTED: &str = "STORE_TEST_SMALL_DISK";
const DISK: &str = "8m";
const BALLAST: u64 = 2 << 20;

/// Runs the test of this name with a full-sized disk of 8 MiB.
fn on_a_small_disk(test: &str, body: impl AsyncFnOnce(&Path)) {
    #[expect(clippy::disallowed_methods, reason = "how the outer process tells the inner one")]
    let mounted = std::env::var(MOUNTED);
    if let Ok(path) = mounted {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body(Path::new(&path)));
    }
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size={DISK} tmpfs \"${MOUNTED}\" && exec \"$@\"");
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        // As root without a user namespace; as anyone else root of one's own.
        if !rustix::process::getuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["--mount", "sh", "-c", &script, "sh"]).args(command);
        unshare.env(MOUNTED, dir.path()).output()
    };
    if !unshare(&["true"]).is_ok_and(|output| output.status.success()) {
        #[expect(clippy::print_stderr, reason = "what is not tested is said")]
        {
            eprintln!("NOT TESTED: {test}: this machine does not let us mount a small disk");
        }
        return;
    }
    let program = std::env::current_exe().unwrap();
    let name = format!("full_disk::{test}");
    let output = unshare(&[program.to_str().unwrap(), &name, "--exact", "--nocapture"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}\n{complaints}");
}

fn open(disk: &Path) -> Store {
    let config = Config { ballast_bytes: BALLAST, ..Config::with_defaults(disk.join("data")) };
    Store::open(config, Arc::new(HandClock::at(MORNING))).unwrap()
}

/// Takes all the room that is left.
fn fill(disk: &Path) {
    let path = disk.join("filler");
    for chunk in [64 << 10, 4096, 512] {
        let mut bytes = fs::read(&path).unwrap_or_default();
        loop {
            bytes.extend_from_slice(&vec![1; chunk]);
            if fs::write(&path, &bytes).is_err() {
                break;
            }
        }
    }
}

async fn expect_refused(journal: &dyn Journal, number: u16) {
    let refused = journal.append(admitted(number)).await;
    assert!(
        matches!(&refused, Err(AppendError::Refusing { reason }) if reason.contains("full")),
        "{refused:?}"
    );
}

#[test]
fn a_full_disk_refuses_calls_and_takes_every_outcome_that_is_owed() {
    on_a_small_disk(
        "a_full_disk_refuses_calls_and_takes_every_outcome_that_is_owed",
        async |disk| {
            let store = open(disk);
            let journal = store.journal();
            let owed: Vec<_> = (0..40).collect();
            append_all(&*journal, &owed.iter().map(|n| admitted(*n)).collect::<Vec<_>>()).await;
            fill(disk);
            // Calls come until one is refused; each that was admitted is owed an outcome, too.
            let mut number = 100;
            let mut owed = owed;
            while journal.append(admitted(number)).await.is_ok() {
                owed.push(number);
                number += 1;
            }
            expect_refused(&*journal, 999).await;
            assert!(matches!(journal.health(), Health::Refusing(_)));

            // Together the bodies are larger than the disk.
            for number in &owed {
                journal.append(sealed(*number, 200_000)).await.unwrap();
            }
            expect_refused(&*journal, 999).await;
            store.close();

            let store = open(disk);
            let journal = store.journal();
            expect_unsettled(&*journal, &[]).await;
            let entries = journal.read_after(Sequence(0), ALL).await.unwrap();
            let mut outcomes = 0;
            for entry in &entries {
                if let Record::Sealed(exchange) = &entry.record {
                    outcomes += 1;
                    let whole = 200_000;
                    let kept = exchange.response.bytes.len();
                    assert!(kept <= whole);
                    // The response goes before the request.
                    assert!(exchange.request.bytes.is_empty() || kept == whole);
                    assert_eq!(exchange.request.truncated, exchange.request.bytes.len() < whole);
                }
            }
            assert_eq!(outcomes, owed.len());
            expect_refused(&*journal, 999).await;

            fs::remove_file(disk.join("filler")).unwrap();
            while journal.health() != Health::Ready {
                tokio::task::yield_now().await;
            }
            journal.append(admitted(999)).await.unwrap();
            assert_eq!(fs::metadata(disk.join("data/ballast")).unwrap().len(), BALLAST);
        },
    );
}

#[test]
fn lanes_settle_on_a_full_disk() {
    on_a_small_disk("lanes_settle_on_a_full_disk", async |disk| {
        let store = open(disk);
        let (journal, lanes) = (store.journal(), store.lanes());
        fill(disk);
        for cursor in 1..=100 {
            let settlement = Settlement { cursor: Some(Sequence(cursor)), ..Settlement::default() };
            lanes.settle(&lane(&format!("lane {cursor}")), settlement).await.unwrap();
        }
        // Their state took the ballast, so calls are refused before the journal met the disk.
        expect_refused(&*journal, 1).await;
    });
}

#[test]
fn a_store_opens_on_a_full_disk_and_refuses_calls() {
    on_a_small_disk("a_store_opens_on_a_full_disk_and_refuses_calls", async |disk| {
        let store = open(disk);
        append_all(&*store.journal(), &[admitted(1)]).await;
        store.close();
        fill(disk);
        let store = open(disk);
        let journal = store.journal();
        expect_unsettled(&*journal, &[1]).await;
        journal.append(sealed(1, 1_000)).await.unwrap();
        expect_unsettled(&*journal, &[]).await;
    });
}
