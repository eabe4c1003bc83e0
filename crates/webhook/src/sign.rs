//! Signatures over bodies, and their verification as receivers do it.
//!
//! Three schemes. The gateway's own (seed 002): one header, `sha256=` and a hexadecimal HMAC over
//! `timestamp.body` or the body. Standard Webhooks 1.0.0: `v1,` and a base64 HMAC-SHA-256, or `v1a,`
//! and a base64 ed25519 signature, over `id.timestamp.body`, several of them in a rotation. And
//! Helicone's (seed 004): a bare hexadecimal HMAC-SHA-256 over the body. Which headers carry them is
//! `request`'s.
//!
//! Invariant: signatures are compared in constant time.

mod key;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use domain::{
    destination::{SignatureAlgorithm, SignedContent, Signing},
    secret::Secret,
    time::Timestamp,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

pub(crate) use key::is_symmetric;
pub use key::{SecretError, check_secret, public_key};
use key::{SigningKey, symmetric_key};

/// The gateway's own signature: `sha256=` and the hexadecimal HMAC under the newest symmetric
/// secret; `None` if none is in force.
///
/// Its header has one value, so in a rotation it changes to the newest secret at once.
pub fn gateway_signature(signing: &Signing, unix_seconds: i64, body: &[Bytes]) -> Option<String> {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(unix_seconds);
    let secret = newest_symmetric(signing)?;
    Some(sign_for_gateway(signing, &symmetric_key(secret.expose()), timestamp, body))
}

/// Helicone's signature: the hexadecimal HMAC-SHA-256 over the body, under the text of the newest
/// symmetric secret as it stands, `whsec_` or not; `None` if none is in force.
pub fn helicone_signature(signing: &Signing, body: &[Bytes]) -> Option<String> {
    newest_symmetric(signing).map(|secret| sign_for_helicone(secret, body))
}

/// Standard Webhooks' signatures: `v1,<base64>` or `v1a,<base64>` for every secret in force, newest
/// first, separated by spaces.
pub fn standard_signature(
    signing: &Signing,
    id: &str,
    unix_seconds: i64,
    body: &[Bytes],
) -> String {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(unix_seconds);
    let mut signatures = String::with_capacity(48 * signing.secrets.len());
    for key in signing.secrets.iter().filter_map(SigningKey::of) {
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        match key {
            SigningKey::Hmac(key) => {
                signatures.push_str(&sign_for_standard(&key, id, timestamp, body));
            }
            SigningKey::Ed25519(pair) => {
                let signature = pair.sign(&standard_message(id, timestamp, body));
                signatures.push_str("v1a,");
                BASE64_STANDARD.encode_string(signature, &mut signatures);
            }
        }
    }
    signatures
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not an integer of unix seconds.
    #[error("timestamp is not an integer")]
    Timestamp,
    /// The timestamp is too far from now, in either direction.
    #[error("timestamp is outside the tolerance")]
    Stale,
    /// No signature matches.
    #[error("no signature matches")]
    Mismatch,
}

/// Accepts a body whose gateway signature one of the secrets made, in constant time.
///
/// `timestamp` is the header's text; it counts only where the signature covers it. It may be
/// `tolerance_ms` before or after `now`.
pub fn verify_gateway(
    signing: &Signing,
    signature: &str,
    timestamp: &str,
    body: &[u8],
    now: Timestamp,
    tolerance_ms: u64,
) -> Result<(), VerifyError> {
    if signing.signed_content == SignedContent::TimestampAndBody {
        check_age(timestamp, now, tolerance_ms)?;
    }
    accept_if(signing.secrets.iter().filter(|secret| is_symmetric(secret)).any(|secret| {
        let key = symmetric_key(secret.expose());
        is_equal(&sign_for_gateway(signing, &key, timestamp, &[body]), signature)
    }))
}

/// Accepts a body one of whose Standard Webhooks signatures one of the secrets made, in constant
/// time. `timestamp` may be `tolerance_ms` before or after `now`.
///
/// A receiver that has no private key puts the `whpk_` public key in its place.
pub fn verify_standard(
    signing: &Signing,
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
    tolerance_ms: u64,
) -> Result<(), VerifyError> {
    check_age(timestamp, now, tolerance_ms)?;
    let message = standard_message(id, timestamp, &[body]);
    accept_if(signing.secrets.iter().any(|secret| {
        if is_symmetric(secret) {
            let key = symmetric_key(secret.expose());
            let ours = sign_for_standard(&key, id, timestamp, &[body]);
            return signature.split(' ').any(|theirs| is_equal(&ours, theirs));
        }
        let theirs = signature.split(' ').filter_map(|theirs| theirs.strip_prefix("v1a,"));
        theirs
            .filter_map(|theirs| BASE64_STANDARD.decode(theirs).ok())
            .any(|theirs| key::verifies(secret, &message, &theirs))
    }))
}

/// Accepts a body whose Helicone signature one of the secrets made, in constant time. Nothing in
/// that scheme tells an old body from a new one.
pub fn verify_helicone(signing: &Signing, signature: &str, body: &[u8]) -> Result<(), VerifyError> {
    let mut secrets = signing.secrets.iter().filter(|secret| is_symmetric(secret));
    accept_if(secrets.any(|secret| is_equal(&sign_for_helicone(secret, &[body]), signature)))
}

fn accept_if(is_ours: bool) -> Result<(), VerifyError> {
    if is_ours { Ok(()) } else { Err(VerifyError::Mismatch) }
}

fn newest_symmetric(signing: &Signing) -> Option<&Secret> {
    signing.secrets.iter().find(|secret| is_symmetric(secret))
}

fn sign_for_gateway<P: AsRef<[u8]>>(
    signing: &Signing,
    key: &[u8],
    timestamp: &str,
    body: &[P],
) -> String {
    let before: &[&[u8]] = match signing.signed_content {
        SignedContent::TimestampAndBody => &[timestamp.as_bytes(), b"."],
        SignedContent::Body => &[],
    };
    match signing.algorithm {
        SignatureAlgorithm::Sha256 => {
            hexadecimal("sha256=", hmac::<Hmac<Sha256>, _>(key, before, body).as_ref())
        }
        SignatureAlgorithm::Sha512 => {
            hexadecimal("sha512=", hmac::<Hmac<Sha512>, _>(key, before, body).as_ref())
        }
    }
}

fn sign_for_helicone<P: AsRef<[u8]>>(secret: &Secret, body: &[P]) -> String {
    let key = secret.expose().as_bytes();
    hexadecimal("", hmac::<Hmac<Sha256>, _>(key, &[], body).as_ref())
}

fn sign_for_standard<P: AsRef<[u8]>>(key: &[u8], id: &str, timestamp: &str, body: &[P]) -> String {
    let before: &[&[u8]] = &[id.as_bytes(), b".", timestamp.as_bytes(), b"."];
    let mut signature = String::with_capacity(48);
    signature.push_str("v1,");
    BASE64_STANDARD.encode_string(hmac::<Hmac<Sha256>, _>(key, before, body), &mut signature);
    signature
}

/// What Standard Webhooks' signatures cover, in one piece.
fn standard_message<P: AsRef<[u8]>>(id: &str, timestamp: &str, body: &[P]) -> Vec<u8> {
    let mut message = format!("{id}.{timestamp}.").into_bytes();
    for piece in body {
        message.extend_from_slice(piece.as_ref());
    }
    message
}

/// The code over all parts, as if they were one.
fn hmac<M: Mac + KeyInit, P: AsRef<[u8]>>(
    key: &[u8],
    before: &[&[u8]],
    body: &[P],
) -> impl AsRef<[u8]> + use<M, P> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in before {
        mac.update(part);
    }
    for piece in body {
        mac.update(piece.as_ref());
    }
    mac.finalize().into_bytes()
}

/// A prefix, and bytes as lower-case digits.
pub(crate) fn hexadecimal(prefix: &str, bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(prefix.len() + 2 * bytes.len());
    text.push_str(prefix);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    text
}

fn is_equal(ours: &str, theirs: &str) -> bool {
    ours.as_bytes().ct_eq(theirs.as_bytes()).into()
}

fn check_age(timestamp: &str, now: Timestamp, tolerance_ms: u64) -> Result<(), VerifyError> {
    let secs: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    let then_ms = i128::from(secs) * 1_000;
    // Both in whole seconds: a timestamp of this second is not from the past.
    let age_ms = (i128::from(now.as_secs()) * 1_000 - then_ms).unsigned_abs();
    if age_ms <= u128::from(tolerance_ms) { Ok(()) } else { Err(VerifyError::Stale) }
}

#[cfg(test)]
mod tests;
