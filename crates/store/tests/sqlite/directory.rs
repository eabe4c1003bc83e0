//! The data directory: who may use it, and what is refused.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use domain::{record::Sequence, time::SystemClock};
use store::{
    conformance::{
        Engine, HandClock,
        sample::{MORNING, dead_letter, delivery, lane},
    },
    lanes::Settlement,
    sqlite::{OpenError, Store, open_beside},
};

use crate::engine::{SqliteEngine, small_config};

#[tokio::test]
async fn a_second_store_in_one_directory_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let first = Store::open(small_config(data_dir.clone()), Arc::new(SystemClock)).unwrap();
    let second = Store::open(small_config(data_dir.clone()), Arc::new(SystemClock));
    let error = second.unwrap_err();
    assert!(matches!(&error, OpenError::InUse { path } if *path == data_dir), "{error}");
    first.close();
    Store::open(small_config(data_dir), Arc::new(SystemClock)).unwrap().close();
}

#[tokio::test]
async fn only_the_owner_may_read_what_is_stored() {
    let mut engine = SqliteEngine::new();
    let opened = engine.open(Arc::new(HandClock::at(MORNING)));
    opened.lanes.settle(&lane("a"), Settlement::default()).await.unwrap();
    let mut seen = 0;
    each_file(&engine.config.data_dir, &mut |path| {
        seen += 1;
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    });
    assert!(seen >= 8, "{seen} files and directories");
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    for file in ["state.db", "journal/00000000000000000001.db"] {
        let mut engine = SqliteEngine::new();
        engine.open(Arc::new(HandClock::at(MORNING)));
        engine.close();
        let path = engine.config.data_dir.join(file);
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "user_version", 99).unwrap();
        drop(db);
        let error = Store::open(engine.config.clone(), Arc::new(SystemClock)).unwrap_err();
        let known_here = if file == "state.db" { 4 } else { 1 };
        let expected = matches!(
            &error,
            OpenError::Newer { path: named, found: 99, known }
                if *named == path && *known == known_here
        );
        assert!(expected, "{error}");
    }
}

#[test]
fn a_directory_without_a_store_has_no_lanes() {
    let dir = tempfile::tempdir().unwrap();
    let Err(error) = open_beside(dir.path()) else { panic!("opened nothing") };
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_letter_revived_beside_a_running_gateway_is_noticed_there() {
    let mut engine = SqliteEngine::new();
    let running = engine.open(Arc::new(HandClock::at(MORNING)));
    let mut changed = running.lanes.changed();
    let settlement = Settlement {
        cursor: Some(Sequence(3)),
        buried: vec![dead_letter("a", 1), dead_letter("a", 2)],
        ..Settlement::default()
    };
    running.lanes.settle(&lane("a"), settlement).await.unwrap();
    assert!(!changed.has_changed().unwrap(), "its own changes are not news");

    let beside = open_beside(&engine.config.data_dir).unwrap().lanes;
    assert_eq!(beside.dead_letters(None, 10).await.unwrap().len(), 2);
    assert_eq!(beside.revive(&lane("a"), Some(&[delivery(2)])).await.unwrap(), 1);

    changed.changed().await.unwrap();
    let parked = running.lanes.parked(&lane("a")).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((&parked[0].id, parked[0].attempts), (&delivery(2), 0));
}

fn each_file(path: &Path, visit: &mut dyn FnMut(&Path)) {
    visit(path);
    if path.is_dir() {
        for file in fs::read_dir(path).unwrap() {
            each_file(&file.unwrap().path(), visit);
        }
    }
}
