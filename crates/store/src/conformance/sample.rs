//! Records and deliveries to store.

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    budget::{BudgetReached, BudgetScope},
    call::{Call, Caller, Logging},
    carried::Carried,
    delivery::{Attempt, DeadLetter, EventRef, Parked, Timings},
    deployment::{DeploymentFacts, Dialect},
    event::{Captured, Delta, EventType},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    id::{CallId, DeliveryId, DestinationName, EventId},
    note::{News, Note},
    record::{Record, Sequence},
    time::Timestamp,
};

/// A quarter past eight on 2026-11-21, UTC.
pub const MORNING: Timestamp = Timestamp::from_millis(1_795_248_900_000);

/// A call, told apart by its number.
pub fn call(number: u16) -> Call {
    let mut random = [7; 10];
    random[8..].copy_from_slice(&number.to_be_bytes());
    Call {
        id: CallId::new(MORNING, random),
        arrived_at: MORNING,
        model: format!("model \"{number}\" — ü"),
        stream: number.is_multiple_of(2),
        caller: Caller::Key { name: "team".to_owned(), hash: "ab12".to_owned() },
        client_ip: Some([127, 0, 0, 1].into()),
        end_user: Some("someone".to_owned()),
        tags: vec!["a".to_owned()],
        session_id: Some("s".to_owned()),
        logging: Logging::Redacted,
        headers: vec![("user-agent".to_owned(), "test".to_owned())],
        ..domain::sample::call()
    }
}

/// Its admission.
pub fn admitted(number: u16) -> Record {
    Record::Admitted(Arc::new(call(number)))
}

/// A piece of its stream.
pub fn captured(number: u16, token_index: u32) -> Record {
    let delta = Delta {
        choice_index: 0,
        token_index,
        content: format!("token {token_index}\n"),
        finish_reason: None,
    };
    Record::Captured(Arc::new(Captured {
        call: Arc::new(call(number)),
        at: MORNING,
        deltas: vec![delta],
    }))
}

/// Its outcome, with bodies of `bytes` bytes each that are no text.
pub fn sealed(number: u16, bytes: usize) -> Record {
    let body: Bytes = (0..bytes).map(|at| (at * 31 + usize::from(number)) as u8).collect();
    Record::Sealed(Arc::new(Exchange {
        facts: Facts {
            call: Arc::new(call(number)),
            attempts: vec![attempt_on_provider()],
            outcome: Outcome::Completed,
            first_byte_at: Some(MORNING),
            finished_at: MORNING,
            response_is_stream: false,
            retries: 1,
            fallbacks: 0,
        },
        request: Payload::whole(body.clone()),
        response: Payload { bytes: body, truncated: bytes > 0 },
    }))
}

fn attempt_on_provider() -> ProviderAttempt {
    ProviderAttempt {
        deployment: Arc::new(DeploymentFacts {
            id: "d".to_owned(),
            model_name: "gpt".to_owned(),
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            api_base: String::new(),
            dialect: Dialect::OpenAi,
            prices: None,
        }),
        started_at: MORNING,
        finished_at: MORNING,
        status: Some(429),
        headers: vec![("retry-after".to_owned(), "1".to_owned())],
        failure: Some(Failure {
            retry_after_secs: Some(1),
            ..Failure::new(FailureKind::RateLimit, 429, "slow down".to_owned())
        }),
    }
}

/// News of no call, told apart by its number.
pub fn noted(number: u16) -> Record {
    Record::Noted(Arc::new(note(number)))
}

/// A note, told apart by its number.
pub fn note(number: u16) -> Note {
    Note {
        id: EventId::from_stored(&format!("evt_budget_{number}_80")),
        at: MORNING,
        news: News::BudgetReached(BudgetReached {
            scope: BudgetScope::Tag,
            matched: format!("tag \"{number}\" — ü"),
            org_id: "default".to_owned(),
            threshold: 80.0,
            spent: 0.8 + f64::from(number),
            max_budget: 1.0,
            limit_type: "daily".to_owned(),
            period_started_at: MORNING,
            resets_at: None,
        }),
    }
}

/// A lane's name.
pub fn lane(name: &str) -> DestinationName {
    DestinationName::new(name)
}

/// The events of a delivery.
pub fn events(number: u16) -> Vec<EventRef> {
    let event = EventId::of_outcome(call(number).id, EventType::Completion);
    vec![EventRef { sequence: Sequence(u64::from(number)), event }]
}

/// The id of a delivery.
pub fn delivery(number: u16) -> DeliveryId {
    DeliveryId::new(&format!("bat_{number}"))
}

/// A delivery that waits.
pub fn parked(number: u16, attempts: u32, due_at: Timestamp) -> Parked {
    let reason = format!("status 503, attempt {attempts}");
    Parked { id: delivery(number), events: events(number), attempts, due_at, reason }
}

/// A delivery that was given up.
pub fn dead_letter(destination: &str, number: u16) -> DeadLetter {
    DeadLetter {
        destination: lane(destination),
        id: delivery(number),
        events: events(number),
        attempts: 5,
        buried_at: MORNING,
        reason: "status 400".to_owned(),
    }
}

/// A try to send a delivery.
pub fn attempt(number: u16) -> Attempt {
    Attempt {
        delivery: delivery(number),
        number: 1,
        started_at: MORNING,
        duration_ms: 12,
        timings: Timings::default(),
        address: None,
        status: None,
        answer_start: String::new(),
        result: "refused".to_owned(),
        event_count: 1,
        carried: Carried::of(&events(number)),
    }
}
