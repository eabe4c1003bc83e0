//! Plain values for the tests of other crates: a test names only what it is about.

use std::{sync::Arc, time::Duration};

use crate::{
    call::{Call, Caller, Endpoint, Logging},
    deployment::{DeploymentFacts, Dialect},
    destination::{Batch, Compat, Compression, Destination, Format, Method, RetryPolicy},
    event::{EventType, Report},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    id::{CallId, DestinationName},
    time::Timestamp,
};

/// 2023-11-14, 22:13:20 UTC.
pub const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A chat call of nobody for the model `smart`, at [`NOW`].
pub fn call() -> Call {
    Call {
        id: CallId::new(NOW, [7; 10]),
        arrived_at: NOW,
        endpoint: Endpoint::ChatCompletions,
        path: "/v1/chat/completions".to_owned(),
        model: "smart".to_owned(),
        stream: false,
        caller: Caller::Anonymous,
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
    }
}

/// `openai/gpt-4o` under the public name `smart`.
pub fn deployment() -> DeploymentFacts {
    DeploymentFacts {
        id: "d".to_owned(),
        model_name: "smart".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-4o".to_owned(),
        api_base: String::new(),
        dialect: Dialect::OpenAi,
        prices: None,
    }
}

/// An attempt at [`deployment`] that took no time and succeeded.
pub fn attempt() -> ProviderAttempt {
    ProviderAttempt {
        deployment: Arc::new(deployment()),
        started_at: NOW,
        finished_at: NOW,
        status: Some(200),
        headers: Vec::new(),
        failure: None,
    }
}

/// The facts of a call that completed at the first attempt.
pub fn facts(call: Call) -> Facts {
    Facts {
        call: Arc::new(call),
        attempts: vec![attempt()],
        outcome: Outcome::Completed,
        first_byte_at: None,
        finished_at: NOW,
        response_is_stream: false,
        retries: 0,
        fallbacks: 0,
    }
}

/// A report that knows nothing but facts.
pub fn report(facts: Facts) -> Report {
    let exchange = Exchange { facts, request: Payload::default(), response: Payload::default() };
    Report {
        exchange: Arc::new(exchange),
        response: None,
        response_id: None,
        text: None,
        reasoning: None,
        tool_calls: None,
        finish_reason: None,
        usage: None,
        usage_json: None,
        cost: None,
        prices: Vec::new(),
    }
}

/// A destination in seed 002's format that wants everything, tries once, and sends each event alone.
pub fn destination() -> Destination {
    Destination {
        name: DestinationName::new("primary"),
        url: "https://receiver.example/".to_owned(),
        method: Method::Post,
        headers: Vec::new(),
        format: Format::Event,
        compat: Compat::Real,
        event_types: EventType::ALL.to_vec(),
        filters: Vec::new(),
        rules: None,
        sample_rate: 1.0,
        batch: Batch { events_max: 1, bytes_max: 1 << 20, flush_interval: Duration::ZERO },
        retry: RetryPolicy {
            max_attempts: 1,
            initial_delay: Duration::ZERO,
            multiplier: 1.0,
            max_delay: Duration::ZERO,
            retry_after_max: Duration::ZERO,
            retryable_status_codes: Vec::new(),
        },
        timeout: Duration::from_secs(30),
        concurrent_deliveries: 1,
        queue_size: 1,
        rate_limit: None,
        privacy: false,
        compression: Compression::None,
        signing: None,
        allow_private: false,
        tls: None,
        strict_order: false,
        backup: None,
    }
}
