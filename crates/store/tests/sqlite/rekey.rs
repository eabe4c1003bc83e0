//! Stored secrets are brought under another key: all of them, or none.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::Arc,
};

use domain::{id::DestinationName, secret::Secret, time::SystemClock};
use rusqlite::{Connection, types::Value};
use store::{
    conformance::{Engine, sample::MORNING},
    sqlite::{Config, OpenError, PreviousKey, Store},
    state::StoredDestination,
};

use crate::engine::SqliteEngine;

const OLD: &str = "the key of yesterday";
const NEW: &str = "the key of today, 18";

/// One of every kind of secret that the console stores.
fn destination(name: &str) -> StoredDestination {
    let secret = |slot: &str| (slot.to_owned(), Secret::new(&format!("{slot} of {name}")));
    StoredDestination {
        name: DestinationName::new(name),
        id: name.to_owned(),
        door: "api".to_owned(),
        spec: "{}".to_owned(),
        secrets: ["secret", "previous", "header:X-Token", "client_key"].map(secret).into(),
        enabled: true,
        created_at: MORNING,
        updated_at: MORNING,
    }
}

/// A store with two destinations, closed.
async fn filled(key: Option<&str>) -> SqliteEngine {
    let mut engine = SqliteEngine::new();
    engine.config = keys(&engine.config, key, None);
    let destinations = engine.open_now().destinations;
    for name in ["a", "b"] {
        destinations.put(destination(name)).await.unwrap();
    }
    engine.close();
    engine
}

/// These settings with other keys; `secrets.key` as the previous one is the file.
fn keys(config: &Config, key: Option<&str>, previous: Option<&str>) -> Config {
    let previous_key = previous.map(|text| match text {
        "secrets.key" => PreviousKey::KeyFile,
        text => PreviousKey::Text(Secret::new(text)),
    });
    Config { encryption_key: key.map(Secret::new), previous_key, ..config.clone() }
}

/// Opens with these keys and closes again; all secrets are as they were, or it does not open.
async fn open(
    engine: &SqliteEngine,
    key: Option<&str>,
    previous: Option<&str>,
) -> Result<(), OpenError> {
    let store = Store::open(keys(&engine.config, key, previous), Arc::new(SystemClock))?;
    let all = store.destinations().all().await.unwrap();
    assert_eq!(all, [destination("a"), destination("b")]);
    Ok(())
}

/// The columns of `state.db` that hold bytes, which is what sealing makes, and what stands in them.
fn sealed(engine: &SqliteEngine) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    let db = Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    let mut columns = db
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND c.type = 'BLOB'",
        )
        .unwrap();
    let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
    let bytes = |(table, column): (String, String)| {
        let mut rows = db.prepare(&format!("SELECT {column} FROM {table}")).unwrap();
        let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        (format!("{table}.{column}"), rows.map(Result::unwrap).collect())
    };
    columns.into_iter().map(bytes).collect()
}

#[tokio::test]
async fn from_every_key_to_every_other_one_and_then_the_old_one_is_refused() {
    let file = None;
    for (old, previous, new) in
        [(Some(OLD), OLD, Some(NEW)), (Some(OLD), OLD, file), (file, "secrets.key", Some(NEW))]
    {
        let engine = filled(old).await;
        let before = sealed(&engine);
        open(&engine, new, Some(previous)).await.unwrap();
        // What a new kind of secret is sealed into shows up here: let `destination` fill it.
        for (column, after) in sealed(&engine) {
            assert!(!after.is_empty(), "{column} is not tried");
            assert!(after.is_disjoint(&before[&column]), "{column} is sealed as it was");
        }
        let error = open(&engine, old, None).await.unwrap_err();
        assert!(matches!(error, OpenError::WrongKey { .. } | OpenError::NoKey { .. }), "{error}");

        // The previous key may stay or go, and what is as it should be is left alone.
        let after = sealed(&engine);
        open(&engine, new, Some(previous)).await.unwrap();
        open(&engine, new, Some("a third key altogether")).await.unwrap();
        open(&engine, new, None).await.unwrap();
        assert_eq!(sealed(&engine), after);
    }
}

#[tokio::test]
async fn another_key_file_takes_the_place_of_one_that_is_moved_away() {
    let engine = filled(None).await;
    let path = engine.config.data_dir.join("secrets.key");
    let old = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    open(&engine, None, Some(&old)).await.unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), old);
    open(&engine, None, None).await.unwrap();
    fs::write(&path, old).unwrap();
    assert!(matches!(open(&engine, None, None).await, Err(OpenError::WrongKey { .. })));
}

#[tokio::test]
async fn a_wrong_previous_key_changes_nothing_and_the_error_says_what_to_do() {
    let engine = filled(Some(OLD)).await;
    let before = sealed(&engine);
    let path = engine.config.data_dir.join("secrets.key");
    let shown = path.display();
    let configured = "the configured encryption key";
    let given = "the one in HOOKGATE_ENCRYPTION_KEY_PREVIOUS";
    let missing = format!("the key file `{shown}`, which is not there");
    for (new, previous, with, tried) in [
        (Some(NEW), "a third key altogether", configured, given),
        (Some(NEW), "secrets.key", configured, &missing),
        (None, "a third key altogether", &missing, given),
    ] {
        let error = open(&engine, new, Some(previous)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the secrets of destination `a` open neither with {with} nor with {tried}: name the \
                 key that they were sealed under in HOOKGATE_ENCRYPTION_KEY_PREVIOUS (`secrets.key` \
                 for the file of that name in the data directory)"
            )
        );
    }
    assert_eq!(sealed(&engine), before);
    assert!(!path.exists(), "a key file that opens nothing is not made");

    // One secret that opens with neither holds back all of them.
    let db = Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    let last =
        "UPDATE destination_secrets SET sealed = ?1 WHERE (destination, position) = ('b', 3)";
    db.execute(last, [Value::Blob(vec![7; 60])]).unwrap();
    drop(db);
    let damaged = sealed(&engine);
    let error = open(&engine, Some(NEW), Some(OLD)).await.unwrap_err();
    let OpenError::WrongPreviousKey { destination, .. } = &error else { panic!("{error}") };
    assert_eq!(destination, "b");
    assert_eq!(sealed(&engine), damaged);
}
