//! Signatures over bodies.

use domain::{destination::Signing, time::Timestamp};

/// The gateway's own signature: `sha256=` and the hexadecimal HMAC under the newest secret; empty
/// if no secret is in force.
pub fn gateway_signature(signing: &Signing, unix_seconds: i64, body: &[u8]) -> String {
    let _ = (signing, unix_seconds, body);
    unimplemented!()
}

/// Standard Webhooks' signatures: `v1,<base64>` for every secret in force, newest first, separated
/// by spaces.
pub fn standard_signature(signing: &Signing, id: &str, unix_seconds: i64, body: &[u8]) -> String {
    let _ = (signing, id, unix_seconds, body);
    unimplemented!()
}

/// Why a signature was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not an integer of unix seconds.
    #[error("timestamp is not an integer")]
    Timestamp,
    /// The timestamp is too far from now.
    #[error("timestamp is outside the tolerance")]
    Stale,
    /// No signature matches.
    #[error("no signature matches")]
    Mismatch,
}

/// Accepts a body whose gateway signature one of the secrets made, in constant time.
pub fn verify_gateway(
    signing: &Signing,
    signature: &str,
    timestamp: &str,
    body: &[u8],
    now: Timestamp,
    tolerance_ms: u64,
) -> Result<(), VerifyError> {
    let _ = (signing, signature, timestamp, body, now, tolerance_ms);
    unimplemented!()
}

/// Accepts a body one of whose Standard Webhooks signatures one of the secrets made, in constant
/// time.
pub fn verify_standard(
    signing: &Signing,
    id: &str,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: Timestamp,
    tolerance_ms: u64,
) -> Result<(), VerifyError> {
    let _ = (signing, id, timestamp, signature, body, now, tolerance_ms);
    unimplemented!()
}

/// Why a text cannot be a signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It has no bytes to sign with.
    #[error("signing secret is empty")]
    Empty,
    /// It begins with `whsec_`, and what follows is not base64.
    #[error("signing secret begins with `whsec_` but does not go on in base64")]
    NotBase64,
}

/// Passes a text that can be a signing secret: for the configuration's check.
pub fn check_secret(text: &str) -> Result<(), SecretError> {
    let _ = text;
    unimplemented!()
}
