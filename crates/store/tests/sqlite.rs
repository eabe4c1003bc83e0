//! The SQLite engine: the suite that every engine must pass, under several settings, and what is
//! its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "sqlite/damage.rs"]
mod damage;
#[path = "sqlite/directory.rs"]
mod directory;
#[path = "sqlite/engine.rs"]
mod engine;
#[path = "sqlite/full_disk.rs"]
mod full_disk;
#[path = "sqlite/law.rs"]
mod law;
#[path = "sqlite/rekey.rs"]
mod rekey;
#[path = "sqlite/retention.rs"]
mod retention;
#[path = "sqlite/secrets.rs"]
mod secrets;
#[path = "sqlite/trouble.rs"]
mod trouble;
#[path = "sqlite/upgrade.rs"]
mod upgrade;

mod with_defaults {
    store::conformance_tests!(crate::engine::SqliteEngine::new());
}

mod with_power_durability {
    store::conformance_tests!(crate::engine::SqliteEngine::with(|config| {
        config.durability = store::sqlite::Durability::Power;
    }));
}

/// Every commit begins a file, and every read goes to files.
mod with_short_periods_and_no_memory {
    store::conformance_tests!(crate::engine::SqliteEngine::with(|config| {
        config.period_bytes_max = 1;
        config.tail_bytes_max = 0;
    }));
}
