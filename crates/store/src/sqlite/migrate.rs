//! Brings a database to the newest schema. The version stands in `PRAGMA user_version`.

use std::path::Path;

use rusqlite::Connection;

use crate::sqlite::{OpenError, files::engine};

/// A schema: the statements that lead from each version to the next, from version 0 (empty) on.
pub(super) type Migrations = &'static [&'static str];

/// Files of the journal.
pub(super) const PERIOD: Migrations = &[include_str!("sql/period.sql")];

/// `state.db`.
pub(super) const STATE: Migrations = &[
    include_str!("sql/state.sql"),
    include_str!("sql/state_2.sql"),
    include_str!("sql/state_3.sql"),
    include_str!("sql/state_4.sql"),
];

/// Runs what is missing, each step in a transaction with its version. A newer schema is left alone.
pub(super) fn migrate(
    db: &mut Connection,
    path: &Path,
    migrations: Migrations,
) -> Result<(), OpenError> {
    let found = version(db).map_err(engine(path))?;
    let known = u32::try_from(migrations.len()).expect("a handful");
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    for (to, statements) in (1_u32..).zip(migrations).skip(found as usize) {
        step(db, to, statements).map_err(engine(path))?;
    }
    Ok(())
}

/// The schema version of a database; 0 for an empty one.
pub(super) fn version(db: &Connection) -> rusqlite::Result<u32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn step(db: &mut Connection, to: u32, statements: &str) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    tx.execute_batch(statements)?;
    tx.pragma_update(None, "user_version", to)?;
    tx.commit()
}
