//! Request to call: reads the body within its bounds, finds the fields that the gateway acts on, and
//! writes the admission.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use domain::{
    call::{Call, Caller, Endpoint, Logging},
    failure::{Failure, FailureKind},
    id::CallId,
    record::Record,
    time::Timestamp,
};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use provider::{
    scan::{Scan, scan},
    splice::{Edit, splice},
};
use serde::Deserialize;
use store::journal::{Commit, Health};

use crate::{gateway::Gateway, headers, limit::Held, seal::OpenCall, upstream::failure};

/// A call that was let in, with what later steps need of its request.
pub(crate) struct Admitted {
    pub(crate) open: OpenCall,
    pub(crate) request: Request,
    /// Resolves once the admission is in the journal, which happens with the next record that is in
    /// a hurry. No byte leaves before.
    pub(crate) commit: Commit,
}

/// The caller's request.
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) scan: Scan,
}

/// Reads the request and admits the call, or says why not. Nothing is recorded of a refused one.
pub(crate) async fn admit(
    gateway: &Arc<Gateway>,
    endpoint: Endpoint,
    caller: Caller,
    client_ip: Option<IpAddr>,
    parts: Parts,
    body: Incoming,
) -> Result<Admitted, Failure> {
    let arrived_at = gateway.clock.now();
    if let Health::Refusing(reason) = gateway.journal.health() {
        return Err(overloaded(format!("no call can be recorded at the moment: {reason}")));
    }
    let mut held = gateway
        .in_flight
        .enter()
        .ok_or_else(|| overloaded("too many calls are running; try again shortly".into()))?;
    let body = read_body(gateway, &parts.headers, body, &mut held).await?;
    let scan = scan(&body)
        .map_err(|error| invalid(400, format!("the request body is not usable JSON: {error}")))?;
    let model = match scan.str(&body, "model") {
        Some(model) if !model.is_empty() => model.into_owned(),
        _ if scan.raw(&body, "model").is_none() => {
            return Err(invalid(400, "the request names no model: set `model`".into()));
        }
        _ => return Err(invalid(400, "`model` must be a string that is not empty".into())),
    };
    if scan.raw(&body, "messages").is_none() {
        return Err(invalid(400, "the request has no `messages`".into()));
    }
    let facts = Facts { endpoint, caller, client_ip, arrived_at, model };
    let call = Arc::new(call(gateway, facts, &parts, &body, &scan));
    let commit = gateway.journal.append_soon(Record::Admitted(Arc::clone(&call)));
    let kept = without_credentials(&body, &scan);
    let open = OpenCall::new(Arc::clone(gateway), call, kept, held);
    Ok(Admitted { open, request: Request { headers: parts.headers, body, scan }, commit })
}

/// What is set aside for a body before any of it came.
const BODY_ROOM_MAX: usize = 1 << 20;

/// Reads the body into memory of its own. The connection's buffer, of which its frames are slices,
/// is larger, and would live as long as the journal keeps the request in memory.
async fn read_body(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Incoming,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    let limits = &gateway.config.limits;
    let bytes_max = limits.request_body_bytes_max;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or_default();
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    hold(held, announced)?;
    let read = read_frames(body, announced, bytes_max, held);
    tokio::time::timeout(limits.body_read_timeout, read)
        .await
        .map_err(|_| invalid(408, "the request body did not arrive in time".into()))?
}

async fn read_frames(
    mut body: Incoming,
    announced: usize,
    bytes_max: usize,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    let mut bytes = Vec::with_capacity(announced.min(BODY_ROOM_MAX));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| invalid(400, "the request body broke off".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        hold(held, length.saturating_sub(announced.max(bytes.len())))?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Why a call ends at the bound on the bytes of all running calls.
pub(crate) const NO_ROOM: &str = "running calls hold too many bytes; try again shortly";

fn hold(held: &mut Held, bytes: usize) -> Result<(), Failure> {
    if held.grow(bytes) { Ok(()) } else { Err(overloaded(NO_ROOM.into())) }
}

fn too_large(bytes_max: usize) -> Failure {
    invalid(413, format!("the request body is larger than {bytes_max} bytes"))
}

/// What is known of a call beside its body's fields.
struct Facts {
    endpoint: Endpoint,
    caller: Caller,
    client_ip: Option<IpAddr>,
    arrived_at: Timestamp,
    model: String,
}

/// The members of a body's `metadata` that the gateway acts on. The object itself stays in the body.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    tags: Option<serde_json::Value>,
    trace_id: Option<serde_json::Value>,
    session_id: Option<serde_json::Value>,
}

fn call(gateway: &Gateway, facts: Facts, parts: &Parts, body: &[u8], scan: &Scan) -> Call {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let field = |name: &str| scan.str(body, name).map(std::borrow::Cow::into_owned);
    let metadata: Metadata = scan
        .raw(body, "metadata")
        .and_then(|raw| serde_json::from_slice(raw).ok())
        .unwrap_or_default();
    let text = |value: &Option<serde_json::Value>| {
        value.as_ref().and_then(|value| value.as_str()).map(str::to_owned)
    };
    let own = |name: &str| header(name).map(str::to_owned);
    let trace_id = own("x-litellm-trace-id")
        .or_else(|| field("litellm_trace_id"))
        .or_else(|| text(&metadata.trace_id));
    let session_id = own("x-litellm-session-id")
        .or_else(|| own("x-session-id"))
        .or_else(|| field("litellm_session_id"))
        .or_else(|| field("session_id"))
        .or_else(|| text(&metadata.session_id));
    let end_user = own("x-litellm-end-user-id")
        .or_else(|| own("x-litellm-customer-id"))
        .or_else(|| field("user"));
    let redact = gateway.config.turn_off_message_logging
        || header("x-litellm-enable-message-redaction").is_some_and(is_true);
    let logging = if scan.bool(body, "no-log") == Some(true) {
        Logging::Off
    } else if redact {
        Logging::Redacted
    } else {
        Logging::Full
    };
    Call {
        id: CallId::new(facts.arrived_at, random()),
        arrived_at: facts.arrived_at,
        endpoint: facts.endpoint,
        path: parts.uri.path().to_owned(),
        model: facts.model,
        stream: scan.bool(body, "stream") == Some(true),
        caller: facts.caller,
        client_ip: facts.client_ip,
        end_user,
        tags: tags(&metadata, header("x-litellm-tags"), scan.raw(body, "tags")),
        trace_id,
        session_id,
        own_id: None,
        logging,
        omit_request: false,
        omit_response: false,
        headers: headers::kept(&parts.headers),
    }
}

fn tags(metadata: &Metadata, header: Option<&str>, field: Option<&[u8]>) -> Vec<String> {
    let listed = |value: &serde_json::Value| -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
    };
    let mut tags = metadata.tags.as_ref().map(listed).unwrap_or_default();
    let header = header.unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty());
    let field = field.and_then(|raw| serde_json::from_slice(raw).ok());
    let field = field.as_ref().map(listed).unwrap_or_default();
    for tag in header.map(str::to_owned).chain(field) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
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
fn without_credentials(body: &Bytes, scan: &Scan) -> Bytes {
    splice(body, scan, &CREDENTIALS)
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    fastrand::fill(&mut bytes);
    bytes
}

fn invalid(status: u16, message: String) -> Failure {
    failure(FailureKind::InvalidRequest, status, message)
}

/// The failure of a call for which the gateway has no room.
pub(crate) fn overloaded(message: String) -> Failure {
    Failure { retry_after_secs: Some(1), ..failure(FailureKind::Overloaded, 503, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_body_with_credentials_everything_else_is_kept() {
        let body = br#"{"model":"m","api_key":"x","extra_headers":{"a":"x"},"headers":{"a":"x"},
            "aws_access_key_id":"x","aws_secret_access_key":"x","aws_session_token":"x",
            "azure_ad_token":"x","vertex_credentials":{"a":"x"},"user_config":{"a":"x"},
            "authorization":"x","messages":[],"user":"u"}"#;
        let body = Bytes::from_static(body);
        let scan = scan(&body).expect("it is JSON");
        let kept = without_credentials(&body, &scan);
        let kept: serde_json::Value = serde_json::from_slice(&kept).expect("it is JSON");
        assert_eq!(kept, serde_json::json!({"model": "m", "messages": [], "user": "u"}));
    }
}
