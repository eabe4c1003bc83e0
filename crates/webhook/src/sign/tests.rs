//! Signatures against known values, and as receivers verify them.

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
    let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]).unwrap();
    let expected = "sha256=d0c5e92cbfd6a4ad865333d1e79ed52ba82849d84281eff5e3c3233e92439630";
    assert_eq!(signature, expected);
    let over_body = Signing { signed_content: SignedContent::Body, ..signing.clone() };
    let signature = gateway_signature(&over_body, SECS, &[Bytes::from_static(BODY)]).unwrap();
    let expected = "sha256=c4be5c092d907fa240f2da524c1fd82913705379274d113cacd5ec3a667ad4d4";
    assert_eq!(signature, expected);
    let sha512 = Signing { algorithm: SignatureAlgorithm::Sha512, ..signing };
    let signature = gateway_signature(&sha512, SECS, &[Bytes::from_static(BODY)]).unwrap();
    let expected = "sha512=6120c574762867984465afd017fe5ad0be578ad90541f89a3c4cab164b9e17fc\
                    a867d1b10fd2975c18a1dc26c2536abf3e0d5257948d7243cac25b3ef1702215";
    assert_eq!(signature, expected);
}

#[test]
fn without_a_secret_there_is_no_signature_and_nothing_verifies() {
    let signing = signing(&[]);
    assert_eq!(gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]), None);
    assert_eq!(helicone_signature(&signing, &[Bytes::from_static(BODY)]), None);
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
        let verified =
            verify_standard(&one, "evt_1", "1614265330", &signature, BODY, at(SECS), TOLERANCE_MS);
        assert_eq!(verified, Ok(()), "{secret}");
    }
    // The receiver may have both while the gateway's header still has the old one.
    let old = gateway_signature(&signing(&["old"]), SECS, &[Bytes::from_static(BODY)]).unwrap();
    let verified = verify_gateway(&both, &old, "1614265330", BODY, at(SECS), TOLERANCE_MS);
    assert_eq!(verified, Ok(()));
}

#[test]
fn an_old_a_future_and_a_broken_timestamp_are_refused() {
    let signing = signing(&["secret"]);
    let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]).unwrap();
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
    let signature = gateway_signature(&signing, SECS, &[Bytes::from_static(BODY)]).unwrap();
    assert_eq!(verify_gateway(&signing, &signature, "", BODY, at(0), 0), Ok(()));
    let verified = verify_gateway(&signing, &signature, "", b"other", at(0), 0);
    assert_eq!(verified, Err(VerifyError::Mismatch));
}

/// RFC 8032's first test key: seed and public key, the seed alone, and the public key.
const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6\
                       DuFy89qmIyWvAhpo9wdRGg==";
const SEED: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

#[test]
fn asymmetric_signatures_are_those_of_ed25519() {
    // From `crypto.sign` of Node 20 with the same key, over `id.timestamp.body`.
    let expected = "v1a,fldxM4gAKugP6nnt1hdz3sgGfZ6d99nzrMFnZOELIxbzEHoVmAb2ADpkJK7zgPePmPsle0zV9\
                    jSeGlHFG2NVAw==";
    for secret in [PRIVATE, SEED] {
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", [Bytes::from_static(BODY)]);
        assert_eq!(standard_signature(&signing(&[secret]), id, SECS, &body), expected);
        assert_eq!(public_key(&Secret::new(secret)).as_deref(), Some(PUBLIC));
    }
    assert_eq!(public_key(&Secret::new("whsec_bmV3")), None);
    assert_eq!(public_key(&Secret::new("whsk_bmV3")), None);
}

#[test]
fn a_rotation_of_both_kinds_signs_with_all_and_each_receiver_finds_its_own() {
    let all = signing(&[PRIVATE, "whsec_bmV3", "old"]);
    let body = [Bytes::from_static(BODY)];
    let signature = standard_signature(&all, "evt_1", SECS, &body);
    let kinds: Vec<_> = signature.split(' ').map(|one| &one[..3]).collect();
    assert_eq!(kinds, ["v1a", "v1,", "v1,"]);
    let verified = |secret: &str, signature: &str| {
        let now = at(SECS);
        verify_standard(&signing(&[secret]), "evt_1", "1614265330", signature, BODY, now, 0)
    };
    for secret in [PRIVATE, SEED, PUBLIC, "whsec_bmV3", "old"] {
        assert_eq!(verified(secret, &signature), Ok(()), "{secret}");
    }
    let others = ["newer", "whsec_bmV3bmV3", "whpk_bmV3", "whsk_bmV3"];
    for secret in others {
        assert_eq!(verified(secret, &signature), Err(VerifyError::Mismatch), "{secret}");
    }
    // A receiver of ed25519 signatures takes no HMAC, whatever its key.
    let hmac = standard_signature(&signing(&["old"]), "evt_1", SECS, &body);
    for secret in [PRIVATE, PUBLIC] {
        assert_eq!(verified(secret, &hmac), Err(VerifyError::Mismatch), "{secret}");
        let renamed = hmac.replace("v1,", "v1a,");
        assert_eq!(verified(secret, &renamed), Err(VerifyError::Mismatch), "{secret}");
    }
    // Headers of one value take the newest symmetric secret.
    assert_eq!(
        gateway_signature(&all, SECS, &body),
        gateway_signature(&signing(&["whsec_bmV3"]), SECS, &body)
    );
    assert_eq!(gateway_signature(&signing(&[PRIVATE]), SECS, &body), None);
    assert_eq!(helicone_signature(&signing(&[PRIVATE]), &body), None);
}

#[test]
fn a_public_key_is_never_taken_for_the_key_of_an_hmac() {
    // Whoever knows the public key could sign so.
    let key = symmetric_key(PUBLIC);
    let receiver = signing(&[PUBLIC]);
    let (id, secs, now) = ("evt_1", "1614265330", at(SECS));
    let forged = [
        sign_for_gateway(&receiver, &key, secs, &[BODY]),
        sign_for_standard(&key, id, secs, &[BODY]),
        sign_for_helicone(&Secret::new(PUBLIC), &[BODY]),
    ];
    let verified = [
        verify_gateway(&receiver, &forged[0], secs, BODY, now, 0),
        verify_standard(&receiver, id, secs, &forged[1], BODY, now, 0),
        verify_helicone(&receiver, &forged[2], BODY),
    ];
    assert_eq!(verified, [Err(VerifyError::Mismatch); 3]);
}

#[test]
fn helicones_signature_is_a_bare_hmac_under_the_text_of_its_key() {
    // From Python's `hmac` over the same bytes: the 64 digits are not decoded.
    let key = "ab".repeat(32);
    let expected = "dac39d48c6b1df6b16347a7a2313c6356c8b44ef738cdd6c8e36c3c64125c3ef";
    let signing = signing(&[PRIVATE, &key, "older"]);
    let signature = helicone_signature(&signing, &[Bytes::from_static(BODY)]).unwrap();
    assert_eq!(signature, expected);
    assert_eq!(verify_helicone(&signing, expected, BODY), Ok(()));
    assert_eq!(verify_helicone(&signing, expected, b"other"), Err(VerifyError::Mismatch));
    assert_eq!(verify_helicone(&signing, "", BODY), Err(VerifyError::Mismatch));
    // `whsec_` is text like any other there.
    let signing = Signing { secrets: vec![Secret::new("whsec_bmV3")], ..signing };
    let signature = helicone_signature(&signing, &[Bytes::from_static(BODY)]).unwrap();
    assert_eq!(signature, "fde6d2b03f53b963c06a5103fef63e40cb1b318cf5cf8883984f48e9d1fe2a31");
}

#[test]
fn secrets_are_checked_before_they_sign() {
    let cases = [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Ok(())),
        ("whsec_YQ", Ok(())),
        ("my secret", Ok(())),
        (PRIVATE, Ok(())),
        (SEED, Ok(())),
        ("", Err(SecretError::Empty)),
        ("whsec_", Err(SecretError::Empty)),
        ("whsk_", Err(SecretError::Empty)),
        ("whsec_no base64", Err(SecretError::NotBase64("whsec_"))),
        ("whsk_no base64", Err(SecretError::NotBase64("whsk_"))),
        ("whsk_bmV3", Err(SecretError::NotEd25519)),
        (PUBLIC, Err(SecretError::Public)),
    ];
    for (text, expected) in cases {
        assert_eq!(check_secret(text), expected, "{text:?}");
    }
    // A public key of another pair beside the seed.
    let other = PRIVATE.replace("dRGg==", "dRGA==");
    assert_eq!(check_secret(&other), Err(SecretError::NotEd25519), "{other}");
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
            gateway_signature(&signing, secs, &pieces).unwrap(),
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
        let helicone = helicone_signature(&signing, &pieces).unwrap();
        prop_assert_eq!(verify_helicone(&signing, &helicone, &body), Ok(()));
        prop_assert_eq!(verify_helicone(&signing, &helicone, &other), mismatch);
    }
}
