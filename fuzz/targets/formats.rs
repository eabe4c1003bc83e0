//! Every renderer: whatever a caller and a provider wrote, a body is JSON, and rendering it again
//! gives the same bytes.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use domain::{
    call::{Call, Endpoint},
    deployment::{DeploymentFacts, Dialect},
    destination::{
        CloudEventsMode, Compat, Destination, Format, GenerationMetadata, Helicone, HeliconeBodies,
        LogFormat, Otlp, OtlpIntegers, OtlpProfile,
    },
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    record::{Entry, Record, Sequence},
    sample,
};
use libfuzzer_sys::fuzz_target;
use provider::{derive::derive, price::Prices};
use webhook::format::{items, join};

const fn metadata(all: bool) -> GenerationMetadata {
    GenerationMetadata { cost: all, identity: all, request_context: all }
}

const FORMATS: [Format; 8] = [
    Format::GenericApi(LogFormat::JsonArray),
    Format::Event,
    Format::Otlp(Otlp {
        profile: OtlpProfile::OpenRouter,
        integers: OtlpIntegers::String,
        generation_metadata: metadata(true),
    }),
    Format::Otlp(Otlp {
        profile: OtlpProfile::GenAi,
        integers: OtlpIntegers::Number,
        generation_metadata: metadata(false),
    }),
    Format::Helicone(Helicone { include_data: true, bodies: HeliconeBodies::Object }),
    Format::Helicone(Helicone { include_data: false, bodies: HeliconeBodies::String }),
    Format::CloudEvents(CloudEventsMode::Batch),
    Format::CloudEvents(CloudEventsMode::Structured),
];

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::ChatCompletions,
    Endpoint::TextCompletions,
    Endpoint::Embeddings,
    Endpoint::Responses,
    Endpoint::Messages,
];

fuzz_target!(|data: &[u8]| {
    let [choice, flags, split @ ..] = data else { return };
    // A zero byte stands between what the caller and what the provider wrote.
    let at = memchr(split);
    let (request, response) = (&split[..at], split.get(at + 1..).unwrap_or_default());
    let entry = entry(*choice, *flags, request, response);
    let compat = if flags & 8 == 0 { Compat::Real } else { Compat::Document };
    for event in derive(&entry, &Prices::new()) {
        for format in FORMATS {
            let privacy = flags & 16 != 0;
            let destination = Destination { format, compat, privacy, ..sample::destination() };
            let written = items(&event, &destination);
            assert_eq!(written, items(&event, &destination), "{format:?} differs from itself");
            for item in &written {
                let body = join(&destination, std::slice::from_ref(item)).to_bytes();
                let json = serde_json::from_slice::<&serde_json::value::RawValue>(&body);
                json.unwrap_or_else(|error| {
                    panic!("{format:?}: {error}: {}", String::from_utf8_lossy(&body))
                });
            }
        }
    }
});

fn memchr(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())
}

fn entry(choice: u8, flags: u8, request: &[u8], response: &[u8]) -> Entry {
    let endpoint = ENDPOINTS[usize::from(choice) % ENDPOINTS.len()];
    let dialect =
        [Dialect::OpenAi, Dialect::Anthropic, Dialect::Mock][usize::from(choice >> 4) % 3];
    let stream = flags & 1 != 0;
    let deployment = DeploymentFacts { dialect, ..sample::deployment() };
    let failure = (flags & 2 != 0).then(|| {
        let text = String::from_utf8_lossy(response).into_owned();
        Failure::new(FailureKind::RateLimit, 429, text)
    });
    let call = Call {
        endpoint,
        stream,
        model: String::from_utf8_lossy(request).chars().take(40).collect(),
        omit_request: flags & 4 != 0,
        ..sample::call()
    };
    let attempt = ProviderAttempt {
        deployment: Arc::new(deployment),
        failure: failure.clone(),
        ..sample::attempt()
    };
    let facts = Facts {
        attempts: vec![attempt],
        outcome: failure.map_or(Outcome::Completed, Outcome::Failed),
        response_is_stream: stream,
        ..sample::facts(call)
    };
    let payload = |bytes| Payload::whole(Bytes::copy_from_slice(bytes));
    let exchange = Exchange { facts, request: payload(request), response: payload(response) };
    Entry { sequence: Sequence(1), record: Record::Sealed(Arc::new(exchange)) }
}
