//! `Destinations` and `Switches` on `state.db`.

use std::{collections::HashMap, sync::Arc};

use domain::{id::DestinationName, secret::Secret, time::Timestamp};
use rusqlite::{Connection, Result, named_params};

use crate::{
    journal::BoxFuture,
    lanes::LanesError,
    sqlite::lanes::{SqliteLanes, rows},
    state::{Destinations, Disabled, Resumed, StoredDestination, Switches},
    vault::{Unopened, Vault},
};

/// A handle to the destinations. It outlives the store as a closed one.
#[derive(Debug)]
pub(super) struct SqliteDestinations {
    pub(super) lanes: SqliteLanes,
    pub(super) vault: Arc<Vault>,
}

/// A secret as its row holds it.
pub(super) struct SealedSecret {
    pub(super) destination: String,
    pub(super) position: i64,
    pub(super) slot: String,
    pub(super) sealed: Vec<u8>,
}

impl Destinations for SqliteDestinations {
    fn all(&self) -> BoxFuture<'_, std::result::Result<Vec<StoredDestination>, LanesError>> {
        let read = self.lanes.read(|db| Ok((destinations(db)?, secrets(db)?)));
        Box::pin(async move {
            let (mut destinations, secrets) = read.await?;
            let mut opened: HashMap<String, Vec<(String, Secret)>> = HashMap::new();
            for sealed in secrets {
                let secret = sealed.open(&self.vault).map_err(|e| LanesError::Engine(e.into()))?;
                opened.entry(sealed.destination).or_default().push((sealed.slot, secret));
            }
            for destination in &mut destinations {
                let secrets = opened.remove(destination.name.as_str());
                destination.secrets = secrets.unwrap_or_default();
            }
            Ok(destinations)
        })
    }

    fn put(
        &self,
        destination: StoredDestination,
    ) -> BoxFuture<'_, std::result::Result<(), LanesError>> {
        // Nothing in clear passes this point.
        let seal = |(slot, secret): &(String, Secret)| {
            (slot.clone(), self.vault.seal(destination.name.as_str(), slot, secret))
        };
        let sealed: Vec<_> = destination.secrets.iter().map(seal).collect();
        let change = self.lanes.change(move |db, _| put(db, &destination, &sealed).map(|()| 1));
        Box::pin(async { change.await.map(|_| ()) })
    }

    fn remove(
        &self,
        name: &DestinationName,
    ) -> BoxFuture<'_, std::result::Result<bool, LanesError>> {
        let name = name.clone();
        let change = self.lanes.change(move |db, _| {
            let named = named_params! {":destination": name.as_str()};
            let removed = db.execute(include_str!("sql/drop_destination.sql"), named)?;
            if removed > 0 {
                db.execute(include_str!("sql/drop_secrets.sql"), named)?;
                rows::forget(db, &name)?;
            }
            Ok(removed)
        });
        Box::pin(async { change.await.map(|removed| removed > 0) })
    }
}

impl Switches for SqliteLanes {
    fn disabled(&self) -> BoxFuture<'_, std::result::Result<Vec<Disabled>, LanesError>> {
        self.read(|db| {
            db.prepare_cached(include_str!("sql/switches.sql"))?
                .query_map([], |row| {
                    let since = Timestamp::from_nanos(row.get("since")?);
                    Ok((rows::lane(row)?, row.get("reason")?, since))
                })?
                .collect()
        })
    }

    fn resumed(&self) -> BoxFuture<'_, std::result::Result<Vec<Resumed>, LanesError>> {
        self.read(|db| {
            db.prepare_cached(include_str!("sql/resumed.sql"))?
                .query_map([], |row| Ok((rows::lane(row)?, Timestamp::from_nanos(row.get("at")?))))?
                .collect()
        })
    }

    fn set(
        &self,
        name: &DestinationName,
        reason: Option<String>,
    ) -> BoxFuture<'_, std::result::Result<(), LanesError>> {
        let name = name.clone();
        let change = self.change(move |db, now| {
            let lane = name.as_str();
            let Some(reason) = &reason else {
                db.execute(
                    include_str!("sql/note_resumed.sql"),
                    named_params! {":lane": lane, ":at": now.as_nanos()},
                )?;
                return db
                    .execute(include_str!("sql/switch_on.sql"), named_params! {":lane": lane});
            };
            db.execute(
                include_str!("sql/switch_off.sql"),
                named_params! {":lane": lane, ":reason": reason, ":since": now.as_nanos()},
            )
        });
        Box::pin(async { change.await.map(|_| ()) })
    }
}

fn put(
    db: &Connection,
    destination: &StoredDestination,
    sealed: &[(String, Vec<u8>)],
) -> Result<()> {
    let name = destination.name.as_str();
    db.execute(
        include_str!("sql/put_destination.sql"),
        named_params! {
            ":name": name,
            ":id": destination.id,
            ":door": destination.door,
            ":spec": destination.spec,
            ":enabled": destination.enabled,
            ":created_at": destination.created_at.as_nanos(),
            ":updated_at": destination.updated_at.as_nanos(),
        },
    )?;
    db.execute(include_str!("sql/drop_secrets.sql"), named_params! {":destination": name})?;
    for (position, (slot, sealed)) in (0_i64..).zip(sealed) {
        db.execute(
            include_str!("sql/put_secret.sql"),
            named_params! {
                ":destination": name,
                ":position": position,
                ":slot": slot,
                ":sealed": sealed,
            },
        )?;
    }
    Ok(())
}

/// All of them, oldest first, without their secrets.
pub(super) fn destinations(db: &Connection) -> Result<Vec<StoredDestination>> {
    db.prepare_cached(include_str!("sql/destinations.sql"))?
        .query_map([], |row| {
            Ok(StoredDestination {
                name: DestinationName::new(row.get_ref("name")?.as_str()?),
                id: row.get("id")?,
                door: row.get("door")?,
                spec: row.get("spec")?,
                secrets: Vec::new(),
                enabled: row.get("enabled")?,
                created_at: Timestamp::from_nanos(row.get("created_at")?),
                updated_at: Timestamp::from_nanos(row.get("updated_at")?),
            })
        })?
        .collect()
}

/// All that is sealed.
pub(super) fn secrets(db: &Connection) -> Result<Vec<SealedSecret>> {
    db.prepare_cached(include_str!("sql/secrets.sql"))?
        .query_map([], |row| {
            Ok(SealedSecret {
                destination: row.get("destination")?,
                position: row.get("position")?,
                slot: row.get("slot")?,
                sealed: row.get("sealed")?,
            })
        })?
        .collect()
}

impl SealedSecret {
    pub(super) fn open(&self, vault: &Vault) -> std::result::Result<Secret, Unopened> {
        vault.open(&self.destination, &self.slot, &self.sealed)
    }
}
