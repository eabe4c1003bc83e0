//! One delivery as an HTTP request: id, headers, body.
//!
//! Invariant: what the gateway and HTTP themselves need (framing, host, ids, signatures) comes from
//! here alone; a user's header never replaces it. Everything else the user may set.

use std::{borrow::Cow, fmt, io::Write as _};

use bytes::Bytes;
use domain::{
    destination::{Compression, Destination, Format, Method, Signing},
    id::{DeliveryId, EventId},
    time::Timestamp,
};
use flate2::{GzBuilder, write::GzEncoder};
use sha2::{Digest, Sha256};

use crate::body::Body;
use crate::sign::{
    gateway_signature, helicone_signature, hexadecimal, is_symmetric, standard_signature,
};

/// Who sends.
const USER_AGENT: &str = concat!("hookgate/", env!("CARGO_PKG_VERSION"));

/// The time that the gateway's own signature covers, in unix seconds.
const GATEWAY_TIMESTAMP: &str = "x-webhook-timestamp";

/// Helicone's signature: the name that its code sends, and the one that seed 004 has.
const HELICONE_SIGNATURES: [&str; 2] = ["Helicone-Signature", "X-Helicone-Signature"];

/// Standard Webhooks' headers begin with this.
const STANDARD_PREFIX: &str = "webhook-";

/// How a body is packed.
const CONTENT_ENCODING: &str = "content-encoding";

/// The operating system in a gzip header (RFC 1952): none that is named.
const UNKNOWN_SYSTEM: u8 = 255;

/// What HTTP/1.1 itself uses: framing, routing, and what concerns one connection (RFC 9110, 7.6.1).
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The id of a delivery: its event's own if it carries one, else `bat_` and a hash of all ids, so
/// that a retry of the same batch has the same id.
pub fn delivery_id(items: &[&EventId]) -> DeliveryId {
    if let [only] = items {
        return DeliveryId::new(only.as_str());
    }
    let mut hash = Sha256::new();
    for (index, id) in items.iter().enumerate() {
        if index > 0 {
            hash.update(b"\n");
        }
        hash.update(id.as_str());
    }
    let digest = hash.finalize();
    DeliveryId::new(&hexadecimal("bat_", &digest[..16]))
}

/// One attempt's HTTP request, ready to send. Its `Debug` form shows no header's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Names and values, in order. Values may be secret.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Body,
}

impl Request {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Makes the request of one attempt, which begins `now`.
///
/// The id goes with every format. A destination that signs gets Standard Webhooks' two headers; if
/// one of its secrets is symmetric, the gateway's own header with its timestamp, and on the
/// `helicone` format Helicone's under both of its names. Of the user's headers, one that is reserved
/// or that a signature uses is left out; `Content-Type` and `User-Agent` replace ours.
///
/// A destination that packs gets the same bytes in every attempt, and signatures over them.
pub fn build(
    destination: &Destination,
    id: &DeliveryId,
    content_type: &str,
    body: Body,
    now: Timestamp,
) -> Request {
    let signing = destination.signing.as_ref().filter(|signing| !signing.secrets.is_empty());
    let mut headers = Vec::with_capacity(destination.headers.len() + 10);
    push_default(&mut headers, destination, "content-type", content_type);
    push_default(&mut headers, destination, "user-agent", USER_AGENT);
    for (name, value) in &destination.headers {
        if !is_reserved(name) && !is_ours(name, destination, signing) {
            headers.push((Cow::Owned(name.clone()), value.expose().to_owned()));
        }
    }
    let body = match destination.compression {
        Compression::None => body,
        Compression::Gzip => {
            headers.push((Cow::Borrowed(CONTENT_ENCODING), "gzip".to_owned()));
            gzip(&body)
        }
    };
    headers.push((Cow::Borrowed("webhook-id"), id.as_str().to_owned()));
    if let Some(signing) = signing {
        let body = body.pieces();
        push_signatures(&mut headers, destination.format, signing, id, body, now.as_secs());
    }
    Request { method: destination.method, url: destination.url.clone(), headers, body }
}

type Headers = Vec<(Cow<'static, str>, String)>;

fn push_default(headers: &mut Headers, destination: &Destination, name: &'static str, value: &str) {
    if !destination.headers.iter().any(|(set, _)| set.eq_ignore_ascii_case(name)) {
        headers.push((Cow::Borrowed(name), value.to_owned()));
    }
}

fn push_signatures(
    headers: &mut Headers,
    format: Format,
    signing: &Signing,
    id: &DeliveryId,
    body: &[Bytes],
    unix_seconds: i64,
) {
    let signatures = standard_signature(signing, id.as_str(), unix_seconds, body);
    headers.push((Cow::Borrowed("webhook-timestamp"), unix_seconds.to_string()));
    headers.push((Cow::Borrowed("webhook-signature"), signatures));
    if let Some(signature) = gateway_signature(signing, unix_seconds, body) {
        headers.push((Cow::Borrowed(GATEWAY_TIMESTAMP), unix_seconds.to_string()));
        headers.push((Cow::Owned(signing.header.clone()), signature));
    }
    if !matches!(format, Format::Helicone(_)) {
        return;
    }
    if let Some(signature) = helicone_signature(signing, body) {
        for name in HELICONE_SIGNATURES {
            headers.push((Cow::Borrowed(name), signature.clone()));
        }
    }
}

/// Packs a body. The header of the packed form has no time and no system's name in it.
fn gzip(body: &Body) -> Body {
    // Every attempt packs anew, on the threads that send: the fast level is most of the gain.
    let level = flate2::Compression::fast();
    let packed = Vec::with_capacity(body.len() / 4 + 64);
    let mut encoder: GzEncoder<Vec<u8>> =
        GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(packed, level);
    for piece in body.pieces().iter() {
        encoder.write_all(piece).expect("a vector takes any bytes");
    }
    Bytes::from(encoder.finish().expect("a vector takes any bytes")).into()
}

/// Why a header cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name has a character that names cannot have, or is empty.
    #[error("header name `{name}` is not a token")]
    Name {
        /// The name, with what cannot be printed escaped.
        name: String,
    },
    /// The value has a control character (CR, LF, NUL, …).
    #[error("value of header `{name}` has a control character")]
    Value {
        /// The header's name.
        name: String,
    },
    /// The gateway or HTTP itself sets it.
    #[error("header `{name}` is set by the gateway and cannot be overridden")]
    Reserved {
        /// The header's name.
        name: String,
    },
}

/// Passes a header that the user may add to a destination: for the configuration's check.
///
/// The signature's own headers are not known here; [`build`] leaves a user's out where it signs.
pub fn validate_header(name: &str, value: &str) -> Result<(), HeaderError> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(HeaderError::Name { name: name.escape_debug().to_string() });
    }
    if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err(HeaderError::Value { name: name.to_owned() });
    }
    if is_reserved(name) {
        return Err(HeaderError::Reserved { name: name.to_owned() });
    }
    Ok(())
}

/// The characters of names (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_reserved(name: &str) -> bool {
    let start = name.as_bytes().get(..STANDARD_PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(STANDARD_PREFIX.as_bytes()))
        || RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
}

/// Whether a header is one that the gateway writes for this destination.
fn is_ours(name: &str, destination: &Destination, signing: Option<&Signing>) -> bool {
    if name.eq_ignore_ascii_case(CONTENT_ENCODING) {
        return destination.compression != Compression::None;
    }
    let Some(signing) = signing.filter(|signing| signing.secrets.iter().any(is_symmetric)) else {
        return false;
    };
    name.eq_ignore_ascii_case(&signing.header)
        || name.eq_ignore_ascii_case(GATEWAY_TIMESTAMP)
        || (matches!(destination.format, Format::Helicone(_))
            && HELICONE_SIGNATURES.iter().any(|ours| name.eq_ignore_ascii_case(ours)))
}

#[cfg(test)]
mod tests {
    use domain::{
        destination::{LogFormat, SignatureAlgorithm, SignedContent},
        event::EventType,
        id::CallId,
        secret::Secret,
    };

    use super::*;

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
        let request =
            built(&destination(&[("CONTENT-TYPE", "text/plain"), ("User-agent", "mine")]));
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
            ("Webhook-Id", "evt_2"),
            ("webhook-anything", "x"),
            ("x-webhook-SIGNATURE", "sha256=0"),
            ("X-Webhook-Timestamp", "0"),
        ];
        let signed = Destination { signing: Some(signing()), ..destination(&forged) };
        let plain = Destination { headers: Vec::new(), ..signed.clone() };
        assert_eq!(built(&signed), built(&plain));
        // Without a signature of ours, those names are the user's.
        let unsigned = built(&destination(&forged[6..]));
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
        let verified = crate::sign::verify_standard(
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
    fn other_formats_carry_the_gateways_signature_alone() {
        let format = Format::GenericApi(LogFormat::JsonArray);
        let request = built(&Destination { format, signing: Some(signing()), ..destination(&[]) });
        assert!(request.header("X-Webhook-Signature").unwrap().starts_with("sha256="));
        assert_eq!(request.header("webhook-id"), Some("evt_1"));
        assert_eq!(request.header("webhook-signature"), None);
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
}
