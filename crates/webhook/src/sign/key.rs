//! Secrets as the keys that they stand for.
//!
//! Three forms: `whsec_` and base64 is an HMAC's key, `whsk_` and base64 an ed25519 private key
//! (both Standard Webhooks'), any other text is an HMAC's key as it stands. A receiver of ed25519
//! signatures holds `whpk_` and base64 instead.
//!
//! The specification leaves open which bytes a `whsk_` text encodes. Its libraries and Svix write
//! the seed and the public key, 64 bytes; the seed alone, 32 bytes, is taken as well.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use domain::secret::Secret;

/// What begins a symmetric secret in Standard Webhooks' form; base64 follows.
const SYMMETRIC_PREFIX: &str = "whsec_";

/// What begins an ed25519 private key.
const PRIVATE_PREFIX: &str = "whsk_";

/// What begins an ed25519 public key.
const PUBLIC_PREFIX: &str = "whpk_";

/// Bytes of an ed25519 seed, and of a public key.
const ED25519_BYTES: usize = 32;

/// Base64 as secrets are written, with or without its padding.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text cannot be a signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It has no bytes to sign with.
    #[error("signing secret is empty")]
    Empty,
    /// It begins with `whsec_` or `whsk_`, and what follows is not base64.
    #[error("signing secret begins with `{0}` but does not go on in base64")]
    NotBase64(&'static str),
    /// It begins with `whsk_`, and what follows is no ed25519 private key.
    #[error(
        "signing secret begins with `whsk_` but holds no ed25519 private key of 32 or 64 bytes"
    )]
    NotEd25519,
    /// It is the public half, which signs nothing.
    #[error(
        "`whpk_` begins a public key, which belongs to the receiver; sign with the `whsk_` one"
    )]
    Public,
}

/// Passes a text that can be a signing secret: for the configuration's check.
pub fn check_secret(text: &str) -> Result<(), SecretError> {
    if text.starts_with(PUBLIC_PREFIX) {
        return Err(SecretError::Public);
    }
    if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
        return private_key(encoded).map(drop);
    }
    let key = match text.strip_prefix(SYMMETRIC_PREFIX) {
        None => text.as_bytes().to_vec(),
        Some(encoded) => {
            SECRET_BASE64.decode(encoded).map_err(|_| SecretError::NotBase64(SYMMETRIC_PREFIX))?
        }
    };
    if key.is_empty() { Err(SecretError::Empty) } else { Ok(()) }
}

/// The public key to a `whsk_` secret, as its receivers take it: `whpk_` and base64. `None` if the
/// secret is symmetric, or none that [`check_secret`] passes.
pub fn public_key(secret: &Secret) -> Option<String> {
    let pair = private_key(secret.expose().strip_prefix(PRIVATE_PREFIX)?).ok()?;
    let mut text = PUBLIC_PREFIX.to_owned();
    BASE64_STANDARD.encode_string(pair.public_key(), &mut text);
    Some(text)
}

/// Whether a secret is the key of an HMAC.
pub(crate) fn is_symmetric(secret: &Secret) -> bool {
    !secret.expose().starts_with(PRIVATE_PREFIX) && !secret.expose().starts_with(PUBLIC_PREFIX)
}

/// What a secret signs with.
pub(super) enum SigningKey {
    /// The key of an HMAC.
    Hmac(Vec<u8>),
    /// A pair of ed25519 keys.
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The key that a secret stands for; `None` for a private key that cannot be read. A text that
    /// only looks like `whsec_` is taken as it stands. [`check_secret`] refuses both before.
    pub(super) fn of(secret: &Secret) -> Option<Self> {
        if is_symmetric(secret) {
            return Some(Self::Hmac(symmetric_key(secret.expose())));
        }
        let encoded = secret.expose().strip_prefix(PRIVATE_PREFIX)?;
        private_key(encoded).ok().map(Self::Ed25519)
    }
}

/// The bytes of a symmetric secret: those that a `whsec_` text encodes, or the text's own.
pub(super) fn symmetric_key(text: &str) -> Vec<u8> {
    let encoded = text.strip_prefix(SYMMETRIC_PREFIX);
    let decoded = encoded.and_then(|encoded| SECRET_BASE64.decode(encoded).ok());
    decoded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Whether a public key, or the one to a private key, accepts an ed25519 signature.
pub(super) fn verifies(secret: &Secret, message: &[u8], signature: &[u8]) -> bool {
    let public = match secret.expose().strip_prefix(PUBLIC_PREFIX) {
        Some(encoded) => SECRET_BASE64.decode(encoded).ok(),
        None => secret
            .expose()
            .strip_prefix(PRIVATE_PREFIX)
            .and_then(|encoded| private_key(encoded).ok())
            .map(|pair| pair.public_key().as_ref().to_vec()),
    };
    public.is_some_and(|public| {
        UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
    })
}

fn private_key(encoded: &str) -> Result<Ed25519KeyPair, SecretError> {
    let bytes =
        SECRET_BASE64.decode(encoded).map_err(|_| SecretError::NotBase64(PRIVATE_PREFIX))?;
    let pair = match bytes.len() {
        0 => return Err(SecretError::Empty),
        ED25519_BYTES => Ed25519KeyPair::from_seed_unchecked(&bytes),
        _ => {
            let (seed, public) = bytes.split_at_checked(ED25519_BYTES).unwrap_or_default();
            Ed25519KeyPair::from_seed_and_public_key(seed, public)
        }
    };
    pair.map_err(|_| SecretError::NotEd25519)
}
