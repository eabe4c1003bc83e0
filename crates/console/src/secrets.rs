//! Secrets and ids that the gateway makes itself.

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::secret::Secret;
use uuid::Uuid;

use crate::record::Door;

/// Why no secret could be made: the system gives no randomness.
#[derive(Debug, thiserror::Error)]
#[error("could not get random bytes from the system")]
pub(crate) struct NoRandomness(#[source] getrandom::Error);

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

/// A new signing secret: Helicone's 64 hexadecimal digits for its door; an ed25519 private key in
/// place of one (`whsk_`); else Standard Webhooks' `whsec_` and 32 bytes in base64.
pub(crate) fn new_secret(door: Door, before: Option<&Secret>) -> Result<Secret, NoRandomness> {
    let bytes = random::<32>()?;
    let is_private_key = before.is_some_and(|before| before.expose().starts_with("whsk_"));
    Ok(Secret::new(&match door {
        Door::Helicone => hexadecimal(&bytes),
        _ if is_private_key => format!("whsk_{}", BASE64_STANDARD.encode(bytes)),
        _ => format!("whsec_{}", BASE64_STANDARD.encode(bytes)),
    }))
}

/// A new random UUID (RFC 9562, version 4).
pub(crate) fn new_uuid() -> Result<Uuid, NoRandomness> {
    Ok(uuid::Builder::from_random_bytes(random()?).into_uuid())
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
