//! Seals secrets before they reach a file, and opens them again.
//!
//! ChaCha20-Poly1305 with a random nonce in front of what it seals. What the secret is for (the
//! destination's name and the slot) is bound to it, so that a row cannot be put in another's place.
//!
//! Invariant: what `open` returns is what `seal` was given for the same purpose under the same key.

use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::secret::Secret;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// A text that is to become a key has at least this many characters.
pub(crate) const TEXT_CHARS_MIN: usize = 16;

/// Sets the keys that are made of a text apart from whatever else the text is used for.
const PURPOSE: &[u8] = b"hookgate stored secrets 1";

/// The key, ready for use.
pub(crate) struct Vault(LessSafeKey);

/// What was sealed cannot be opened: under another key, for another purpose, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored secret does not open under this key")]
pub(crate) struct Unopened;

impl Vault {
    /// From 32 bytes.
    pub(crate) fn new(key: [u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("the length is the algorithm's");
        Self(LessSafeKey::new(key))
    }

    /// From a text: 32 bytes in base64 as they are, any other text of enough characters through
    /// HKDF-SHA-256. `None` if it is too short.
    pub(crate) fn from_text(text: &Secret) -> Option<Self> {
        let text = text.expose().trim();
        if let Some(key) = key_from_base64(text) {
            return Some(Self::new(key));
        }
        if text.chars().count() < TEXT_CHARS_MIN {
            return None;
        }
        let mut key = [0; KEY_BYTES];
        Salt::new(HKDF_SHA256, PURPOSE)
            .extract(text.as_bytes())
            .expand(&[b"key"], HKDF_SHA256)
            .and_then(|made| made.fill(&mut key))
            .expect("HKDF-SHA-256 makes 32 bytes");
        Some(Self::new(key))
    }

    /// Seals a secret for a slot of a destination.
    pub(crate) fn seal(&self, destination: &str, slot: &str, secret: &Secret) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).expect("the system has random bytes");
        let mut sealed = secret.expose().as_bytes().to_vec();
        let aad = Aad::from(purpose(destination, slot));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("a secret is far below the algorithm's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what was sealed for a slot of a destination.
    pub(crate) fn open(
        &self,
        destination: &str,
        slot: &str,
        sealed: &[u8],
    ) -> Result<Secret, Unopened> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unopened)?;
        let mut opened = sealed.to_vec();
        let aad = Aad::from(purpose(destination, slot));
        let text = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut opened)
            .map_err(|_| Unopened)?;
        std::str::from_utf8(text).map(Secret::new).map_err(|_| Unopened)
    }
}

/// A new key as the text that a key file holds.
pub(crate) fn new_key_text() -> String {
    let mut key = [0; KEY_BYTES];
    rand::fill(&mut key).expect("the system has random bytes");
    BASE64_STANDARD.encode(key)
}

/// The 32 bytes that a text holds in base64, if it does.
pub(crate) fn key_from_base64(text: &str) -> Option<[u8; KEY_BYTES]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// The name's length stands in front, so that no other name and slot read the same.
fn purpose(destination: &str, slot: &str) -> Vec<u8> {
    let length = (destination.len() as u64).to_le_bytes();
    [&length, destination.as_bytes(), slot.as_bytes()].concat()
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(text: &str) -> Vault {
        Vault::from_text(&Secret::new(text)).unwrap()
    }

    #[test]
    fn what_is_opened_is_what_was_sealed_for_the_same_purpose_under_the_same_key() {
        let ours = vault("correct horse battery");
        let secret = Secret::new("whsec_dGVzdA==");
        let sealed = ours.seal("primary", "secret", &secret);
        assert_eq!(ours.open("primary", "secret", &sealed), Ok(secret.clone()));
        assert_eq!(
            vault(" correct horse battery\n").open("primary", "secret", &sealed),
            Ok(secret)
        );
        assert_eq!(ours.open("other", "secret", &sealed), Err(Unopened));
        assert_eq!(ours.open("primarys", "ecret", &sealed), Err(Unopened));
        assert_eq!(
            vault("correct horse batterz").open("primary", "secret", &sealed),
            Err(Unopened)
        );
        for length in 0..sealed.len() {
            assert_eq!(ours.open("primary", "secret", &sealed[..length]), Err(Unopened));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(ours.open("primary", "secret", &changed), Err(Unopened));
        }
    }

    #[test]
    fn the_same_secret_is_never_sealed_alike() {
        let vault = vault("correct horse battery");
        let secret = Secret::new("s");
        assert_ne!(vault.seal("a", "b", &secret), vault.seal("a", "b", &secret));
    }

    #[test]
    fn a_key_is_32_bytes_in_base64_or_any_text_long_enough() {
        let text = new_key_text();
        let sealed = Vault::new(key_from_base64(&text).unwrap()).seal("a", "b", &Secret::new("s"));
        assert!(vault(&text).open("a", "b", &sealed).is_ok());
        assert!(Vault::from_text(&Secret::new("fifteen letters")).is_none());
        assert!(Vault::from_text(&Secret::new("sixteen letters!")).is_some());
        // 16 bytes in base64 are a text like any other.
        assert!(Vault::from_text(&Secret::new("MDEyMzQ1Njc4OWFiY2RlZg==")).is_some());
    }
}
