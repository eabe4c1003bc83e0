//! `Spending` on `state.db`.

use domain::{budget::BudgetScope, note::Note, record::Sequence, time::Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row, named_params};

use crate::{
    journal::BoxFuture,
    lanes::LanesError,
    sqlite::lanes::{SqliteLanes, rows},
    state::{SpendStep, Spending, Spent, SpentKey, SpentRow},
};

impl Spending for SqliteLanes {
    fn load(&self) -> BoxFuture<'_, std::result::Result<Spent, LanesError>> {
        self.read(|db| Ok(Spent { cursor: cursor(db)?, rows: spent(db)?, pending: pending(db)? }))
    }

    fn advance(&self, step: SpendStep) -> BoxFuture<'_, std::result::Result<(), LanesError>> {
        let change = self.change(move |db, _| advance(db, &step).map(|()| 0));
        Box::pin(async { change.await.map(|_| ()) })
    }
}

/// Up to where the journal is counted.
pub(super) fn cursor(db: &Connection) -> Result<Option<Sequence>> {
    db.prepare_cached("SELECT sequence FROM spend_cursor")?
        .query_row([], |row| rows::sequence(row, "sequence"))
        .optional()
}

fn advance(db: &Connection, step: &SpendStep) -> Result<()> {
    for SpentKey { scope, pattern, matched, duration, period_started_at } in &step.forgotten {
        db.prepare_cached(include_str!("sql/forget_spent.sql"))?.execute(named_params! {
            ":scope": scope.as_str(),
            ":pattern": pattern,
            ":matched": matched,
            ":duration": duration,
            ":period_started_at": period_started_at.as_nanos(),
        })?;
    }
    for SpentRow { key, spent_nanodollars, told } in &step.rows {
        db.prepare_cached(include_str!("sql/spend.sql"))?.execute(named_params! {
            ":scope": key.scope.as_str(),
            ":pattern": key.pattern,
            ":matched": key.matched,
            ":duration": key.duration,
            ":period_started_at": key.period_started_at.as_nanos(),
            ":nanodollars": spent_nanodollars,
            ":told": to_json(told),
        })?;
    }
    for note in &step.pending {
        db.prepare_cached(include_str!("sql/pend_note.sql"))?
            .execute(named_params! {":id": note.id.as_str(), ":note": to_json(note)})?;
    }
    for id in &step.told {
        db.prepare_cached(include_str!("sql/unpend_note.sql"))?
            .execute(named_params! {":id": id.as_str()})?;
    }
    db.prepare_cached(include_str!("sql/count_up_to.sql"))?
        .execute(named_params! {":sequence": step.cursor.0.cast_signed()})?;
    Ok(())
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data, written into memory")
}

fn spent(db: &Connection) -> Result<Vec<SpentRow>> {
    db.prepare_cached(include_str!("sql/spent.sql"))?
        .query_map([], |row| {
            let key = SpentKey {
                scope: scope(row)?,
                pattern: row.get("pattern")?,
                matched: row.get("matched")?,
                duration: row.get("duration")?,
                period_started_at: Timestamp::from_nanos(row.get("period_started_at")?),
            };
            let told = rows::json(row, "told")?;
            Ok(SpentRow { key, spent_nanodollars: row.get("nanodollars")?, told })
        })?
        .collect()
}

fn pending(db: &Connection) -> Result<Vec<Note>> {
    db.prepare_cached(include_str!("sql/pending_notes.sql"))?
        .query_map([], |row| rows::json(row, "note"))?
        .collect()
}

fn scope(row: &Row<'_>) -> Result<BudgetScope> {
    let text = row.get_ref("scope")?.as_str()?;
    [BudgetScope::Gateway, BudgetScope::Key, BudgetScope::EndUser, BudgetScope::Tag]
        .into_iter()
        .find(|scope| scope.as_str() == text)
        .ok_or_else(|| rows::misfit(format!("`{text}` is no scope of budgets").into()))
}
