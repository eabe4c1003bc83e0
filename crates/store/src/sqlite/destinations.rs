//! `Destinations` and `Switches` on `state.db`, and the key that their secrets are sealed under.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use domain::{id::DestinationName, secret::Secret, time::Timestamp};
use rusqlite::{Connection, Result, named_params};

use crate::{
    journal::BoxFuture,
    lanes::LanesError,
    sqlite::{
        OpenError,
        files::{self, engine},
        lanes::{SqliteLanes, rows},
    },
    state::{Destinations, Disabled, Resumed, StoredDestination, Switches},
    vault::{self, TEXT_CHARS_MIN, Unopened, Vault},
};

/// A handle to the destinations. It outlives the store as a closed one.
#[derive(Debug)]
pub(super) struct SqliteDestinations {
    pub(super) lanes: SqliteLanes,
    pub(super) vault: Arc<Vault>,
}

/// A secret as its row holds it.
struct SealedSecret {
    destination: String,
    slot: String,
    sealed: Vec<u8>,
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

fn destinations(db: &Connection) -> Result<Vec<StoredDestination>> {
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

fn secrets(db: &Connection) -> Result<Vec<SealedSecret>> {
    db.prepare_cached(include_str!("sql/secrets.sql"))?
        .query_map([], |row| {
            Ok(SealedSecret {
                destination: row.get("destination")?,
                slot: row.get("slot")?,
                sealed: row.get("sealed")?,
            })
        })?
        .collect()
}

impl SealedSecret {
    fn open(&self, vault: &Vault) -> std::result::Result<Secret, Unopened> {
        vault.open(&self.destination, &self.slot, &self.sealed)
    }
}

/// The vault under the configured key, or under the one in `secrets.key`, which is made if nothing is
/// sealed yet. Checks that it opens all that is stored.
pub(super) fn open_vault(
    data_dir: &Path,
    configured: Option<&Secret>,
    db: &Connection,
) -> std::result::Result<Vault, OpenError> {
    let sealed = secrets(db).map_err(engine(&data_dir.join("state.db")))?;
    let path = data_dir.join("secrets.key");
    let vault = match configured {
        Some(text) => {
            Vault::from_text(text).ok_or(OpenError::WeakKey { chars_min: TEXT_CHARS_MIN })?
        }
        None => key_file(&path, sealed.is_empty())?,
    };
    match sealed.iter().find(|sealed| sealed.open(&vault).is_err()) {
        None => Ok(vault),
        Some(secret) => Err(OpenError::WrongKey {
            destination: secret.destination.clone(),
            with: match configured {
                Some(_) => "the configured encryption key".to_owned(),
                None => format!("the key in `{}`", path.display()),
            },
        }),
    }
}

fn key_file(path: &Path, may_make: bool) -> std::result::Result<Vault, OpenError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !may_make {
                return Err(OpenError::NoKey { path: path.to_owned() });
            }
            make_key_file(path).map_err(engine(path))?
        }
        Err(error) => return Err(engine(path)(error)),
    };
    let key = vault::key_from_base64(text.trim()).ok_or_else(|| OpenError::Corrupt {
        path: path.to_owned(),
        what: "it is not a key of 32 bytes in base64".to_owned(),
    })?;
    Ok(Vault::new(key))
}

/// Whatever instant the process or the power ends at, the file is whole or is not there.
fn make_key_file(path: &Path) -> io::Result<String> {
    let text = vault::new_key_text();
    let unfinished = files::beside(path, ".new");
    files::remove(&unfinished)?;
    let mut file = files::private(&unfinished)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    if let Some(dir) = path.parent() {
        files::sync_dir(dir)?;
    }
    Ok(text)
}
