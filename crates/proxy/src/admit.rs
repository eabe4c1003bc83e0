//! Request to admission: reads the body within its bounds, asks whether the caller may make this
//! call now, and writes the admission.
//!
//! What a call is, `arrival` reads; what becomes of one that is not let in, `refused` decides.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    call::Call,
    failure::{Failure, FailureKind},
    record::Record,
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use provider::{
    request::missing_field,
    scan::{Scan, scan},
};
use store::journal::{Commit, Health};

use crate::{
    arrival::{Arrival, bounded, call, without_credentials},
    forward::brings_answer,
    gateway::{Gateway, KnownKey},
    limit::Held,
    refused::{NotAdmitted, refuse},
    route::Route,
    seal::{OpenCall, Places},
    upstream::failure,
    wishes::Wishes,
};

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
    pub(crate) route: Route,
}

/// Reads the request and admits the call, or says why not.
pub(crate) async fn admit(
    gateway: &Arc<Gateway>,
    arrival: Arrival,
    body: Incoming,
) -> Result<Admitted, NotAdmitted> {
    if let Health::Refusing(reason) = gateway.journal.health() {
        let message = format!("no call can be recorded at the moment: {reason}");
        return Err(overloaded(message).into());
    }
    let (body, held) = read_call(gateway, &arrival.parts.headers, body).await?;
    let Asked { body, scan, kept, model, problem } = Asked::read(&arrival, body);
    let call = Arc::new(call(gateway, &arrival, model, &body, &scan));
    let entered = match problem {
        Some(problem) => Err(problem),
        None => enter(gateway, &arrival.parts.headers, &call, &body, &scan),
    };
    let (route, places) = match entered {
        Ok(entered) => entered,
        Err(failure) => return Err(refuse(gateway, call, kept, held, failure)),
    };
    let commit = gateway.journal.append_soon(Record::Admitted(Arc::clone(&call)));
    let open = OpenCall::new(Arc::clone(gateway), call, kept, held, places);
    let request = Request { headers: arrival.parts.headers, body, scan, route };
    Ok(Admitted { open, request, commit })
}

/// Takes a call's place among those that run, and reads its body.
pub(crate) async fn read_call(
    gateway: &Gateway,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<(Bytes, Held), Failure> {
    let mut held = gateway
        .in_flight
        .enter()
        .ok_or_else(|| overloaded("too many calls are running; try again shortly".into()))?;
    let limits = &gateway.config.limits;
    let read = read_body(headers, body, limits.request_body_bytes_max, &mut held);
    let body = tokio::time::timeout(limits.body_read_timeout, read)
        .await
        .map_err(|_| invalid(408, "the request body did not arrive in time".into()))??;
    Ok((body, held))
}

/// What a body asks for.
pub(crate) struct Asked {
    pub(crate) body: Bytes,
    pub(crate) scan: Scan,
    /// The body as the journal keeps it; empty if it cannot be read.
    pub(crate) kept: Bytes,
    /// Empty if none was named.
    pub(crate) model: String,
    /// Why it cannot be served, whoever asks.
    pub(crate) problem: Option<Failure>,
}

impl Asked {
    pub(crate) fn read(arrival: &Arrival, body: Bytes) -> Self {
        let in_path = arrival.model.as_deref();
        let scan = match scan(&body) {
            Ok(scan) => scan,
            Err(error) => {
                let model = in_path.map(bounded).unwrap_or_default();
                let message = format!("the request body is not usable JSON: {error}");
                return Self::unreadable(model, invalid(400, message));
            }
        };
        let named = scan.str(&body, "model");
        let model = in_path.or(named.as_deref()).map(bounded).unwrap_or_default();
        let problem = if !model.is_empty() {
            missing_field(arrival.endpoint, &body, &scan).map(missing)
        } else if scan.raw(&body, "model").is_none() {
            Some(invalid(400, "the request names no model: set `model`".to_owned()))
        } else {
            Some(invalid(400, "`model` must be a string that is not empty".to_owned()))
        };
        let kept = without_credentials(&body, &scan);
        Self { body, scan, kept, model, problem }
    }

    /// Nothing of such a body is kept: it may hold a credential, and nobody can say where.
    fn unreadable(model: String, problem: Failure) -> Self {
        let body = Bytes::from_static(b"{}");
        let scan = scan(&body).expect("an empty object is JSON");
        Self { body, scan, kept: Bytes::new(), model, problem: Some(problem) }
    }
}

/// Asks whether the caller may make this call now, and takes its places if so.
pub(crate) fn enter(
    gateway: &Gateway,
    headers: &HeaderMap,
    call: &Call,
    body: &Bytes,
    scan: &Scan,
) -> Result<(Route, Places), Failure> {
    let wishes = Wishes::read(headers, body, scan, &call.model)?;
    let key = gateway.key_of(&call.caller);
    if let Some(key) = key {
        let mut asked = std::iter::once(call.model.as_str()).chain(wishes.models());
        if let Some(model) = asked.find(|model| !gateway.may_use(key, model)) {
            return Err(denied(key, model));
        }
    }
    let is_mocked = brings_answer(&gateway.config, body, scan);
    let route = Route::find(gateway, call, is_mocked, wishes)?;
    if let Some(spent) = gateway.budgets.refusal(call) {
        return Err(spent);
    }
    let now = call.arrived_at;
    let all = gateway.quota.as_ref().map(|quota| quota.enter(now)).transpose();
    let all = all.map_err(|exhausted| exhausted.failure("all callers together"))?;
    let own = key.and_then(|key| Some(key.quota.as_ref()?.enter(now))).transpose();
    let own = own.map_err(|exhausted| {
        let name = key.map_or("", |key| key.name.as_str());
        exhausted.failure(&format!("key `{name}`"))
    })?;
    Ok((route, Places::new(all, own)))
}

fn denied(key: &KnownKey, model: &str) -> Failure {
    let KnownKey { name, models, .. } = key;
    let models = models.join(", ");
    let message = format!("key `{name}` may not use model `{model}`; it may use: {models}");
    failure(FailureKind::ModelDenied, 403, message)
}

/// What is set aside for a body before any of it came.
const BODY_ROOM_MAX: usize = 1 << 20;

/// Reads the body into memory of its own. The connection's buffer, of which its frames are slices,
/// is larger, and would live as long as the journal keeps the request in memory.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Incoming,
    bytes_max: usize,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or_default();
    if announced > bytes_max {
        return Err(too_large(bytes_max));
    }
    hold(held, announced)?;
    read_frames(body, announced, bytes_max, held).await
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

/// In the words of `OpenAI`, which name the field in `param` too.
fn missing(field: &str) -> Failure {
    let message = format!("Missing required parameter: '{field}'.");
    Failure { param: Some(field.to_owned()), ..invalid(400, message) }
}

fn invalid(status: u16, message: String) -> Failure {
    failure(FailureKind::InvalidRequest, status, message)
}

/// The failure of a call for which the gateway has no room.
pub(crate) fn overloaded(message: String) -> Failure {
    Failure { retry_after_secs: Some(1), ..failure(FailureKind::Overloaded, 503, message) }
}
