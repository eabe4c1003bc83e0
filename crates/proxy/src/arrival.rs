//! Request to call: what the gateway reads of a request's head and body beside its texts.
//!
//! Whether the call is let in is not decided here. Invariant: a call holds no credential, and each
//! of its texts that a caller makes up is bounded.

use std::net::IpAddr;

use bytes::Bytes;
use domain::{
    call::{Call, Caller, Endpoint, Logging},
    id::CallId,
    time::Timestamp,
};
use http::{HeaderMap, request::Parts};
use provider::{
    redact::without_server_credentials,
    scan::Scan,
    splice::{Edit, splice},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{gateway::Gateway, headers};

/// Bytes of a name or id that a caller may make up; more is cut.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// Tags of one call; more are left out.
const TAGS_MAX: usize = 128;

/// What is known of a call beside its body.
pub(crate) struct Arrival {
    pub(crate) endpoint: Endpoint,
    /// The model, if the path names it.
    pub(crate) model: Option<String>,
    pub(crate) caller: Caller,
    pub(crate) client_ip: Option<IpAddr>,
    pub(crate) arrived_at: Timestamp,
    pub(crate) parts: Parts,
}

/// The members of a body's `metadata` that the gateway acts on. The object itself stays in the body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    tags: Option<Value>,
    trace_id: Option<Value>,
    session_id: Option<Value>,
    user_id: Option<Value>,
}

impl Metadata {
    fn read(body: &[u8], scan: &Scan, key: &str) -> Self {
        let raw = scan.raw(body, key);
        raw.and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default()
    }
}

/// The call that a request makes.
pub(crate) fn call(
    gateway: &Gateway,
    arrival: &Arrival,
    model: String,
    body: &[u8],
    scan: &Scan,
) -> Call {
    let headers = &arrival.parts.headers;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own = |name: &str| header(name).map(bounded);
    let helicone = Helicone::read(headers);
    let field = |name: &str| scan.str(body, name).map(|text| bounded(&text));
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(bounded);
    let metadata = Metadata::read(body, scan, "metadata");
    // Where `metadata` is the provider's, LiteLLM's callers have one of this name.
    let ours = Metadata::read(body, scan, "litellm_metadata");
    let trace_id = own("x-litellm-trace-id")
        .or_else(|| field("litellm_trace_id"))
        .or_else(|| text(&metadata.trace_id))
        .or_else(|| text(&ours.trace_id));
    let session_id = own("x-litellm-session-id")
        .or(helicone.session_id)
        .or_else(|| field("litellm_session_id"))
        .or_else(|| field("session_id"))
        .or_else(|| text(&metadata.session_id))
        .or_else(|| text(&ours.session_id))
        // OpenRouter's header: there the body wins.
        .or_else(|| own("x-session-id"));
    let is_anthropics = arrival.endpoint == Endpoint::Messages;
    let end_user = own("x-litellm-end-user-id")
        .or_else(|| own("x-litellm-customer-id"))
        .or(helicone.user_id)
        .or_else(|| field("user"))
        .or_else(|| text(&metadata.user_id).filter(|_| is_anthropics));
    Call {
        id: CallId::new(arrival.arrived_at, random()),
        arrived_at: arrival.arrived_at,
        endpoint: arrival.endpoint,
        path: bounded(arrival.parts.uri.path()),
        model,
        stream: scan.bool(body, "stream") == Some(true),
        caller: arrival.caller.clone(),
        client_ip: arrival.client_ip,
        end_user,
        tags: tags(&[&metadata, &ours], header("x-litellm-tags"), scan.raw(body, "tags")),
        trace_id,
        session_id,
        own_id: helicone.request_id,
        logging: logging(gateway, headers, body, scan),
        omit_request: helicone.omit_request,
        omit_response: helicone.omit_response,
        headers: headers::kept(headers),
    }
}

fn logging(gateway: &Gateway, headers: &HeaderMap, body: &[u8], scan: &Scan) -> Logging {
    if scan.bool(body, "no-log") == Some(true) {
        return Logging::Off;
    }
    let asked = headers.get("x-litellm-enable-message-redaction");
    let is_asked = asked.and_then(|value| value.to_str().ok()).is_some_and(is_true);
    let is_asked = is_asked || scan.bool(body, "turn_off_message_logging") == Some(true);
    if gateway.config.turn_off_message_logging || is_asked {
        Logging::Redacted
    } else {
        Logging::Full
    }
}

/// What Helicone's headers say.
#[derive(Default)]
struct Helicone {
    request_id: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    omit_request: bool,
    omit_response: bool,
}

impl Helicone {
    fn read(headers: &HeaderMap) -> Self {
        if !headers.keys().any(|name| name.as_str().starts_with("helicone-")) {
            return Self::default();
        }
        let text = |name: &str| headers.get(name).map(headers::text);
        let own = |name: &str| text(name).map(|value| bounded(&value));
        Self {
            request_id: own("helicone-request-id").filter(|id| is_own_id(id)),
            user_id: own("helicone-user-id"),
            session_id: own("helicone-session-id"),
            omit_request: text("helicone-omit-request").as_deref() == Some("true"),
            omit_response: text("helicone-omit-response").as_deref() == Some("true"),
        }
    }
}

/// Whether Helicone would take it for a request's id: a UUID of RFC 9562's variant, of the versions
/// 1 to 5.
fn is_own_id(id: &str) -> bool {
    let is_valid = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => matches!(byte, b'1'..=b'5'),
        19 => matches!(byte, b'8' | b'9' | b'a' | b'b' | b'A' | b'B'),
        _ => byte.is_ascii_hexdigit(),
    };
    id.len() == 36 && id.bytes().enumerate().all(is_valid)
}

fn tags(metadata: &[&Metadata], header: Option<&str>, field: Option<&[u8]>) -> Vec<String> {
    fn listed(value: &Value) -> impl Iterator<Item = String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|tag| tag.as_str().map(bounded))
    }
    let own = metadata.iter().filter_map(|metadata| metadata.tags.as_ref()).flat_map(listed);
    let header = header.unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty());
    let field: Option<Value> = field.and_then(|raw| serde_json::from_slice(raw).ok());
    let field = field.iter().flat_map(listed);
    let mut tags = Vec::new();
    for tag in own.chain(header.map(bounded)).chain(field) {
        if tags.len() < TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

/// A text of the caller's within its bound.
pub(crate) fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value == "1"
}

/// Members of a body that are, or may hold, something that lets its holder in: LiteLLM's callers may
/// put a provider's key, or headers for it, into a request.
const CREDENTIALS: [Edit<'_>; 10] = [
    Edit::Remove { key: "api_key" },
    Edit::Remove { key: "extra_headers" },
    Edit::Remove { key: "headers" },
    Edit::Remove { key: "aws_access_key_id" },
    Edit::Remove { key: "aws_secret_access_key" },
    Edit::Remove { key: "aws_session_token" },
    Edit::Remove { key: "azure_ad_token" },
    Edit::Remove { key: "vertex_credentials" },
    Edit::Remove { key: "user_config" },
    Edit::Remove { key: "authorization" },
];

/// The body as the journal keeps it.
pub(crate) fn without_credentials(body: &Bytes, scan: &Scan) -> Bytes {
    let servers = without_server_credentials(body, scan);
    if servers.is_empty() {
        return splice(body, scan, &CREDENTIALS);
    }
    let servers = servers.iter().map(|(key, value)| Edit::Set { key, value });
    splice(body, scan, &CREDENTIALS.into_iter().chain(servers).collect::<Vec<_>>())
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    fastrand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use provider::scan::scan;

    use super::*;

    #[test]
    fn of_a_body_with_credentials_everything_else_is_kept() {
        let body = br#"{"model":"m","api_key":"x","extra_headers":{"a":"x"},"headers":{"a":"x"},
            "aws_access_key_id":"x","aws_secret_access_key":"x","aws_session_token":"x",
            "azure_ad_token":"x","vertex_credentials":{"a":"x"},"user_config":{"a":"x"},
            "authorization":"x","messages":[],"user":"u",
            "tools":[{"type":"mcp","headers":{"a":"x"}}]}"#;
        let body = Bytes::from_static(body);
        let scan = scan(&body).expect("it is JSON");
        let kept = without_credentials(&body, &scan);
        let kept: Value = serde_json::from_slice(&kept).expect("it is JSON");
        assert_eq!(
            kept,
            serde_json::json!({"model": "m", "messages": [], "user": "u",
                "tools": [{"type": "mcp", "headers": null}]})
        );
    }

    #[test]
    fn helicone_s_ids_are_uuids_of_its_versions() {
        for (id, expected) in [
            ("123e4567-e89b-12d3-a456-426614174000", true),
            ("123E4567-E89B-42D3-B456-426614174000", true),
            // Version 7, another variant, no hyphens, too long.
            ("018f3b1e-0000-7000-8000-000000000000", false),
            ("123e4567-e89b-12d3-c456-426614174000", false),
            ("123e4567e89b12d3a456426614174000", false),
            ("123e4567-e89b-12d3-a456-4266141740000", false),
            ("", false),
        ] {
            assert_eq!(is_own_id(id), expected, "{id}");
        }
    }

    #[test]
    fn tags_come_from_everywhere_once_and_within_bounds() {
        let metadata = Metadata {
            tags: Some(serde_json::json!(["a", "b", 7, "é".repeat(1000)])),
            ..Metadata::default()
        };
        let many: Vec<_> = (0..500).map(|n| format!("t{n}")).collect();
        let field = serde_json::to_vec(&many).expect("it is JSON");
        let tags = tags(&[&metadata, &Metadata::default()], Some("b, c,,"), Some(&field));
        assert_eq!(tags.len(), TAGS_MAX);
        assert_eq!((&tags[..2], tags[2].len()), (&["a".to_owned(), "b".to_owned()][..], 1024));
        assert_eq!((tags[3].as_str(), tags[4].as_str()), ("c", "t0"));
    }
}
