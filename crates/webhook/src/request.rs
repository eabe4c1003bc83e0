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
/// A destination that packs gets the same bytes in every attempt. Signatures cover the body before it
/// is packed: the libraries of receivers verify text, and servers unpack before they hand a body on.
pub fn build(
    destination: &Destination,
    id: &DeliveryId,
    content_type: &str,
    body: Body,
    now: Timestamp,
) -> Request {
    let signing = signing_of(destination);
    let mut headers = Vec::with_capacity(destination.headers.len() + 10);
    push_default(&mut headers, destination, "content-type", content_type);
    push_default(&mut headers, destination, "user-agent", USER_AGENT);
    for (name, value) in &destination.headers {
        if !is_reserved(name) && !is_ours(name, destination, signing) {
            headers.push((Cow::Owned(name.clone()), value.expose().to_owned()));
        }
    }
    headers.push((Cow::Borrowed("webhook-id"), id.as_str().to_owned()));
    if let Some(signing) = signing {
        let body = body.pieces();
        push_signatures(&mut headers, destination.format, signing, id, body, now.as_secs());
    }
    let body = match destination.compression {
        Compression::None => body,
        Compression::Gzip => {
            headers.push((Cow::Borrowed(CONTENT_ENCODING), "gzip".to_owned()));
            gzip(&body)
        }
    };
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
/// Of the signatures' own headers, see [`is_written`].
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

/// Whether the gateway writes a header of this name itself for a destination, to sign or to pack: a
/// user's own is left out.
pub fn is_written(name: &str, destination: &Destination) -> bool {
    is_ours(name, destination, signing_of(destination))
}

/// What a destination signs with, if with anything.
fn signing_of(destination: &Destination) -> Option<&Signing> {
    destination.signing.as_ref().filter(|signing| !signing.secrets.is_empty())
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
mod tests;
