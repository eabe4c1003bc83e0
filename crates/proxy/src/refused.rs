//! Calls that are not let in: what is recorded of them, and what their callers are told.
//!
//! A refused call has its outcome like any other, as long as `refusals` leaves room for it: nobody
//! can fill the journal with calls that are refused. Why a call is refused is decided elsewhere.
//!
//! Invariant: its admission and its outcome are appended together, so none is without the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    call::{Call, Caller, Endpoint, Logging},
    exchange::Outcome,
    failure::Failure,
    record::Record,
    time::Timestamp,
};
use http::{HeaderValue, header};
use hyper::body::Incoming;
use store::journal::{Commit, Health};

use crate::{
    admit::{Asked, read_body},
    arrival::{Arrival, call},
    gateway::Gateway,
    limit::Held,
    quota::Quota,
    reply::{Reply, error_reply, name_call, set_limits},
    seal::{OpenCall, Places},
};

/// How much is read of the body of a call whose key is refused, and for how long.
const STRANGER_BODY_BYTES_MAX: usize = 64 << 10;
const STRANGER_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A call that was not let in.
pub(crate) struct NotAdmitted {
    failure: Failure,
    recorded: Option<Recorded>,
    /// The limits of its key, and when they were asked.
    limits: Option<(Arc<Quota>, Timestamp)>,
}

/// A refused call on its way into the journal.
struct Recorded {
    gateway: Arc<Gateway>,
    call: Arc<Call>,
    admitted: Commit,
    sealed: Commit,
}

/// Nothing is recorded of it.
impl From<Failure> for NotAdmitted {
    fn from(failure: Failure) -> Self {
        Self { failure, recorded: None, limits: None }
    }
}

/// Records a call that may not be made, if there is room for it.
pub(crate) fn refuse(
    gateway: &Arc<Gateway>,
    call: Arc<Call>,
    body: Bytes,
    held: Held,
    failure: Failure,
) -> NotAdmitted {
    let key = gateway.key_of(&call.caller);
    let quota = key.and_then(|key| key.quota.clone());
    let limits = quota.map(|quota| (quota, call.arrived_at));
    let may_report = gateway.refusals.may_report(&call.caller, call.arrived_at);
    let recorded = may_report.then(|| record(gateway, call, body, held, failure.clone()));
    NotAdmitted { failure, recorded, limits }
}

fn record(
    gateway: &Arc<Gateway>,
    call: Arc<Call>,
    body: Bytes,
    held: Held,
    failure: Failure,
) -> Recorded {
    let gateway = Arc::clone(gateway);
    let admitted = gateway.journal.append_soon(Record::Admitted(Arc::clone(&call)));
    let (of, places) = (Arc::clone(&gateway), Places::default());
    let sealed =
        OpenCall::new(of, Arc::clone(&call), body, held, places).seal(Outcome::Failed(failure));
    Recorded { gateway, call, admitted, sealed }
}

/// Records a call whose key was refused, if there is room for it. Its body is read for no other
/// purpose. Who sent it is left out: LiteLLM's receivers know such calls without (its 1.109.1).
pub(crate) async fn refuse_stranger(
    gateway: &Arc<Gateway>,
    mut arrival: Arrival,
    body: Incoming,
    failure: Failure,
) -> NotAdmitted {
    arrival.caller = Caller::Refused;
    arrival.client_ip = None;
    arrival.parts.headers.remove(header::USER_AGENT);
    let is_ready = matches!(gateway.journal.health(), Health::Ready);
    if !gateway.refusals.may_report(&arrival.caller, arrival.arrived_at) {
        return failure.into();
    }
    let held = if is_ready { gateway.in_flight.enter() } else { None };
    let Some(mut held) = held else {
        gateway.refusals.unreported();
        return failure.into();
    };
    let read = read_body(&arrival.parts.headers, body, STRANGER_BODY_BYTES_MAX, &mut held);
    let body = tokio::time::timeout(STRANGER_BODY_TIMEOUT, read).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    let Asked { body, scan, kept, model, .. } = Asked::read(&arrival, body);
    let mut call = call(gateway, &arrival, model, &body, &scan);
    if call.logging == Logging::Off {
        // It is not a stranger's to say that nobody is told of it.
        call.logging = Logging::Redacted;
    }
    let recorded = record(gateway, Arc::new(call), kept, held, failure.clone());
    NotAdmitted { failure, recorded: Some(recorded), limits: None }
}

impl NotAdmitted {
    /// The answer, once what is to be recorded is.
    pub(crate) async fn reply(self, endpoint: Endpoint) -> Reply {
        let Self { failure, recorded, limits } = self;
        let mut reply = error_reply(endpoint, &failure);
        if failure.status == 401 {
            let bearer = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some((quota, now)) = &limits {
            set_limits(&mut reply, quota, *now);
        }
        if let Some(recorded) = recorded {
            recorded.name(&mut reply).await;
        }
        reply
    }
}

impl Recorded {
    /// Waits for the commit, and names the call in its answer. The refusal stands in any case.
    async fn name(self, reply: &mut Reply) {
        let Self { gateway, call, admitted, sealed } = self;
        let (admitted, sealed) = (admitted.await, sealed.await);
        match admitted.and(sealed) {
            Ok(_) => name_call(reply, &call),
            Err(error) => {
                tracing::debug!(%error, "A refused call could not be recorded.");
                gateway.refusals.unreported();
            }
        }
    }
}
