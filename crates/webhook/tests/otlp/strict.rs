//! OTLP's own types as the judge of what is rendered.

use std::{collections::BTreeSet, fmt::Write as _};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value,
};
use serde_json::Value;

/// A span as a receiver has it.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) id: String,
    pub(crate) parent_id: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) status: i32,
    pub(crate) message: String,
    /// From start to end, in milliseconds since the epoch.
    pub(crate) millis: [u64; 2],
    pub(crate) events: usize,
    /// In the order of the wire.
    pub(crate) attributes: Vec<(String, Value)>,
}

impl Span {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// An attribute that is JSON in a text.
    pub(crate) fn json(&self, key: &str) -> Value {
        let text = self.text(key).unwrap_or_else(|| panic!("no text `{key}` in {self:#?}"));
        serde_json::from_str(text).unwrap_or_else(|error| panic!("`{key}`: {error}: {text}"))
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.attributes.iter().map(|(key, _)| key.as_str()).collect()
    }
}

/// Reads a body by the protocol's types, checks what they do not, and returns its spans.
pub(crate) fn check(body: &[u8]) -> Vec<Span> {
    let shown = || String::from_utf8_lossy(body);
    let request: ExportTraceServiceRequest =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error} in {}", shown()));
    let mut spans = Vec::new();
    for resource in &request.resource_spans {
        let scopes = &resource.scope_spans;
        assert!(scopes.len() == 1 && scopes[0].spans.len() == 1, "one span each: {}", shown());
        let span = &scopes[0].spans[0];
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8), "{}", shown());
        assert!([0, 8].contains(&span.parent_span_id.len()), "{}", shown());
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", shown());
        assert_eq!(span.start_time_unix_nano % 1_000_000, 0, "{}", shown());
        let attributes: Vec<(String, Value)> = span
            .attributes
            .iter()
            .map(|attribute| {
                let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
                (attribute.key.clone(), plain(value.expect("every attribute has a value")))
            })
            .collect();
        let keys: BTreeSet<_> = attributes.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), attributes.len(), "no key comes twice: {}", shown());
        let status = span.status.clone().expect("every span says how it ended");
        spans.push(Span {
            trace_id: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind,
            status: status.code,
            message: status.message,
            millis: [span.start_time_unix_nano, span.end_time_unix_nano].map(|n| n / 1_000_000),
            events: span.events.len(),
            attributes,
        });
    }
    written_back(body, &request);
    spans
}

/// What the protocol's types write has the ids and times that were read.
fn written_back(body: &[u8], request: &ExportTraceServiceRequest) {
    let read: Value = serde_json::from_slice(body).expect("it was read before");
    let written = serde_json::to_value(request).expect("the types can be written");
    let count = request.resource_spans.len();
    for index in 0..count {
        let path = format!("/resourceSpans/{index}/scopeSpans/0/spans/0");
        let (read, written) = (read.pointer(&path), written.pointer(&path));
        let (read, written) = (read.expect("there is one"), written.expect("there is one"));
        for name in ["traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "name", "kind"] {
            let lower = |value: &Value| value.to_string().to_ascii_lowercase();
            assert_eq!(lower(&read[name]), lower(&written[name]), "{name}");
        }
    }
}

fn plain(value: &any_value::Value) -> Value {
    match value {
        any_value::Value::StringValue(text) => text.as_str().into(),
        any_value::Value::BoolValue(flag) => (*flag).into(),
        any_value::Value::IntValue(integer) => (*integer).into(),
        any_value::Value::DoubleValue(number) => (*number).into(),
        any_value::Value::ArrayValue(list) => {
            let values = list.values.iter().filter_map(|value| value.value.as_ref());
            values.map(plain).collect()
        }
        other => panic!("no such value is sent: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}
