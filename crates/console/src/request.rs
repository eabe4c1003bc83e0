//! Reading requests: bodies within a bound and a deadline, query parameters, all mistakes at once.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use domain::time::Timestamp;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::problem::{FieldProblem, Kind, Problem};

/// The largest body of a management request.
pub(crate) const BODY_BYTES_MAX: usize = 256 << 10;
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a body is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is larger than [`BODY_BYTES_MAX`].
    TooLarge,
    /// It did not come, or not in time.
    Broken,
}

/// Reads a body whole.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, BodyError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let is_long = std::error::Error::source(&error)
                .is_some_and(|cause| cause.to_string().contains("length limit exceeded"));
            Err(if is_long { BodyError::TooLarge } else { BodyError::Broken })
        }
        Err(_) => Err(BodyError::Broken),
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => {
                let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
                Self::new(Kind::TooLarge, message)
            }
            BodyError::Broken => Self::new(Kind::BadRequest, "the body did not come whole"),
        }
    }
}

/// Reads a body as a JSON object.
pub(crate) async fn read_object(body: Body) -> Result<Map<String, Value>, Problem> {
    let bytes = read_body(body).await?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::invalid(vec![FieldProblem::new("", "must be a JSON object")])),
        Err(error) => Err(Problem::new(Kind::BadRequest, format!("the body is not JSON: {error}"))),
    }
}

/// The same, where no body at all, or null, means an empty object.
pub(crate) async fn read_object_if_any(body: Body) -> Result<Map<String, Value>, Problem> {
    let bytes = read_body(body).await?;
    let is_nothing = bytes.is_empty() || bytes.trim_ascii() == b"null";
    if is_nothing { Ok(Map::new()) } else { read_object(Body::from(bytes)).await }
}

/// Whether a path is UTF-8 once its percent signs are resolved. One that is not names nothing here.
pub(crate) fn is_text(path: &str) -> bool {
    std::str::from_utf8(&unescaped(path)).is_ok()
}

/// What percent signs in a URL stand for.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    plain
}

/// Query parameters, and what is wrong with them.
pub(crate) struct Query {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    problems: Vec<FieldProblem>,
}

impl Query {
    pub(crate) fn new(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let given = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { given, known: Vec::new(), problems: Vec::new() }
    }

    fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(FieldProblem::new(name, message));
    }

    /// A parameter's text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut values = self.given.iter().filter(|(given, _)| given == name);
        let value = values.next().map(|(_, value)| value.clone());
        if values.next().is_some() {
            self.problem(name, "is given more than once");
        }
        value
    }

    /// A parameter that `parse` understands; `expected` says what it should be.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.problem(name, format!("must be {expected}"));
        }
        value
    }

    /// A time: RFC 3339, or seconds since 1970.
    pub(crate) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let expected = "a time such as 2026-11-21T10:30:00Z, or seconds since 1970";
        self.parsed(name, expected, parse_time)
    }

    /// How many to list.
    pub(crate) fn limit(&mut self, default: usize, max: usize) -> usize {
        let expected = format!("a whole number from 1 to {max}");
        let parse = |text: &str| text.parse().ok().filter(|limit| (1..=max).contains(limit));
        self.parsed("limit", &expected, parse).unwrap_or(default)
    }

    /// Everything that is wrong, unknown parameters included.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        let unknown = self.given.iter().filter(|(name, _)| !self.known.contains(&name.as_str()));
        let known = self.known.join(", ");
        let message = format!("is no parameter here; there are {known}");
        let unknown: Vec<_> =
            unknown.map(|(name, _)| FieldProblem::new(name.clone(), message.clone())).collect();
        self.problems.extend(unknown);
        if self.problems.is_empty() { Ok(()) } else { Err(Problem::invalid(self.problems)) }
    }
}

/// RFC 3339, or seconds since 1970.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(secs) = text.parse::<i64>() {
        return Some(Timestamp::from_millis(secs.checked_mul(1_000)?));
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
}
