//! Secrets on disk: sealed under a key, and nowhere in clear.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use domain::{
    id::DestinationName,
    secret::Secret,
    time::{SystemClock, Timestamp},
};
use store::{
    conformance::Engine,
    sqlite::{Config, OpenError, Store},
    state::StoredDestination,
};

use crate::engine::SqliteEngine;

const CANARY: &str = "whsec_canary-in-the-coal-mine";

fn destination(secret: &str) -> StoredDestination {
    StoredDestination {
        name: DestinationName::new("primary"),
        id: "1".to_owned(),
        door: "api".to_owned(),
        spec: "{}".to_owned(),
        secrets: vec![("secret".to_owned(), Secret::new(secret))],
        enabled: true,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

fn open(config: &Config) -> Result<Store, OpenError> {
    Store::open(config.clone(), Arc::new(SystemClock))
}

fn expect_no_trace(dir: &Path, canary: &str) {
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            expect_no_trace(&path, canary);
            continue;
        }
        // The store may just have put another in its place.
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{} holds the secret", path.display());
    }
}

#[tokio::test]
async fn no_file_holds_a_secret_in_clear() {
    let mut engine = SqliteEngine::new();
    let destinations = engine.open_now().destinations;
    for number in 0..50 {
        let secret = format!("{CANARY}{number}");
        destinations.put(destination(&secret)).await.unwrap();
    }
    expect_no_trace(&engine.config.data_dir, CANARY);
    destinations.remove(&DestinationName::new("primary")).await.unwrap();
    engine.close();
    expect_no_trace(&engine.config.data_dir, CANARY);
}

#[tokio::test]
async fn the_first_start_makes_a_key_file_that_only_its_owner_may_read() {
    let mut engine = SqliteEngine::new();
    let destinations = engine.open_now().destinations;
    destinations.put(destination(CANARY)).await.unwrap();
    let path = engine.config.data_dir.join("secrets.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read(&path).unwrap();
    let again = engine.open_now().destinations;
    assert_eq!(again.all().await.unwrap(), [destination(CANARY)]);
    assert_eq!(fs::read(&path).unwrap(), key);
}

#[tokio::test]
async fn a_configured_key_needs_no_file() {
    let mut engine = SqliteEngine::with(|config| {
        config.encryption_key = Some(Secret::new("a long enough text"));
    });
    engine.open_now().destinations.put(destination(CANARY)).await.unwrap();
    assert!(!engine.config.data_dir.join("secrets.key").exists());
    let again = engine.open_now().destinations;
    assert_eq!(again.all().await.unwrap(), [destination(CANARY)]);
}

#[tokio::test]
async fn another_key_is_refused_and_the_error_says_what_to_do() {
    let mut engine = SqliteEngine::new();
    engine.open_now().destinations.put(destination(CANARY)).await.unwrap();
    engine.close();
    let other = Config {
        encryption_key: Some(Secret::new("another key entirely")),
        ..engine.config.clone()
    };
    let error = open(&other).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the secrets of destination `primary` do not open with the configured encryption key: start \
         with the encryption key that they were sealed under, or without one if that was the file \
         `secrets.key`; to change it, name that one in HOOKGATE_ENCRYPTION_KEY_PREVIOUS as well \
         (`secrets.key` for the file)"
    );

    let path = engine.config.data_dir.join("secrets.key");
    let key = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = open(&engine.config).unwrap_err();
    assert!(matches!(&error, OpenError::NoKey { path: named } if *named == path), "{error}");
    assert!(!path.exists(), "a new key would not open them either");

    fs::write(&path, "not a key").unwrap();
    let error = open(&engine.config).unwrap_err();
    assert!(matches!(&error, OpenError::Corrupt { path: named, .. } if *named == path), "{error}");

    // With the right one back, nothing is lost.
    fs::write(&path, key).unwrap();
    let again = engine.open_now().destinations;
    assert_eq!(again.all().await.unwrap(), [destination(CANARY)]);
}

#[test]
fn a_short_key_is_refused() {
    let engine = SqliteEngine::with(|config| {
        config.encryption_key = Some(Secret::new("too short"));
    });
    let error = open(&engine.config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the encryption key is too short: it needs 16 characters or more"
    );
}

#[tokio::test]
async fn without_stored_secrets_any_key_will_do() {
    let mut engine = SqliteEngine::new();
    engine.open_now();
    engine.close();
    fs::remove_file(engine.config.data_dir.join("secrets.key")).unwrap();
    engine.open_now();
    engine.config.encryption_key = Some(Secret::new("another key entirely"));
    engine.open_now().destinations.put(destination(CANARY)).await.unwrap();
}
