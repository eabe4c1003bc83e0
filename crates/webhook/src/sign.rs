//! Signatures over bodies, and their verification as receivers do it.
//!
//! Two schemes. The gateway's own (seed 002): one header, `sha256=` and a hexadecimal HMAC over
//! `timestamp.body` or the body. And Standard Webhooks 1.0.0: `v1,` and a base64 HMAC-SHA-256 over
//! `id.timestamp.body`, several of them in a rotation. Which headers carry them is `request`'s.
//!
//! Invariant: signatures are compared in constant time.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use bytes::Bytes;
use domain::{
    destination::{SignatureAlgorithm, SignedContent, Signing},
    secret::Secret,
    time::Timestamp,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// What begins a secret in Standard Webhooks' form; base64 follows.
const SECRET_PREFIX: &str = "whsec_";

/// Base64 as secrets are written, with or without its padding.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The gateway's own signature: `sha256=` and the hexadecimal HMAC under the newest secret; empty
/// if no secret is in force.
///
/// Its header has one value, so in a rotation it changes to the newest secret at once.
pub fn gateway_signature(signing: &Signing, unix_seconds: i64, body: &[Bytes]) -> String {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(unix_seconds);
    signing
        .secrets
        .first()
        .map_or_else(String::new, |secret| sign_for_gateway(signing, &key(secret), timestamp, body))
}

/// Standard Webhooks' signatures: `v1,<base64>` for every secret in force, newest first, separated
/// by spaces.
pub fn standard_signature(
    signing: &Signing,
    id: &str,
    unix_seconds: i64,
    body: &[Bytes],
) -> String {
    let mut digits = itoa::Buffer::new();
    let timestamp = digits.format(unix_seconds);
    let mut signatures = String::with_capacity(48 * signing.secrets.len());
    for secret in &signing.secrets {
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        signatures.push_str(&sign_for_standard(&key(secret), id, timestamp, body));
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
    let is_ours = signing.secrets.iter().any(|secret| {
        is_equal(&sign_for_gateway(signing, &key(secret), timestamp, &[body]), signature)
    });
    if is_ours { Ok(()) } else { Err(VerifyError::Mismatch) }
}

/// Accepts a body one of whose Standard Webhooks signatures one of the secrets made, in constant
/// time. `timestamp` may be `tolerance_ms` before or after `now`.
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
    let is_ours = signing.secrets.iter().any(|secret| {
        let ours = sign_for_standard(&key(secret), id, timestamp, &[body]);
        signature.split(' ').any(|theirs| is_equal(&ours, theirs))
    });
    if is_ours { Ok(()) } else { Err(VerifyError::Mismatch) }
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
    let key = match text.strip_prefix(SECRET_PREFIX) {
        None => text.as_bytes().to_vec(),
        Some(encoded) => SECRET_BASE64.decode(encoded).map_err(|_| SecretError::NotBase64)?,
    };
    if key.is_empty() { Err(SecretError::Empty) } else { Ok(()) }
}

/// The bytes of a secret: those that a `whsec_` text encodes, or the text's own. A text that only
/// looks like `whsec_` is taken as it stands; [`check_secret`] refuses it before.
fn key(secret: &Secret) -> Vec<u8> {
    let text = secret.expose();
    let encoded = text.strip_prefix(SECRET_PREFIX);
    let decoded = encoded.and_then(|encoded| SECRET_BASE64.decode(encoded).ok());
    decoded.unwrap_or_else(|| text.as_bytes().to_vec())
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

fn sign_for_standard<P: AsRef<[u8]>>(key: &[u8], id: &str, timestamp: &str, body: &[P]) -> String {
    let before: &[&[u8]] = &[id.as_bytes(), b".", timestamp.as_bytes(), b"."];
    let mut signature = String::with_capacity(48);
    signature.push_str("v1,");
    BASE64_STANDARD.encode_string(hmac::<Hmac<Sha256>, _>(key, before, body), &mut signature);
    signature
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE_MS: u64 = 300_000;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SECS: i64 = 1_614_265_330;

    fn signing(secrets: &[&str]) -> Signing {
        Signing {
            secrets: secrets.iter().map(|text| Secret::new(text)).collect(),
            algorithm: SignatureAlgorithm::Sha256,
            header: "X-Webhook-Signature".to_owned(),
            signed_content: SignedContent::TimestampAndBody,
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn standard_signatures_are_those_of_the_specification() {
        // The example of the Standard Webhooks libraries' own tests.
        let signing = signing(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
        let signature = standard_signature(
            &signing,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            SECS,
            &[Bytes::from_static(BODY)],
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn gateway_signatures_are_hexadecimal_hmacs() {
        // From `openssl dgst -sha256 -hmac secret` and `-sha512` over the same bytes.
        let signing = signing(&["secret", "older"]);
        let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]);
        let expected = "sha256=d0c5e92cbfd6a4ad865333d1e79ed52ba82849d84281eff5e3c3233e92439630";
        assert_eq!(signature, expected);
        let over_body = Signing { signed_content: SignedContent::Body, ..signing.clone() };
        let signature = gateway_signature(&over_body, SECS, &[Bytes::from_static(BODY)]);
        let expected = "sha256=c4be5c092d907fa240f2da524c1fd82913705379274d113cacd5ec3a667ad4d4";
        assert_eq!(signature, expected);
        let sha512 = Signing { algorithm: SignatureAlgorithm::Sha512, ..signing };
        let signature = gateway_signature(&sha512, SECS, &[Bytes::from_static(BODY)]);
        let expected = "sha512=6120c574762867984465afd017fe5ad0be578ad90541f89a3c4cab164b9e17fc\
                        a867d1b10fd2975c18a1dc26c2536abf3e0d5257948d7243cac25b3ef1702215";
        assert_eq!(signature, expected);
    }

    #[test]
    fn without_a_secret_there_is_no_signature_and_nothing_verifies() {
        let signing = signing(&[]);
        assert_eq!(gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]), "");
        assert_eq!(standard_signature(&signing, "id", SECS, &[Bytes::from_static(BODY)]), "");
        let verified = verify_gateway(&signing, "", "1614265330", BODY, at(SECS), TOLERANCE_MS);
        assert_eq!(verified, Err(VerifyError::Mismatch));
    }

    #[test]
    fn a_rotation_signs_with_every_secret_and_either_verifies() {
        let both = signing(&["whsec_bmV3", "old"]);
        let signature = standard_signature(&both, "evt_1", SECS, &[Bytes::from_static(BODY)]);
        assert_eq!(signature.split(' ').count(), 2);
        for secret in ["whsec_bmV3", "old", "new"] {
            let one = signing(&[secret]);
            let verified = verify_standard(
                &one,
                "evt_1",
                "1614265330",
                &signature,
                BODY,
                at(SECS),
                TOLERANCE_MS,
            );
            assert_eq!(verified, Ok(()), "{secret}");
        }
        // The receiver may have both while the gateway's header still has the old one.
        let old = gateway_signature(&signing(&["old"]), SECS, &[Bytes::from_static(BODY)]);
        let verified = verify_gateway(&both, &old, "1614265330", BODY, at(SECS), TOLERANCE_MS);
        assert_eq!(verified, Ok(()));
    }

    #[test]
    fn an_old_a_future_and_a_broken_timestamp_are_refused() {
        let signing = signing(&["secret"]);
        let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]);
        let at_age = |age, timestamp: &str| {
            verify_gateway(&signing, &signature, timestamp, BODY, at(SECS + age), TOLERANCE_MS)
        };
        assert_eq!(at_age(300, "1614265330"), Ok(()));
        assert_eq!(at_age(-300, "1614265330"), Ok(()));
        assert_eq!(at_age(301, "1614265330"), Err(VerifyError::Stale));
        assert_eq!(at_age(-301, "1614265330"), Err(VerifyError::Stale));
        assert_eq!(at_age(0, "1614265331"), Err(VerifyError::Mismatch));
        assert_eq!(at_age(0, "now"), Err(VerifyError::Timestamp));
        assert_eq!(at_age(0, "9223372036854775807"), Err(VerifyError::Stale));
        let signature = standard_signature(&signing, "evt_1", SECS, &[Bytes::from_static(BODY)]);
        let at_age = |age| {
            let now = at(SECS + age);
            let secs = "1614265330";
            verify_standard(&signing, "evt_1", secs, &signature, BODY, now, TOLERANCE_MS)
        };
        let outcomes = [-301, -300, 300, 301].map(at_age);
        let stale = Err(VerifyError::Stale);
        assert_eq!(outcomes, [stale, Ok(()), Ok(()), stale]);
    }

    #[test]
    fn a_signature_over_the_body_alone_needs_no_timestamp() {
        let signing = Signing { signed_content: SignedContent::Body, ..signing(&["secret"]) };
        let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]);
        assert_eq!(verify_gateway(&signing, &signature, "", BODY, at(0), 0), Ok(()));
        let verified = verify_gateway(&signing, &signature, "", b"other", at(0), 0);
        assert_eq!(verified, Err(VerifyError::Mismatch));
    }

    #[test]
    fn secrets_are_checked_before_they_sign() {
        assert_eq!(check_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Ok(()));
        assert_eq!(check_secret("whsec_YQ"), Ok(()));
        assert_eq!(check_secret("my secret"), Ok(()));
        assert_eq!(check_secret(""), Err(SecretError::Empty));
        assert_eq!(check_secret("whsec_"), Err(SecretError::Empty));
        assert_eq!(check_secret("whsec_no base64"), Err(SecretError::NotBase64));
    }

    proptest! {
        #[test]
        fn law_what_is_signed_verifies_and_what_is_changed_does_not(
            secret in "[!-~]{1,80}",
            id in "[a-z0-9_]{1,60}",
            body in proptest::collection::vec(any::<u8>(), 0..300),
            secs in 0_i64..4_000_000_000,
            flipped in any::<proptest::sample::Index>(),
        ) {
            let signing = signing(&[&secret]);
            let pieces: Vec<Bytes> = body.chunks(100).map(Bytes::copy_from_slice).collect();
            let (standard, gateway) = (
                standard_signature(&signing, &id, secs, &pieces),
                gateway_signature(&signing, secs, &pieces),
            );
            let timestamp = secs.to_string();
            let verify = |body: &[u8]| (
                verify_standard(&signing, &id, &timestamp, &standard, body, at(secs), 0),
                verify_gateway(&signing, &gateway, &timestamp, body, at(secs), 0),
            );
            prop_assert_eq!(verify(&body), (Ok(()), Ok(())));
            let mut other = body.clone();
            other.push(0);
            let at = flipped.index(other.len());
            other[at] ^= 1;
            let mismatch = Err(VerifyError::Mismatch);
            prop_assert_eq!(verify(&other), (mismatch, mismatch));
        }
    }
}
