//! Signatures: foreign headers never pass and never break the verifier; our own always pass.
#![no_main]

use bytes::Bytes;
use domain::{
    destination::{SignatureAlgorithm, SignedContent, Signing},
    secret::Secret,
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;
use webhook::sign::{
    gateway_signature, standard_signature, verify_gateway, verify_helicone, verify_standard,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const TOLERANCE_MS: u64 = 300_000;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(4, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (secret, timestamp, signature, body) = (part(), part(), part(), part());
    let signing = Signing {
        secrets: vec![Secret::new(secret)],
        algorithm: SignatureAlgorithm::Sha256,
        header: "X-Webhook-Signature".to_owned(),
        signed_content: SignedContent::TimestampAndBody,
    };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let foreign = [
        verify_gateway(&signing, signature, timestamp, &body, NOW, TOLERANCE_MS),
        verify_standard(&signing, "evt_1", timestamp, signature, &body, NOW, TOLERANCE_MS),
        verify_helicone(&signing, signature, &body),
    ];
    assert!(foreign.iter().all(Result::is_err), "a made-up signature passed");
    let seconds = NOW.as_secs();
    if let Some(ours) = gateway_signature(&signing, seconds, &[body.clone()]) {
        let seconds = seconds.to_string();
        verify_gateway(&signing, &ours, &seconds, &body, NOW, 0).expect("our own passes");
    }
    let ours = standard_signature(&signing, "evt_1", seconds, &[body.clone()]);
    if !ours.is_empty() {
        let seconds = seconds.to_string();
        verify_standard(&signing, "evt_1", &seconds, &ours, &body, NOW, 0).expect("our own passes");
    }
});
