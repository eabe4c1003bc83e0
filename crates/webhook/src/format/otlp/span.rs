//! The envelope: spans and their attributes in the order of `OpenRouter`'s deliveries.

use domain::{destination::OtlpIntegers, time::Timestamp};

use crate::{
    format::json::{Json, Raw, Value},
    javascript,
};

/// `SPAN_KIND_INTERNAL`.
pub(super) const INTERNAL: u64 = 1;

/// `SPAN_KIND_SERVER`, which `OpenRouter` gives what is below the root.
pub(super) const SERVER: u64 = 2;

/// `SPAN_KIND_CLIENT`.
pub(super) const CLIENT: u64 = 3;

/// How a span ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'a> {
    Ok,
    /// With what went wrong. `is_told` writes it as an exception, too.
    Failed {
        message: &'a str,
        is_told: bool,
    },
}

/// A span but for its attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) trace_id: &'a str,
    pub(super) id: &'a str,
    pub(super) parent_id: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) kind: u64,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) state: State<'a>,
}

/// Elements of `resourceSpans` while they are written: each has the resource and one span.
pub(super) struct Spans {
    json: Json,
    integers: OtlpIntegers,
    /// The list of its attributes.
    resource: String,
    scope: &'static str,
}

impl Spans {
    /// The resource's attributes are what `resource` writes; `scope` is who measured.
    pub(super) fn new(
        integers: OtlpIntegers,
        scope: &'static str,
        resource: impl FnOnce(&mut Attributes<'_>),
    ) -> Self {
        let mut json = Json::with_capacity(256);
        write_attributes(&mut json, integers, resource);
        let resource = String::from_utf8(json.into_bytes()).expect("JSON is UTF-8");
        Self { json: Json::with_capacity(8 << 10), integers, resource, scope }
    }

    /// Adds a span with the attributes that `attributes` writes.
    pub(super) fn push(&mut self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let json = &mut self.json;
        json.comma();
        json.open();
        json.name("resource");
        json.open();
        json.field("attributes", Raw(&self.resource));
        json.close();
        json.name("scopeSpans");
        json.open_list();
        json.open();
        json.name("scope");
        json.open();
        json.field("name", self.scope);
        json.close();
        json.name("spans");
        json.open_list();
        json.open();
        json.field("traceId", span.trace_id);
        json.field("spanId", span.id);
        if let Some(parent) = span.parent_id {
            json.field("parentSpanId", parent);
        }
        json.field("name", span.name);
        json.field("kind", span.kind);
        // A clock that was set back must not make a span end before it began.
        let ended_at = span.ended_at.max(span.started_at);
        json.field("startTimeUnixNano", nanos(span.started_at).as_str());
        json.field("endTimeUnixNano", nanos(ended_at).as_str());
        json.name("status");
        json.open();
        match span.state {
            State::Ok => json.field("code", 1),
            State::Failed { message, .. } => {
                json.field("code", 2);
                json.field("message", message);
            }
        }
        json.close();
        json.name("attributes");
        write_attributes(json, self.integers, attributes);
        if let State::Failed { message, is_told: true } = span.state {
            json.name("events");
            json.open_list();
            json.open();
            json.field("timeUnixNano", nanos(ended_at).as_str());
            json.field("name", "exception");
            json.name("attributes");
            write_attributes(json, self.integers, |exception| {
                exception.text("exception.type", "Error");
                exception.text("exception.message", message);
            });
            json.close();
            json.close_list();
        }
        json.close();
        json.close_list();
        json.close();
        json.close_list();
        json.close();
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.json.into_bytes()
    }
}

/// Nanoseconds since the epoch as text, in whole milliseconds as `OpenRouter` has them.
fn nanos(at: Timestamp) -> String {
    (at.as_millis().max(0) * 1_000_000).to_string()
}

fn write_attributes(
    json: &mut Json,
    integers: OtlpIntegers,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    json.open_list();
    attributes(&mut Attributes { json, integers });
    json.close_list();
}

/// A list of attributes while it is written. The writer sees to it that no key comes twice.
pub(super) struct Attributes<'a> {
    json: &'a mut Json,
    integers: OtlpIntegers,
}

impl Attributes<'_> {
    fn put(&mut self, key: &str, kind: &'static str, value: impl Value) {
        self.json.comma();
        self.json.open();
        self.json.field("key", key);
        self.json.name("value");
        self.json.open();
        self.json.field(kind, value);
        self.json.close();
        self.json.close();
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.put(key, "stringValue", value);
    }

    /// A text, if there is one.
    pub(super) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A text that is a JSON string already.
    pub(super) fn quoted(&mut self, key: &str, value: &str) {
        self.put(key, "stringValue", Raw(value));
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.put(key, "boolValue", value);
    }

    /// A whole number, if there is one.
    pub(super) fn count(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.integer(key, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn integer(&mut self, key: &str, value: i64) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(value);
        match self.integers {
            OtlpIntegers::String => self.put(key, "intValue", digits),
            OtlpIntegers::Number => self.put(key, "intValue", Raw(digits)),
        }
    }

    /// A number, if there is one and it is finite.
    pub(super) fn number(&mut self, key: &str, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.put(key, "doubleValue", Raw(&javascript::number(value)));
        }
    }

    /// A list of texts, each a JSON string already. For the conventions' `string[]`: `OpenRouter`
    /// has no lists.
    pub(super) fn texts<'t>(&mut self, key: &str, texts: impl Iterator<Item = &'t str>) {
        self.json.comma();
        self.json.open();
        self.json.field("key", key);
        self.json.name("value");
        self.json.open();
        self.json.name("arrayValue");
        self.json.open();
        self.json.name("values");
        self.json.open_list();
        for text in texts {
            self.json.comma();
            self.json.open();
            self.json.field("stringValue", Raw(text));
            self.json.close();
        }
        self.json.close_list();
        self.json.close();
        self.json.close();
        self.json.close();
    }

    /// A JSON value of the caller's, by its own type; a list, an object or a text that is none of
    /// Unicode as JSON text. Null is nothing.
    pub(super) fn any(&mut self, key: &str, json: &str) {
        match json.as_bytes().first() {
            None | Some(b'n') => {}
            Some(b't' | b'f') => self.flag(key, json == "true"),
            Some(b'-' | b'0'..=b'9') => match (json.parse(), json.parse()) {
                (Ok(integer), _) => self.integer(key, integer),
                (Err(_), Ok(number)) if f64::is_finite(number) => self.number(key, Some(number)),
                _ => self.text(key, json),
            },
            Some(b'"') => match serde_json::from_str::<String>(json) {
                Ok(text) => self.text(key, &text),
                Err(_) => self.text(key, json),
            },
            Some(_) => self.text(key, &one_line(json)),
        }
    }
}

/// A JSON text without line ends between its tokens.
pub(super) fn one_line(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    Raw(json).write(&mut out);
    String::from_utf8(out).expect("white space goes, all else stays")
}
