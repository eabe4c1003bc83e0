//! The list `keys:`: what callers may show beside the master key. It is ours alone, so a key of an
//! entry that it does not know is a problem.
//!
//! Invariant: no key is kept or repeated in a message; what leaves here is its SHA-256.

use domain::secret::Secret;
use proxy::config::Key;
use sha2::{Digest, Sha256};

use crate::config::section::{Field, Section, Unknown};

use super::models::{LIMIT_MAX, UNSENDABLE, hexadecimal, is_sendable};

/// The longest name of a key.
const NAME_CHARS_MAX: usize = 100;
/// A shorter one is easily guessed.
const KEY_CHARS_MIN: usize = 8;
/// What stands before a hash in place of a key.
const HASH_PREFIX: &str = "sha256:";

/// Reads `keys`, which are good for nothing without a master key.
pub(crate) fn read(list: &Field<'_>, master_key: Option<&Secret>) -> Vec<Key> {
    let master_hash = master_key.map(|key| hash(key.expose()));
    let mut keys: Vec<Key> = Vec::new();
    for item in list.items().unwrap_or_default() {
        let Some(key) = item.section().and_then(read_key) else { continue };
        if let Some(earlier) = keys.iter().find(|earlier| earlier.name == key.name) {
            item.problem(format!("`{}` is the name of an earlier key", earlier.name));
        } else if let Some(earlier) = keys.iter().find(|earlier| earlier.hash == key.hash) {
            item.problem(format!("is the same key as `{}`", earlier.name));
        } else if master_hash.as_ref() == Some(&key.hash) {
            item.problem("is the master key, which may do everything; make another");
        }
        keys.push(key);
    }
    if master_hash.is_none() && !keys.is_empty() {
        list.problem(
            "without a master key nobody is asked for a key, so these would keep nobody out; set \
             general_settings.master_key",
        );
    }
    keys
}

fn read_key(section: Section<'_>) -> Option<Key> {
    let name = section.get("name");
    if name.is_none() {
        let what = "name is missing: what do events and budgets call it?";
        section.report.problem(section.at, &section.path, what);
    }
    let name = name.as_ref().and_then(read_name);
    let hash = read_hash(&section);
    let limit = |key| section.get(key).and_then(|field: Field<'_>| field.whole(1..=LIMIT_MAX));
    let (rpm, tpm, max_parallel_requests) =
        (limit("rpm"), limit("tpm"), limit("max_parallel_requests"));
    let models = section.get("models").map(|field| field.texts()).unwrap_or_default();
    section.finish(Unknown::Refuse, &[]);
    Some(Key { name: name?, hash: hash?, models, rpm, tpm, max_parallel_requests })
}

fn read_name(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let is_long = text.chars().count() > NAME_CHARS_MAX;
    if text.trim().is_empty() || is_long || text.chars().any(char::is_control) {
        field.problem(format!("must have 1 to {NAME_CHARS_MAX} printable characters"));
        return None;
    }
    Some(text)
}

/// The hash of `key`, or the one that `key_hash` gives.
fn read_hash(section: &Section<'_>) -> Option<String> {
    let (key, key_hash) = (section.get("key"), section.get("key_hash"));
    match (&key, &key_hash) {
        (Some(_), Some(field)) => {
            field.problem("stands beside key; keep one of the two");
            None
        }
        (Some(field), None) => {
            let text = field.text()?;
            match text.strip_prefix(HASH_PREFIX) {
                Some(digits) => check_hash(digits, field),
                None => check_key(&text, field).then(|| hash(&text)),
            }
        }
        (None, Some(field)) => {
            let text = field.text()?;
            check_hash(text.strip_prefix(HASH_PREFIX).unwrap_or(&text), field)
        }
        (None, None) => {
            let what = "key is missing; write it, best as os.environ/NAME, or its SHA-256 as \
                        key_hash";
            section.report.problem(section.at, &section.path, what);
            None
        }
    }
}

fn check_key(text: &str, field: &Field<'_>) -> bool {
    if !is_sendable(text) {
        field.problem(UNSENDABLE);
        return false;
    }
    if text.chars().count() < KEY_CHARS_MIN {
        field.problem(format!(
            "must have at least {KEY_CHARS_MIN} characters; make one with: echo sk-$(openssl rand \
             -hex 24)"
        ));
        return false;
    }
    true
}

fn check_hash(digits: &str, field: &Field<'_>) -> Option<String> {
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(digits.to_ascii_lowercase());
    }
    field.problem(
        "must be a SHA-256 in 64 hexadecimal digits, such as `printf %s KEY | sha256sum` prints",
    );
    None
}

/// The SHA-256 of a key, in hexadecimal.
fn hash(key: &str) -> String {
    hexadecimal(&Sha256::digest(key))
}
