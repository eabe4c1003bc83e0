//! A `state.db` of schema version 1 becomes one of today, with all that it held.

use std::fs;

use domain::record::Sequence;
use rusqlite::Connection;
use store::{
    conformance::{
        Engine,
        sample::{MORNING, dead_letter, delivery, lane, parked},
    },
    lanes::{DeliveryQuery, DeliveryState},
};

use crate::engine::SqliteEngine;

/// What `sqlite3 state.db .dump` said of a file that version 1 left behind after a crash: a cursor, a
/// delivery that waits, and one that is dead, tried once each.
const DUMP: &str = include_str!("state_v1.sql");

fn lay_down(engine: &SqliteEngine) {
    fs::create_dir_all(&engine.config.data_dir).unwrap();
    let db = Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(DUMP).unwrap();
    // A dump leaves this out.
    db.pragma_update(None, "user_version", 1).unwrap();
}

#[tokio::test]
async fn a_state_of_version_1_keeps_all_that_it_held() {
    let mut engine = SqliteEngine::new();
    lay_down(&engine);
    for _ in 0..2 {
        let opened = engine.open_now();
        assert_eq!(opened.lanes.cursor(&lane("a")).await.unwrap(), Some(Sequence(41)));
        assert_eq!(opened.lanes.parked(&lane("a")).await.unwrap(), [parked(1, 2, MORNING)]);
        assert_eq!(opened.lanes.dead_letters(None, 9).await.unwrap(), [dead_letter("a", 2)]);
        let query = DeliveryQuery { limit: 9, ..DeliveryQuery::default() };
        let rows = opened.lanes.deliveries(query).await.unwrap();
        let shown: Vec<_> = rows.iter().map(|row| (row.id.clone(), row.state)).collect();
        assert_eq!(
            shown,
            [(delivery(2), DeliveryState::Dead), (delivery(1), DeliveryState::Waiting),]
        );
        let last = rows[0].last.as_ref().unwrap();
        assert_eq!((last.result.as_str(), last.duration_ms), ("refused", 12));
        assert_eq!((last.address.as_deref(), last.answer_start.as_str()), (None, ""));
        assert_eq!(opened.destinations.all().await.unwrap(), []);
    }
    engine.close();
    let db = Connection::open(engine.config.data_dir.join("state.db")).unwrap();
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 4);
    let fresh = SqliteEngine::new().open_schema();
    assert_eq!(schema(&db), fresh, "an upgraded file is like a new one");
}

fn schema(db: &Connection) -> Vec<String> {
    let mut all =
        db.prepare("SELECT sql FROM sqlite_schema WHERE sql <> '' ORDER BY name").unwrap();
    all.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

impl SqliteEngine {
    fn open_schema(mut self) -> Vec<String> {
        self.open_now();
        self.close();
        schema(&Connection::open(self.config.data_dir.join("state.db")).unwrap())
    }
}
