//! Turns providers' error answers into `Failure`s.
//!
//! Reads the shapes that `OpenAI`, Anthropic and the servers compatible with them use, and keeps
//! the provider's own words. The status decides the kind; where a status is too coarse, the error's
//! code or type does, and for Anthropic's "prompt is too long", which has neither, its message.
//! Whether to try again is not decided here.

use domain::{
    call::Endpoint,
    failure::{Failure, FailureKind},
};
use serde_json::{Value, json};

use crate::scan::Scan;

/// The most of a provider's message that is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// An error answer is read as JSON up to this size, in bytes; a longer one is none.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The failure that a provider's error answer reports.
///
/// The status stays as it is, if it is one of failure; else it becomes 502. `retry_after_secs`
/// comes from `retry-after-ms` or from `retry-after` in seconds, rounded up; as a date it is not
/// read, because that takes a clock.
pub fn from_response(status: u16, headers: &[(String, String)], body: &[u8]) -> Failure {
    let said = Said::read(body);
    let is_failure = (400..600).contains(&status);
    let message = match &said.message {
        Some(message) => bounded(message),
        None => without_message(status, body),
    };
    Failure {
        kind: if is_failure { kind(status, &said) } else { FailureKind::BadResponse },
        status: if is_failure { status } else { 502 },
        message,
        code: said.code,
        provider_type: said.kind,
        param: said.param,
        retry_after_secs: retry_after(headers),
        limit: None,
    }
}

/// The failure that an error event inside a stream reports; `data` is the event's.
///
/// The status is the error's code if that is a status, else the one that Anthropic documents for
/// the error's type, else 500.
pub fn from_event(data: &[u8]) -> Failure {
    let said = Said::read(data);
    let code = said.code.as_deref().and_then(|code| code.parse().ok());
    let status = code
        .filter(|code| (400..600).contains(code))
        .or_else(|| status_of_type(said.kind.as_deref()?))
        .unwrap_or(500);
    let message = said.message.as_deref().map(bounded);
    Failure {
        kind: FailureKind::StreamError,
        status,
        message: message.unwrap_or_else(|| "the provider reported an error in its stream".into()),
        code: said.code,
        provider_type: said.kind,
        param: said.param,
        retry_after_secs: None,
        limit: None,
    }
}

/// The failure that a whole answer reports, though its status is a success: that of an `OpenAI`
/// response whose `status` is `failed`. `None` for any other answer.
pub fn of_whole_answer(endpoint: Endpoint, body: &[u8], scan: &Scan) -> Option<Failure> {
    let is_failed = endpoint == Endpoint::Responses
        && scan.str(body, "status").is_some_and(|status| status == "failed");
    if !is_failed {
        return None;
    }
    let said = Said::read(body);
    let message = said.message.as_deref().map(bounded);
    let message = message.unwrap_or_else(|| "the provider says that its response failed".into());
    Some(Failure { code: said.code, ..Failure::new(FailureKind::ProviderError, 200, message) })
}

/// The body of the error answer that tells a caller what a failure was, in the shape of the API that
/// was called.
///
/// `OpenAI`'s is `{"error": {"message", "type", "param", "code"}}`, Anthropic's
/// `{"type": "error", "error": {"type", "message"}}`.
pub fn error_body(endpoint: Endpoint, failure: &Failure) -> String {
    let body = match endpoint {
        Endpoint::Messages => {
            let error = json!({"type": anthropic_type(failure), "message": failure.message});
            json!({"type": "error", "error": error})
        }
        Endpoint::ChatCompletions
        | Endpoint::TextCompletions
        | Endpoint::Embeddings
        | Endpoint::Responses => json!({"error": error_object(failure)}),
    };
    body.to_string()
}

/// `OpenAI`'s error object of a failure.
pub(crate) fn error_object(failure: &Failure) -> Value {
    json!({
        "message": failure.message,
        "type": failure.provider_type.as_deref().unwrap_or_else(|| openai_type(failure.kind)),
        "param": failure.param,
        "code": error_code(failure),
    })
}

/// The error code that `OpenAI`'s error objects name: the provider's own, else the failure's kind.
pub(crate) fn error_code(failure: &Failure) -> &str {
    failure.code.as_deref().unwrap_or_else(|| failure.kind.as_str())
}

/// Anthropic's type of a failure: the provider's own if it is one of Anthropic's, else what its
/// documentation ("Errors") says of the status, which is what its SDKs go by, too.
fn anthropic_type(failure: &Failure) -> &str {
    if let Some(kind) = failure.provider_type.as_deref().filter(|k| status_of_type(k).is_some()) {
        return kind;
    }
    match (failure.kind, failure.status) {
        (FailureKind::BudgetExceeded, _) | (_, 402) => "billing_error",
        (FailureKind::Overloaded, _) | (_, 529) => "overloaded_error",
        (_, 401) => "authentication_error",
        (_, 403) => "permission_error",
        (_, 404) => "not_found_error",
        (_, 408 | 504) => "timeout_error",
        (_, 413) => "request_too_large",
        (_, 429) => "rate_limit_error",
        (_, 400..=499) => "invalid_request_error",
        _ => "api_error",
    }
}

/// `OpenAI`'s error types, as its SDKs and LiteLLM's users know them.
const fn openai_type(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unauthorized | FailureKind::Authentication => "authentication_error",
        FailureKind::RateLimit => "rate_limit_error",
        FailureKind::Timeout => "timeout_error",
        FailureKind::BudgetExceeded => "budget_exceeded",
        FailureKind::ModelDenied => "key_model_access_denied",
        FailureKind::Overloaded => "overloaded_error",
        FailureKind::Internal | FailureKind::Interrupted => "internal_server_error",
        FailureKind::InvalidRequest
        | FailureKind::UnknownModel
        | FailureKind::BadRequest
        | FailureKind::ContextWindowExceeded
        | FailureKind::ContentFilter
        | FailureKind::NotFound
        | FailureKind::ClientDisconnected => "invalid_request_error",
        FailureKind::Connection
        | FailureKind::ProviderError
        | FailureKind::BadResponse
        | FailureKind::StreamCut
        | FailureKind::StreamError => "api_error",
    }
}

/// The failure of a provider whose bytes are not what its protocol says.
pub(crate) fn bad_response(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::BadResponse, 502, message.into())
}

/// Text cut to `MESSAGE_BYTES_MAX`.
pub(crate) fn bounded(text: &str) -> String {
    let text = text.trim();
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}

impl From<crate::sse::SseError> for Failure {
    fn from(error: crate::sse::SseError) -> Self {
        bad_response(format!("the provider's stream could not be read: {error}"))
    }
}

/// What an error answer says of itself.
#[derive(Debug, Default)]
struct Said {
    message: Option<String>,
    code: Option<String>,
    kind: Option<String>,
    param: Option<String>,
}

impl Said {
    fn read(body: &[u8]) -> Self {
        if body.len() > BODY_BYTES_MAX {
            return Self::default();
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self::default();
        };
        // Gemini's OpenAI-compatible door answers with an array of one.
        let value = value.get(0).unwrap_or(&value);
        // A failed response says so of itself, and its event holds it.
        let value = value.get("response").unwrap_or(value);
        match value.get("error") {
            Some(Value::String(message)) => {
                let mut said = Self::read_fields(value);
                said.message = Some(message.clone());
                said
            }
            Some(error @ Value::Object(_)) => Self::read_fields(error),
            _ => Self::read_fields(value),
        }
    }

    fn read_fields(error: &Value) -> Self {
        let field = |name: &str| match error.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        // `detail` is FastAPI's: text, or a list of what did not validate.
        let message = ["message", "detail"].iter().find_map(|name| match error.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()).filter(|text| !text.is_empty()),
            Some(other) => Some(other.to_string()),
        });
        // Google's errors have a numeric `code` and a `status` in words.
        // Of an event, `error` says only that it is one.
        let kind = field("type").filter(|kind| kind != "error").or_else(|| field("status"));
        Self { message, code: field("code"), kind, param: field("param") }
    }

    fn is_any_of(&self, known: &[&str]) -> bool {
        [&self.code, &self.kind].into_iter().flatten().any(|said| known.contains(&said.as_str()))
    }

    fn message_has(&self, parts: &[&str]) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        parts.iter().any(|part| message.contains(part))
    }
}

fn kind(status: u16, said: &Said) -> FailureKind {
    let is_refused_request = matches!(status, 400 | 413 | 422);
    if is_refused_request {
        let too_long = ["context_length_exceeded", "string_above_max_length"];
        let too_long_text = ["prompt is too long", "maximum context length"];
        if said.is_any_of(&too_long) || said.message_has(&too_long_text) {
            return FailureKind::ContextWindowExceeded;
        }
    }
    if is_refused_request || status == 403 {
        let filtered =
            ["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"];
        if said.is_any_of(&filtered) {
            return FailureKind::ContentFilter;
        }
    }
    match status {
        // 402: the credential's account has no money left.
        401..=403 => FailureKind::Authentication,
        404 => FailureKind::NotFound,
        408 | 504 => FailureKind::Timeout,
        429 => FailureKind::RateLimit,
        400..=499 => FailureKind::BadRequest,
        _ => FailureKind::ProviderError,
    }
}

/// Anthropic's types and their statuses (its API documentation, "Errors").
fn status_of_type(kind: &str) -> Option<u16> {
    Some(match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => return None,
    })
}

/// Words for an answer that brought none: its text, or that it is a page, or empty.
fn without_message(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2 * MESSAGE_BYTES_MAX)]);
    let text = text.trim();
    if text.is_empty() {
        return format!("the provider answered {status} without a body");
    }
    if text.starts_with('<') {
        let title = between(text, "<title>", "</title>").map(str::trim).unwrap_or_default();
        return match title {
            "" => format!("the provider answered {status} with an HTML page"),
            title => bounded(&format!("the provider answered {status} with an HTML page: {title}")),
        };
    }
    bounded(&format!("the provider answered {status}: {text}"))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    Some(rest.split_once(close)?.0)
}

fn retry_after(headers: &[(String, String)]) -> Option<u64> {
    let header = |name: &str| {
        let found = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.trim().parse::<f64>().ok())
    };
    let seconds = header("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| header("retry-after"));
    // `as` saturates, and a NaN becomes 0.
    seconds.filter(|seconds| *seconds >= 0.0).map(|seconds| seconds.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(failure: &Failure) -> String {
        let Failure {
            kind,
            status,
            message,
            code,
            provider_type,
            param,
            retry_after_secs,
            limit: _,
        } = failure;
        let field = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let retry = retry_after_secs.map_or_else(|| "-".into(), |secs| secs.to_string());
        let (code, kind_text, param) = (field(code), field(provider_type), field(param));
        format!("{status} {} {code} {kind_text} {param} {retry}: {message}", kind.as_str())
    }

    #[test]
    fn the_provider_s_own_words_are_kept_in_every_shape() {
        let cases = [
            (
                400,
                r#"{"error":{"message":"Invalid 'temperature'","type":"invalid_request_error",
                   "param":"temperature","code":"invalid_value"}}"#,
                "400 bad_request invalid_value invalid_request_error temperature -: \
                 Invalid 'temperature'",
            ),
            (
                400,
                r#"{"error":{"message":"too many","code":"context_length_exceeded"}}"#,
                "400 context_window_exceeded context_length_exceeded - - -: too many",
            ),
            (
                400,
                r#"{"error":{"message":"no","type":"image","code":"content_policy_violation"}}"#,
                "400 content_filter content_policy_violation image - -: no",
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error",
                   "message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                "400 context_window_exceeded - invalid_request_error - -: \
                 prompt is too long: 210000 tokens > 200000 maximum",
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "529 provider_error - overloaded_error - -: Overloaded",
            ),
            (429, r#"{"error":"slow down"}"#, "429 rate_limit - - - -: slow down"),
            (
                404,
                r#"{"object":"error","message":"no such model","type":"NotFoundError","code":404}"#,
                "404 not_found 404 NotFoundError - -: no such model",
            ),
            (
                422,
                r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#,
                r#"422 bad_request - - - -: [{"loc":["body"],"msg":"field required"}]"#,
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"bad","status":"INVALID_ARGUMENT"}}]"#,
                "400 bad_request 400 INVALID_ARGUMENT - -: bad",
            ),
            (401, r#"{"error":{"message":"key"}}"#, "401 authentication - - - -: key"),
            (
                502,
                "<html><head><title>502 Bad Gateway</title></head></html>",
                "502 provider_error - - - -: \
                 the provider answered 502 with an HTML page: 502 Bad Gateway",
            ),
            (503, "try later", "503 provider_error - - - -: the provider answered 503: try later"),
            (500, "", "500 provider_error - - - -: the provider answered 500 without a body"),
            (302, "", "502 bad_response - - - -: the provider answered 302 without a body"),
            (408, "{}", "408 timeout - - - -: the provider answered 408: {}"),
        ];
        for (status, body, expected) in cases {
            assert_eq!(shown(&from_response(status, &[], body.as_bytes())), expected);
        }
    }

    #[test]
    fn error_bodies_are_in_the_shape_of_the_api_that_was_called() {
        let failure = Failure {
            param: Some("input".into()),
            ..Failure::new(FailureKind::InvalidRequest, 400, "no".into())
        };
        let openai = concat!(
            r#"{"error":{"code":"invalid_request","message":"no","param":"input","#,
            r#""type":"invalid_request_error"}}"#,
        );
        for endpoint in [
            Endpoint::ChatCompletions,
            Endpoint::TextCompletions,
            Endpoint::Embeddings,
            Endpoint::Responses,
        ] {
            assert_eq!(error_body(endpoint, &failure), openai);
        }
        let anthropic =
            r#"{"error":{"message":"no","type":"invalid_request_error"},"type":"error"}"#;
        assert_eq!(error_body(Endpoint::Messages, &failure), anthropic);
    }

    #[test]
    fn anthropics_error_types_follow_its_own_words_then_the_status() {
        let cases = [
            (FailureKind::Unauthorized, 401, None, "authentication_error"),
            (FailureKind::ModelDenied, 403, None, "permission_error"),
            (FailureKind::NotFound, 404, None, "not_found_error"),
            (FailureKind::InvalidRequest, 413, None, "request_too_large"),
            (FailureKind::BudgetExceeded, 422, None, "billing_error"),
            (FailureKind::RateLimit, 429, Some("throttling_error"), "rate_limit_error"),
            (FailureKind::Timeout, 408, None, "timeout_error"),
            (FailureKind::Overloaded, 503, None, "overloaded_error"),
            (FailureKind::ProviderError, 529, None, "overloaded_error"),
            (FailureKind::ProviderError, 500, Some("overloaded_error"), "overloaded_error"),
            (FailureKind::Connection, 502, Some("server_error"), "api_error"),
        ];
        for (kind, status, said, expected) in cases {
            let failure = Failure {
                provider_type: said.map(Into::into),
                ..Failure::new(kind, status, String::new())
            };
            assert_eq!(anthropic_type(&failure), expected, "{kind:?} {status}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let body = format!("{{\"error\":\"{}\"}}", "é".repeat(MESSAGE_BYTES_MAX));
        let message = from_response(500, &[], body.as_bytes()).message;
        assert_eq!(message.len(), MESSAGE_BYTES_MAX + "…".len());
        assert!(message.ends_with("é…"));
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_rounded_up() {
        let cases = [
            ("Retry-After: 20", Some(20)),
            ("retry-after: 0.3", Some(1)),
            ("retry-after: 9, retry-after-ms: 1200", Some(2)),
            ("retry-after: -1", None),
            ("retry-after: Wed 21 Oct 2026 07:28:00 GMT", None),
            ("", None),
        ];
        for (headers, expected) in cases {
            let headers: Vec<_> = headers
                .split(", ")
                .filter_map(|header| header.split_once(": "))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(from_response(429, &headers, b"").retry_after_secs, expected);
        }
    }

    #[test]
    fn an_error_in_a_stream_has_the_status_that_it_names() {
        let cases = [
            (
                r#"{"error":{"message":"m","type":"server_error","code":503}}"#,
                "503 stream_error 503 server_error - -: m",
            ),
            (
                r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
                "500 stream_error rate_limit_exceeded - - -: m",
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                "529 stream_error - overloaded_error - -: Overloaded",
            ),
            ("not json", "500 stream_error - - - -: the provider reported an error in its stream"),
        ];
        for (data, expected) in cases {
            assert_eq!(shown(&from_event(data.as_bytes())), expected);
        }
    }
}
