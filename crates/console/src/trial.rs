//! Test deliveries: what each format sends to show that a destination can be reached.
//!
//! A test's event is derived from an exchange that never was, so it has all that a real one has. Its
//! id begins `evt_test_`, its model is [`MODEL`], and it carries `X-Test-Connection: true`; nothing of
//! it is journaled, retried or counted.

use std::{sync::Arc, time::Duration};

use delivery::control::Tested;
use domain::{
    budget::{BudgetReached, BudgetScope},
    call::{Call, Caller, Endpoint, Logging},
    deployment::{DeploymentFacts, Dialect},
    destination::{Destination, Format},
    event::{Detail, Event, EventType},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    id::{CallId, DeliveryId, EventId},
    note::{News, Note},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use provider::derive::derive;
use serde_json::json;
use webhook::{body::Body, format};

use crate::{
    secrets::{NoRandomness, new_uuid, random},
    service::Console,
};

/// The model of test events.
pub(crate) const MODEL: &str = "hookgate-test";
/// The header that marks a test, as `OpenRouter` has it.
const MARK: (&str, &str) = ("X-Test-Connection", "true");
/// How long a test may take, if its destination allows more.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How long the call of a test event took.
const LATENCY: Duration = Duration::from_millis(930);

/// One body to try a destination with.
pub(crate) struct Trial {
    pub(crate) id: DeliveryId,
    pub(crate) content_type: &'static str,
    pub(crate) body: Body,
}

/// What came of a trial.
pub(crate) struct Tried {
    /// Whether the receiver took it.
    pub(crate) passed: bool,
    pub(crate) tested: Tested,
}

/// Tries a destination with what its format has for that.
pub(crate) async fn send(
    console: &Console,
    destination: &Destination,
) -> Result<Tried, NoRandomness> {
    let trial = make(console, destination)?;
    let may_be_400 = matches!(destination.format, Format::Otlp(_));
    Ok(send_this(console, destination, trial, may_be_400).await)
}

/// Tries a destination with this. It passes with any 2xx; an empty OTLP payload with 400, too, which
/// some receivers answer to it.
pub(crate) async fn send_this(
    console: &Console,
    destination: &Destination,
    trial: Trial,
    may_be_400: bool,
) -> Tried {
    let destination =
        Destination { timeout: destination.timeout.min(TIMEOUT_MAX), ..destination.clone() };
    let Trial { id, content_type, body } = trial;
    let mark = [(MARK.0.to_owned(), MARK.1.to_owned())];
    let tested = console.control.send_once(&destination, &id, content_type, body, &mark).await;
    let is_taken = |status: u16| (200..300).contains(&status) || (may_be_400 && status == 400);
    Tried { passed: tested.status.is_some_and(is_taken), tested }
}

/// What a destination's format has to try it with.
fn make(console: &Console, destination: &Destination) -> Result<Trial, NoRandomness> {
    let id = format!("evt_test_{}", new_uuid()?.simple());
    let content_type = format::content_type(destination.format);
    let body = match destination.format {
        Format::Otlp(_) => format::otlp::test_payload(format::otlp::Test::Empty).into(),
        Format::Helicone(_) => format::helicone::test_payload(&new_uuid()?.to_string()).into(),
        _ => render(console, destination, &id)?,
    };
    Ok(Trial { id: DeliveryId::new(&id), content_type, body })
}

fn render(console: &Console, destination: &Destination, id: &str) -> Result<Body, NoRandomness> {
    let now = console.clock.now();
    let formed = destination.format.event_types();
    let wanted = |kind: EventType| formed.contains(&kind) && destination.wants(kind);
    let kind = [EventType::Completion, EventType::Error, EventType::Budget]
        .into_iter()
        .find(|kind| wanted(*kind))
        .unwrap_or(formed[0]);
    let id = EventId::from_stored(id);
    let event = match kind {
        EventType::Budget => budget_event(id, now),
        kind => call_event(console, id, kind == EventType::Error, now)?,
    };
    // Filters are for real events.
    let everything = Destination {
        event_types: EventType::ALL.to_vec(),
        filters: Vec::new(),
        rules: None,
        sample_rate: 1.0,
        ..destination.clone()
    };
    let mut items = format::items(&event, &everything);
    items.truncate(1);
    Ok(format::join(destination, &items))
}

fn budget_event(id: EventId, now: Timestamp) -> Event {
    let reached = BudgetReached {
        scope: BudgetScope::Gateway,
        matched: String::new(),
        org_id: MODEL.to_owned(),
        threshold: 80.0,
        spent: 80.0,
        max_budget: 100.0,
        limit_type: "monthly".to_owned(),
        period_started_at: now.minus(Duration::from_hours(24)),
        resets_at: Some(now.plus(Duration::from_hours(24))),
    };
    let note = Note { id: id.clone(), at: now, news: News::BudgetReached(reached) };
    Event { id, sequence: Sequence(0), occurred_at: now, detail: Detail::Noted(Arc::new(note)) }
}

fn call_event(
    console: &Console,
    id: EventId,
    fails: bool,
    now: Timestamp,
) -> Result<Event, NoRandomness> {
    let record = Record::Sealed(Arc::new(exchange(fails, now)?));
    let events = derive(&Entry { sequence: Sequence(0), record }, &console.prices);
    let event = events.into_iter().next().expect("an exchange that is told of makes an event");
    Ok(Event { id, ..event })
}

fn exchange(fails: bool, now: Timestamp) -> Result<Exchange, NoRandomness> {
    let arrived_at = now.minus(LATENCY);
    let failure = fails.then(|| {
        let message = "this is a test of an error event".to_owned();
        Failure::new(FailureKind::ProviderError, 502, message)
    });
    let attempt = ProviderAttempt {
        deployment: Arc::new(deployment()),
        started_at: arrived_at,
        finished_at: now,
        status: Some(if fails { 502 } else { 200 }),
        headers: Vec::new(),
        failure: failure.clone(),
    };
    let request = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": "Is anybody there?"}],
    });
    let response = json!({
        "id": "chatcmpl-test",
        "object": "chat.completion",
        "created": now.as_secs(),
        "model": MODEL,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": "This is a test delivery."},
            "finish_reason": "stop",
        }],
        "usage": {"prompt_tokens": 13, "completion_tokens": 17, "total_tokens": 30},
    });
    let payload = |value: &serde_json::Value| Payload::whole(value.to_string().into());
    Ok(Exchange {
        facts: Facts {
            call: Arc::new(call(arrived_at)?),
            attempts: vec![attempt],
            outcome: failure.map_or(Outcome::Completed, Outcome::Failed),
            first_byte_at: (!fails).then_some(now),
            finished_at: now,
            response_is_stream: false,
            retries: 0,
            fallbacks: 0,
        },
        request: payload(&request),
        response: if fails { Payload::default() } else { payload(&response) },
    })
}

fn call(arrived_at: Timestamp) -> Result<Call, NoRandomness> {
    Ok(Call {
        id: CallId::new(arrived_at, random()?),
        arrived_at,
        endpoint: Endpoint::ChatCompletions,
        path: "/v1/chat/completions".to_owned(),
        model: MODEL.to_owned(),
        stream: false,
        caller: Caller::Master,
        client_ip: None,
        end_user: None,
        tags: Vec::new(),
        trace_id: None,
        session_id: None,
        own_id: None,
        logging: Logging::Full,
        omit_request: false,
        omit_response: false,
        headers: Vec::new(),
    })
}

fn deployment() -> DeploymentFacts {
    DeploymentFacts {
        id: MODEL.to_owned(),
        model_name: MODEL.to_owned(),
        provider: "openai".to_owned(),
        model: MODEL.to_owned(),
        api_base: String::new(),
        dialect: Dialect::OpenAi,
        prices: None,
    }
}
