//! What a request of a delivery has, and what of the user's it keeps.

use std::io::Read as _;

use domain::{
    destination::{
        CloudEventsMode, Helicone, HeliconeBodies, LogFormat, Otlp, SignatureAlgorithm,
        SignedContent,
    },
    event::EventType,
    id::CallId,
    secret::Secret,
};

use super::*;
use crate::sign::{verify_helicone, verify_standard};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_999);
const BODY: Bytes = Bytes::from_static(b"{\"event\":\"completion\"}");

fn destination(headers: &[(&str, &str)]) -> Destination {
    let secret = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(value));
    Destination {
        url: "https://example.com/hook?a=b".to_owned(),
        headers: headers.iter().map(secret).collect(),
        ..domain::sample::destination()
    }
}

fn signing() -> Signing {
    Signing {
        secrets: vec![Secret::new("whsec_bmV3"), Secret::new("whsec_b2xk")],
        algorithm: SignatureAlgorithm::Sha256,
        header: "X-Webhook-Signature".to_owned(),
        signed_content: SignedContent::TimestampAndBody,
    }
}

fn built(destination: &Destination) -> Request {
    build(destination, &DeliveryId::new("evt_1"), "application/json", BODY.into(), NOW)
}

fn lines(request: &Request) -> String {
    let lines = request.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn an_unsigned_delivery_names_its_type_its_sender_and_its_id() {
    let request = built(&destination(&[("X-Team", "a")]));
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.url, "https://example.com/hook?a=b");
    assert_eq!(request.body.to_bytes(), BODY);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "content-type: application/json\nuser-agent: hookgate/{version}\nX-Team: a\n\
         webhook-id: evt_1"
    );
    assert_eq!(lines(&request), expected);
}

#[test]
fn the_users_headers_replace_the_defaults_whatever_their_case() {
    let request = built(&destination(&[("CONTENT-TYPE", "text/plain"), ("User-agent", "mine")]));
    let expected = "CONTENT-TYPE: text/plain\nUser-agent: mine\nwebhook-id: evt_1";
    assert_eq!(lines(&request), expected);
}

#[test]
fn reserved_headers_cannot_be_overridden() {
    let forged = [
        ("Host", "inner"),
        ("content-LENGTH", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("keep-alive", "5"),
        ("Proxy-Authorization", "Basic x"),
        ("proxy-connection", "close"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Upgrade", "h2c"),
        ("Expect", "100-continue"),
        ("Webhook-Id", "evt_2"),
        ("webhook-anything", "x"),
        ("x-webhook-SIGNATURE", "sha256=0"),
        ("X-Webhook-Timestamp", "0"),
    ];
    let signed = Destination { signing: Some(signing()), ..destination(&forged) };
    let plain = Destination { headers: Vec::new(), ..signed.clone() };
    assert_eq!(built(&signed), built(&plain));
    // Without a signature of ours, those names are the user's.
    let unsigned = built(&destination(&forged[forged.len() - 2..]));
    assert_eq!(unsigned.header("X-Webhook-Signature"), Some("sha256=0"));
    assert_eq!(unsigned.header("X-Webhook-Timestamp"), Some("0"));
}

#[test]
fn a_signed_event_carries_both_schemes_over_the_attempts_time() {
    let request = built(&Destination { signing: Some(signing()), ..destination(&[]) });
    let header = |name| request.header(name).unwrap();
    let verified = crate::sign::verify_gateway(
        &signing(),
        header("x-webhook-signature"),
        header("x-webhook-timestamp"),
        &BODY,
        NOW,
        0,
    );
    assert_eq!(verified, Ok(()));
    let verified = verify_standard(
        &signing(),
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
        &BODY,
        NOW,
        0,
    );
    assert_eq!(verified, Ok(()));
    assert_eq!(header("webhook-timestamp"), "1700000000");
}

#[test]
fn the_standard_library_verifies_what_is_sent() {
    // It refuses timestamps that are not of these five minutes, so this one is of now.
    let now = domain::time::Clock::now(&domain::time::SystemClock);
    let signed = Destination { signing: Some(signing()), ..destination(&[]) };
    let id = DeliveryId::new("evt_1");
    let request = build(&signed, &id, "application/json", BODY.into(), now);
    let mut headers = http::HeaderMap::new();
    for (name, value) in &request.headers {
        let name: http::HeaderName = name.parse().unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    for secret in ["whsec_bmV3", "whsec_b2xk"] {
        let webhook = standardwebhooks::Webhook::new(secret).unwrap();
        webhook.verify(&BODY, &headers).unwrap();
        assert!(webhook.verify(b"{}", &headers).is_err());
    }
    let stranger = standardwebhooks::Webhook::new("whsec_bm9uZQ==").unwrap();
    assert!(stranger.verify(&BODY, &headers).is_err());
}

#[test]
fn every_format_is_signed_by_both_schemes_and_helicones_by_its_own_too() {
    let helicone = Helicone { include_data: true, bodies: HeliconeBodies::Object };
    let formats = [
        Format::GenericApi(LogFormat::JsonArray),
        Format::Event,
        Format::Otlp(Otlp::default()),
        Format::Helicone(helicone),
        Format::CloudEvents(CloudEventsMode::Structured),
        Format::LitellmAlert,
    ];
    for format in formats {
        let request = built(&Destination { format, signing: Some(signing()), ..destination(&[]) });
        let header = |name| request.header(name);
        assert!(header("X-Webhook-Signature").unwrap().starts_with("sha256="), "{format:?}");
        assert_eq!(header("webhook-id"), Some("evt_1"));
        let verified = verify_standard(
            &signing(),
            "evt_1",
            header("webhook-timestamp").unwrap(),
            header("webhook-signature").unwrap(),
            &BODY,
            NOW,
            0,
        );
        assert_eq!(verified, Ok(()), "{format:?}");
        let own = [header("Helicone-Signature"), header("X-Helicone-Signature")];
        match format {
            Format::Helicone(_) => {
                assert_eq!(verify_helicone(&signing(), own[0].unwrap(), &BODY), Ok(()));
                assert_eq!(own[0], own[1]);
            }
            _ => assert_eq!(own, [None, None]),
        }
    }
}

#[test]
fn a_private_key_alone_signs_by_standard_webhooks_only() {
    let key = Secret::new("whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=");
    let signing = Signing { secrets: vec![key], ..signing() };
    let helicone = Helicone { include_data: true, bodies: HeliconeBodies::Object };
    let signed = Destination {
        format: Format::Helicone(helicone),
        signing: Some(signing),
        ..destination(&[("X-Webhook-Signature", "mine"), ("Helicone-Signature", "mine too")])
    };
    let request = built(&signed);
    assert!(request.header("webhook-signature").unwrap().starts_with("v1a,"));
    // Those headers are the user's where no signature of ours needs them.
    assert_eq!(request.header("X-Webhook-Signature"), Some("mine"));
    assert_eq!(request.header("Helicone-Signature"), Some("mine too"));
    assert_eq!(request.header("X-Webhook-Timestamp"), None);
    assert_eq!(request.header("X-Helicone-Signature"), None);
}

#[test]
fn helicones_headers_cannot_be_overridden_where_they_sign() {
    let helicone = Helicone { include_data: true, bodies: HeliconeBodies::Object };
    let forged = [("helicone-signature", "0"), ("X-HELICONE-signature", "0")];
    let signed = Destination {
        format: Format::Helicone(helicone),
        signing: Some(signing()),
        ..destination(&forged)
    };
    let plain = Destination { headers: Vec::new(), ..signed.clone() };
    assert_eq!(built(&signed), built(&plain));
}

#[test]
fn a_packed_body_is_the_same_in_every_attempt_and_signed_as_it_was_before() {
    let packs = Destination {
        compression: Compression::Gzip,
        signing: Some(signing()),
        ..destination(&[("Content-Encoding", "identity")])
    };
    let pieces = "x".repeat(20_000);
    let body = join_pieces(&[b"[", pieces.as_bytes(), b",", pieces.as_bytes(), b"]"]);
    let id = DeliveryId::new("evt_1");
    let first = build(&packs, &id, "application/json", body.clone(), NOW);
    let later = Timestamp::from_millis(NOW.as_millis() + 60_000);
    let second = build(&packs, &id, "application/json", body.clone(), later);
    assert_eq!(first.body, second.body);
    assert!(first.body.len() < body.len() / 10, "{}", first.body.len());
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    let packed = first.body.to_bytes();
    // RFC 1952: no time, no name, no system.
    assert_eq!(packed[..4], [0x1f, 0x8b, 8, 0]);
    assert_eq!((&packed[4..8], packed[9]), (&[0; 4][..], 255));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, body.to_bytes());
    let verified = verify_standard(
        &signing(),
        "evt_1",
        first.header("webhook-timestamp").unwrap(),
        first.header("webhook-signature").unwrap(),
        &unpacked,
        NOW,
        0,
    );
    assert_eq!(verified, Ok(()));
    let plain = Destination { compression: Compression::None, ..packs };
    assert_eq!(built(&plain).header("Content-Encoding"), Some("identity"));
}

fn join_pieces(pieces: &[&[u8]]) -> Body {
    let mut body = crate::body::Builder::default();
    for piece in pieces {
        body.push(&Bytes::copy_from_slice(piece));
    }
    body.finish()
}

#[test]
fn signing_without_a_secret_in_force_is_no_signing() {
    let signing = Signing { secrets: Vec::new(), ..signing() };
    let request = built(&Destination { signing: Some(signing), ..destination(&[]) });
    assert_eq!(request, built(&destination(&[])));
}

#[test]
fn a_batch_is_named_after_all_its_events_in_order() {
    let ids: Vec<_> = (0..3)
        .map(|n| EventId::of_outcome(CallId::from_bytes([n; 16]), EventType::Completion))
        .collect();
    assert_eq!(delivery_id(&[&ids[0]]).as_str(), ids[0].as_str());
    // From `printf '…\n…' | sha256sum`, the first 32 digits.
    let batch = delivery_id(&[&ids[0], &ids[1]]);
    assert_eq!(batch.as_str(), "bat_ff695438009765446c28534c98acc99d");
    assert_eq!(batch, delivery_id(&[&ids[0], &ids[1]]));
    assert_ne!(batch, delivery_id(&[&ids[1], &ids[0]]));
    assert_ne!(batch, delivery_id(&[&ids[0], &ids[1], &ids[2]]));
}

#[test]
fn headers_that_would_break_the_request_are_refused() {
    let name = |name: &str| Err(HeaderError::Name { name: name.to_owned() });
    let value = || Err(HeaderError::Value { name: "X-A".to_owned() });
    let reserved = |name: &str| Err(HeaderError::Reserved { name: name.to_owned() });
    let cases = [
        ("X-A", "plain\ttext é", Ok(())),
        ("Content-Type", "text/plain", Ok(())),
        ("X-Webhook-Token", "t", Ok(())),
        ("webhook", "t", Ok(())),
        ("", "x", name("")),
        ("X A", "x", name("X A")),
        ("X-A:", "x", name("X-A:")),
        ("X-É", "x", name("X-É")),
        ("X\r\nHost", "x", name("X\\r\\nHost")),
        ("X-A", "a\r\nHost: b", value()),
        ("X-A", "a\nb", value()),
        ("X-A", "a\0b", value()),
        ("X-A", "a\x7fb", value()),
        ("hOST", "x", reserved("hOST")),
        ("Webhook-Signature", "x", reserved("Webhook-Signature")),
        ("webhook-", "x", reserved("webhook-")),
    ];
    for (header, text, expected) in cases {
        assert_eq!(validate_header(header, text), expected, "{header:?}: {text:?}");
    }
}

#[test]
fn the_debug_form_shows_no_value() {
    let request = built(&destination(&[("Authorization", "Bearer canary")]));
    let shown = format!("{request:?}");
    assert!(shown.contains("Authorization") && !shown.contains("canary"), "{shown}");
}
