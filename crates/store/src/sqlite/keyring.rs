//! Which key stored secrets are sealed under, and bringing them under another.
//!
//! Invariant: whatever instant a start ends at, all secrets are sealed under the key of before, or
//! all under the new one; and before it says so, that is on the disk.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use domain::secret::Secret;
use rusqlite::{Connection, TransactionBehavior, named_params};

use crate::{
    sqlite::{
        Config, OpenError, PreviousKey,
        destinations::{self, SealedSecret},
        files::{self, engine},
    },
    vault::{self, TEXT_CHARS_MIN, Vault},
};

/// A key that may open what is stored.
struct Key {
    /// `None` for a key file that is not there.
    vault: Option<Vault>,
    /// Which one it is, for whoever reads an error.
    name: String,
}

/// The vault under the key in force: the configured one, else that of the key file, which is made if
/// it is not there and nothing is sealed under it. What only the previous key opens is sealed anew. If
/// one secret opens with neither, nothing is changed.
pub(super) fn open_vault(config: &Config, db: &mut Connection) -> Result<Vault, OpenError> {
    let key_file = config.data_dir.join("secrets.key");
    let state = config.data_dir.join("state.db");
    let key = match &config.encryption_key {
        Some(text) => Key::configured(text, "the configured encryption key")?,
        None => Key::of_file(&key_file)?,
    };
    let stored = destinations::secrets(db).map_err(engine(&state))?;
    let others: Vec<_> = stored.into_iter().filter(|sealed| key.open(sealed).is_none()).collect();
    let opened = open_others(&others, &key, config.previous_key.as_ref(), &key_file)?;
    let vault = match key.vault {
        Some(vault) => vault,
        None => make_key_file(&key_file).map_err(engine(&key_file))?,
    };
    if !others.is_empty() {
        reseal(db, &vault, &others, &opened).map_err(engine(&state))?;
        tracing::info!(
            secrets = others.len(),
            "Stored secrets are sealed anew under the key in force; \
             HOOKGATE_ENCRYPTION_KEY_PREVIOUS is no longer needed."
        );
    } else if config.previous_key.is_some() {
        tracing::info!(
            "No stored secret needs the previous encryption key; \
             HOOKGATE_ENCRYPTION_KEY_PREVIOUS can go."
        );
    }
    Ok(vault)
}

/// Opens, with the previous key, what the key in force does not open.
fn open_others(
    others: &[SealedSecret],
    key: &Key,
    previous: Option<&PreviousKey>,
    key_file: &Path,
) -> Result<Vec<Secret>, OpenError> {
    let Some(first) = others.first() else { return Ok(Vec::new()) };
    let previous = match previous {
        Some(PreviousKey::KeyFile) => Key::of_file(key_file)?,
        Some(PreviousKey::Text(text)) => {
            Key::configured(text, "the one in HOOKGATE_ENCRYPTION_KEY_PREVIOUS")?
        }
        None if key.vault.is_none() => return Err(OpenError::NoKey { path: key_file.to_owned() }),
        None => {
            let (destination, with) = (first.destination.clone(), key.name.clone());
            return Err(OpenError::WrongKey { destination, with });
        }
    };
    let open = |sealed: &SealedSecret| {
        previous.open(sealed).ok_or_else(|| OpenError::WrongPreviousKey {
            destination: sealed.destination.clone(),
            with: key.name.clone(),
            previous: previous.name.clone(),
        })
    };
    others.iter().map(open).collect()
}

/// In one transaction, which is on the disk when this returns, whatever the durability of the rest:
/// somebody is about to throw the previous key away.
fn reseal(
    db: &mut Connection,
    vault: &Vault,
    sealed: &[SealedSecret],
    opened: &[Secret],
) -> rusqlite::Result<()> {
    let synchronous: i64 = db.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (row, secret) in sealed.iter().zip(opened) {
        tx.execute(
            include_str!("sql/reseal.sql"),
            named_params! {
                ":destination": row.destination,
                ":position": row.position,
                ":sealed": vault.seal(&row.destination, &row.slot, secret),
            },
        )?;
    }
    tx.commit()?;
    db.pragma_update(None, "synchronous", synchronous)
}

impl Key {
    fn configured(text: &Secret, name: &str) -> Result<Self, OpenError> {
        let vault = Vault::from_text(text);
        let weak = OpenError::WeakKey { chars_min: TEXT_CHARS_MIN };
        Ok(Self { vault: Some(vault.ok_or(weak)?), name: name.to_owned() })
    }

    fn of_file(path: &Path) -> Result<Self, OpenError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = format!("the key file `{}`, which is not there", path.display());
                return Ok(Self { vault: None, name });
            }
            Err(error) => return Err(engine(path)(error)),
        };
        let key = vault::key_from_base64(text.trim()).ok_or_else(|| OpenError::Corrupt {
            path: path.to_owned(),
            what: "it is not a key of 32 bytes in base64".to_owned(),
        })?;
        let name = format!("the key in `{}`", path.display());
        Ok(Self { vault: Some(Vault::new(key)), name })
    }

    fn open(&self, sealed: &SealedSecret) -> Option<Secret> {
        sealed.open(self.vault.as_ref()?).ok()
    }
}

/// Whatever instant the process or the power ends at, the file is whole or is not there.
fn make_key_file(path: &Path) -> io::Result<Vault> {
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
    Ok(Vault::new(vault::key_from_base64(&text).expect("it was made so")))
}
