//! What a receiver's answer means: delivered, worth another attempt, or not.
//!
//! Looks at one attempt. Whose fault a failure is, the event's or the receiver's, and whether an
//! attempt is left, the lane decides.
//!
//! Invariant: what a receiver wrote enters a reason cut, on one line and escaped.

use std::time::Duration;

use bytes::Bytes;
use domain::{
    destination::{Destination, Format},
    secret::Secret,
    time::Timestamp,
};

use crate::{address::Refusal, schedule::parse_retry_after};

/// The most of an answer's body that a reason quotes.
const EXCERPT_CHARS_MAX: usize = 200;

/// The most of an answer's body that is kept for people.
const ANSWER_CHARS_MAX: usize = 1000;

/// The shortest text that is looked for as a secret: shorter ones would blank innocent words.
const SECRET_BYTES_MIN: usize = 6;

/// The shortest path with its query that may hold a secret: some receivers' addresses are all the
/// credential there is.
const SECRET_PATH_BYTES_MIN: usize = 16;

/// What OTLP/HTTP's specification retries, and nothing else.
const OTLP_RETRYABLE: &[u16] = &[429, 502, 503, 504];

/// What a receiver answered, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header as it came.
    pub retry_after: Option<String>,
    /// The `Location` header as it came; never followed.
    pub location: Option<String>,
    /// The `webhook-delivery` header as it came, by which receivers say what they want.
    pub control: Option<String>,
    /// The beginning of the body.
    pub body_start: Bytes,
}

/// Why there is no answer. The message is for people; policies look at the kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// What went wrong.
    pub kind: SendErrorKind,
    /// In words, causes included.
    pub message: String,
}

/// Kinds of failure to get an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// The request itself is not one that HTTP can carry (URL, header).
    Request,
    /// The name has no address.
    Dns,
    /// An address is one that the destination must not have.
    Refused(Refusal),
    /// No TCP connection.
    Connect,
    /// No TLS session.
    Tls,
    /// The deadline passed.
    Timeout(Phase),
    /// The connection ended before an answer.
    Reset,
    /// The answer is not HTTP, or its head is over the limits.
    Protocol,
}

impl SendErrorKind {
    /// Whether another attempt may end better: not if the request or the address is at fault.
    const fn may_pass(self) -> bool {
        match self {
            Self::Request | Self::Refused(_) => false,
            Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Timeout(_)
            | Self::Reset
            | Self::Protocol => true,
        }
    }
}

/// Where an attempt was when its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the name.
    Resolve,
    /// Connecting.
    Connect,
    /// In the TLS handshake.
    Tls,
    /// Sending the body.
    Send,
    /// Waiting for the answer's head.
    Answer,
}

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// The receiver has it and says that it took a part only, which it does not want again.
    DeliveredInPart {
        /// What it said, in words.
        remark: String,
    },
    /// Worth another attempt.
    Retry {
        /// How long the receiver asked to be left alone.
        after: Option<Duration>,
        /// Why, in words.
        reason: String,
    },
    /// Another attempt would end the same way.
    GiveUp {
        /// Why, in words.
        reason: String,
    },
    /// The body is more than the receiver takes (413): a smaller one may pass.
    TooLarge {
        /// Why, in words.
        reason: String,
    },
    /// The receiver asked by `webhook-delivery: abort-message` not to get this delivery again.
    Aborted {
        /// Why, in words.
        reason: String,
    },
    /// The receiver said 410: it wants nothing any more, and the destination is to be disabled.
    Gone,
}

/// What a receiver wants, beside what its status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing more of anything.
    Disable,
    /// Nothing more of this delivery.
    AbortMessage,
}

impl Answer {
    /// Whether the receiver asks to get nothing any more, by its status or by the header
    /// `webhook-delivery: disable`. What it answered with a 2xx is delivered even so.
    pub fn wants_no_more(&self) -> bool {
        self.status == 410 || self.wish() == Some(Wish::Disable)
    }

    fn wish(&self) -> Option<Wish> {
        let text = self.control.as_deref()?.trim();
        if text.eq_ignore_ascii_case("disable") {
            Some(Wish::Disable)
        } else if text.eq_ignore_ascii_case("abort-message") {
            Some(Wish::AbortMessage)
        } else {
            None
        }
    }

    /// Blanks what the receiver may not have echoed: values of headers, secrets, the URL's path and
    /// query. Answers are shown to people who may not see those.
    pub fn hide_secrets(&mut self, destination: &Destination) {
        let secrets = secrets_of(destination);
        if let Some(hidden) = hidden(&self.body_start, &secrets) {
            self.body_start = hidden;
        }
        if let Some(location) = &mut self.location
            && let Some(hidden) = hidden(location.as_bytes(), &secrets)
        {
            *location = String::from_utf8_lossy(&hidden).into_owned();
        }
    }
}

/// Texts that no answer may show, the longest first: one may hold another.
fn secrets_of(destination: &Destination) -> Vec<&[u8]> {
    let values = destination.headers.iter().map(|(_, value)| value.expose());
    // `Bearer abc`: the second word alone is the secret.
    let words = values.clone().filter_map(|value| value.split_once(' ')).map(|(_, word)| word);
    let signing = destination.signing.iter().flat_map(|signing| &signing.secrets);
    let signing = signing.map(Secret::expose);
    let bare = signing.clone().filter_map(|secret| secret.split_once('_')).map(|(_, key)| key);
    let behind_host = destination.url.split_once("://").and_then(|(_, rest)| {
        let path = &rest[rest.find(['/', '?'])?..];
        Some(path).filter(|path| path.len() >= SECRET_PATH_BYTES_MIN)
    });
    let texts = values.chain(words).chain(signing).chain(bare).chain(behind_host);
    let mut secrets: Vec<_> = texts.map(str::trim).map(str::as_bytes).collect();
    secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// The text with its secrets blanked; `None` if it holds none.
fn hidden(text: &[u8], secrets: &[&[u8]]) -> Option<Bytes> {
    let found = |at: usize| secrets.iter().find(|secret| text[at..].starts_with(secret));
    let mut hidden = Vec::new();
    let (mut at, mut from) = (0, 0);
    while at < text.len() {
        let Some(secret) = found(at) else {
            at += 1;
            continue;
        };
        hidden.extend_from_slice(&text[from..at]);
        hidden.extend_from_slice("•••".as_bytes());
        at += secret.len();
        from = at;
    }
    (from > 0).then(|| {
        hidden.extend_from_slice(&text[from..]);
        hidden.into()
    })
}

/// Decides what follows from an attempt at a destination, which ended `now`.
///
/// A 2xx is delivered, whatever became of the answer's body. The policy's statuses, time-outs and
/// broken connections are worth another attempt; for OTLP, the statuses that its specification
/// names. Everything else is not, redirects included: a receiver that moved has to be configured
/// anew.
pub fn judge(
    answer: Result<&Answer, &SendError>,
    destination: &Destination,
    now: Timestamp,
) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.kind.may_pass() => {
            return Verdict::Retry { after: None, reason: error.message.clone() };
        }
        Err(error) => return Verdict::GiveUp { reason: error.message.clone() },
    };
    let retryable = match destination.format {
        Format::Otlp(_) => OTLP_RETRYABLE,
        _ => &destination.retry.retryable_status_codes,
    };
    match answer.status {
        200..=299 => match remark(answer, destination.format) {
            Some(remark) => Verdict::DeliveredInPart { remark },
            None => Verdict::Delivered,
        },
        _ if answer.wants_no_more() => Verdict::Gone,
        _ if answer.wish() == Some(Wish::AbortMessage) => {
            Verdict::Aborted { reason: format!("asked to abort; {}", reason(answer)) }
        }
        413 => Verdict::TooLarge { reason: reason(answer) },
        status if retryable.contains(&status) => {
            let asked = answer.retry_after.as_deref();
            let after = asked.and_then(|value| parse_retry_after(value, now));
            Verdict::Retry { after, reason: reason(answer) }
        }
        _ => Verdict::GiveUp { reason: reason(answer) },
    }
}

/// What an OTLP receiver did not take of a body that it accepted: `partialSuccess` with rejected
/// spans, or with a message alone. To send it again is forbidden by OTLP's specification.
fn remark(answer: &Answer, format: Format) -> Option<String> {
    if !matches!(format, Format::Otlp(_)) {
        return None;
    }
    let said: serde_json::Value = serde_json::from_slice(&answer.body_start).ok()?;
    let partial = said.get("partialSuccess")?;
    let rejected = match partial.get("rejectedSpans") {
        // 64-bit integers are texts in OTLP/JSON; some write numbers.
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0_i64),
        Some(number) => number.as_i64().unwrap_or_default(),
        None => 0,
    };
    let message = partial.get("errorMessage").and_then(serde_json::Value::as_str);
    let message = message.filter(|message| !message.is_empty());
    if rejected == 0 && message.is_none() {
        return None;
    }
    let plural = if rejected == 1 { "" } else { "s" };
    let mut remark = format!("the receiver rejected {rejected} span{plural}");
    if let Some(message) = message {
        remark.push_str(": ");
        push_excerpt(&mut remark, message.as_bytes(), EXCERPT_CHARS_MAX);
    }
    Some(remark)
}

/// The beginning of an answer's body as people may see it: at most 1,000 characters of it on one
/// line, escaped where a character would act instead of show.
pub fn answer_start(answer: &Answer) -> String {
    let mut start = String::new();
    push_excerpt(&mut start, &answer.body_start, ANSWER_CHARS_MAX);
    start
}

/// `status 503: {"error":"down"}`
fn reason(answer: &Answer) -> String {
    let mut reason = format!("status {}", answer.status);
    if (300..400).contains(&answer.status) {
        reason.push_str(", and redirects are not followed");
        if let Some(location) = &answer.location {
            reason.push_str(" (to ");
            push_excerpt(&mut reason, location.as_bytes(), EXCERPT_CHARS_MAX);
            reason.push(')');
        }
    }
    if !answer.body_start.trim_ascii().is_empty() {
        reason.push_str(": ");
        push_excerpt(&mut reason, &answer.body_start, EXCERPT_CHARS_MAX);
    }
    reason
}

/// Appends the beginning of a foreign text, fit for a terminal and a log: one line, at most
/// `chars_max` characters of it, escaped where a character would act instead of show.
fn push_excerpt(to: &mut String, bytes: &[u8], chars_max: usize) {
    // A character has at most four bytes; the rest need not be looked at.
    let start = bytes.trim_ascii();
    let start = &start[..start.len().min(4 * (chars_max + 1))];
    let text = String::from_utf8_lossy(start);
    let mut chars = text.chars();
    for c in chars.by_ref().take(chars_max) {
        if acts(c) {
            to.extend(c.escape_default());
        } else {
            to.push(c);
        }
    }
    if chars.next().is_some() {
        to.push('…');
    }
}

/// Whether a character moves the cursor, breaks the line or turns the direction of the text.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use domain::destination::{Otlp, RetryPolicy, SignatureAlgorithm, SignedContent, Signing};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn destination() -> Destination {
        let plain = domain::sample::destination();
        let retryable_status_codes = vec![408, 429, 500, 502, 503];
        Destination { retry: RetryPolicy { retryable_status_codes, ..plain.retry }, ..plain }
    }

    fn judged(answer: &Answer) -> Verdict {
        judge(Ok(answer), &destination(), NOW)
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body_start: Bytes::copy_from_slice(body.as_bytes()), ..Answer::default() }
    }

    fn give_up(reason: &str) -> Verdict {
        Verdict::GiveUp { reason: reason.to_owned() }
    }

    fn retry(reason: &str) -> Verdict {
        Verdict::Retry { after: None, reason: reason.to_owned() }
    }

    #[test]
    fn a_status_decides() {
        let cases = [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (299, Verdict::Delivered),
            (101, give_up("status 101")),
            (304, give_up("status 304, and redirects are not followed")),
            (400, give_up("status 400")),
            (408, retry("status 408")),
            (410, Verdict::Gone),
            (413, Verdict::TooLarge { reason: "status 413".to_owned() }),
            (429, retry("status 429")),
            (500, retry("status 500")),
            (501, give_up("status 501")),
            (503, retry("status 503")),
            (504, give_up("status 504")),
        ];
        for (status, verdict) in cases {
            assert_eq!(judged(&answer(status, "")), verdict, "{status}");
        }
    }

    #[test]
    fn gone_wins_over_a_policy_that_would_retry_it() {
        let mut stubborn = destination();
        stubborn.retry.retryable_status_codes = vec![410];
        assert_eq!(judge(Ok(&answer(410, "")), &stubborn, NOW), Verdict::Gone);
    }

    #[test]
    fn retry_after_counts_for_statuses_worth_another_attempt() {
        let mut limited = answer(429, "slow down");
        limited.retry_after = Some("30".to_owned());
        let after = Some(Duration::from_secs(30));
        let reason = "status 429: slow down".to_owned();
        assert_eq!(judged(&limited), Verdict::Retry { after, reason });
        limited.status = 400;
        assert_eq!(judged(&limited), give_up("status 400: slow down"));
    }

    #[test]
    fn a_redirect_names_where_it_would_have_gone() {
        let mut moved = answer(301, "");
        moved.location = Some("http://169.254.169.254/\u{1b}[2J".to_owned());
        let reason = "status 301, and redirects are not followed \
                      (to http://169.254.169.254/\\u{1b}[2J)";
        assert_eq!(judged(&moved), give_up(reason));
    }

    #[test]
    fn broken_connections_retry_and_refused_addresses_do_not() {
        let refusal = crate::address::check([10, 0, 0, 1].into(), false).unwrap_err();
        let cases = [
            (SendErrorKind::Request, false),
            (SendErrorKind::Refused(refusal), false),
            (SendErrorKind::Dns, true),
            (SendErrorKind::Connect, true),
            (SendErrorKind::Tls, true),
            (SendErrorKind::Timeout(Phase::Connect), true),
            (SendErrorKind::Timeout(Phase::Answer), true),
            (SendErrorKind::Reset, true),
            (SendErrorKind::Protocol, true),
        ];
        for (kind, is_retried) in cases {
            let error = SendError { kind, message: "why".to_owned() };
            let expected = if is_retried { retry("why") } else { give_up("why") };
            assert_eq!(judge(Err(&error), &destination(), NOW), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_reason_quotes_the_body_on_one_line_cut_and_escaped() {
        let quoted = |body: &[u8]| {
            let mut text = String::new();
            push_excerpt(&mut text, body, EXCERPT_CHARS_MAX);
            text
        };
        assert_eq!(quoted(b" {\"error\": \"no\"}\r\n"), "{\"error\": \"no\"}");
        assert_eq!(quoted(b"a\r\nb\tc\0\x1b[31m"), "a\\r\\nb\\tc\\u{0}\\u{1b}[31m");
        assert_eq!(quoted("\u{202e}gnp\u{2028}é".as_bytes()), "\\u{202e}gnp\\u{2028}é");
        assert_eq!(quoted(b"\xff\xfe"), "\u{fffd}\u{fffd}");
        assert_eq!(quoted("é".repeat(200).as_bytes()), "é".repeat(200));
        assert_eq!(quoted("é".repeat(9_000).as_bytes()), "é".repeat(200) + "…");
        assert_eq!(quoted("\u{1f980}".repeat(201).as_bytes()), "\u{1f980}".repeat(200) + "…");
    }

    #[test]
    fn otlp_retries_what_its_specification_names_and_nothing_else() {
        let otlp = Destination { format: Format::Otlp(Otlp::default()), ..destination() };
        for (status, is_retried) in [
            (429, true),
            (502, true),
            (503, true),
            (504, true),
            (400, false),
            (408, false),
            (500, false),
            (501, false),
        ] {
            let verdict = judge(Ok(&answer(status, "")), &otlp, NOW);
            assert_eq!(matches!(verdict, Verdict::Retry { .. }), is_retried, "{status}");
        }
    }

    #[test]
    fn otlps_partial_success_is_delivered_and_remarked_on() {
        let otlp = Destination { format: Format::Otlp(Otlp::default()), ..destination() };
        let cases = [
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#,
                Some("the receiver rejected 3 spans: too old"),
            ),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, Some("the receiver rejected 2 spans")),
            (
                r#"{"partialSuccess":{"errorMessage":"use v2"}}"#,
                Some("the receiver rejected 0 spans: use v2"),
            ),
            (r#"{"partialSuccess":{"rejectedSpans":"0"}}"#, None),
            (r#"{"partialSuccess":{}}"#, None),
            ("{}", None),
            ("ok", None),
            ("", None),
        ];
        for (body, remark) in cases {
            let expected = remark.map_or(Verdict::Delivered, |remark| Verdict::DeliveredInPart {
                remark: remark.to_owned(),
            });
            assert_eq!(judge(Ok(&answer(200, body)), &otlp, NOW), expected, "{body}");
            assert_eq!(judged(&answer(200, body)), Verdict::Delivered, "other formats: {body}");
        }
    }

    #[test]
    fn a_receivers_header_disables_or_aborts() {
        let controlled = |status, control: &str| {
            let control = Some(control.to_owned());
            let answer = Answer { control, ..answer(status, "no") };
            (judged(&answer), answer.wants_no_more())
        };
        let aborted =
            |status| Verdict::Aborted { reason: format!("asked to abort; status {status}: no") };
        let busy = Verdict::Retry { after: None, reason: "status 503: no".to_owned() };
        let cases = [
            (200, "disable", (Verdict::Delivered, true)),
            (200, "abort-message", (Verdict::Delivered, false)),
            (503, "disable", (Verdict::Gone, true)),
            (400, " Disable ", (Verdict::Gone, true)),
            (503, "abort-message", (aborted(503), false)),
            (404, "Abort-Message", (aborted(404), false)),
            (410, "abort-message", (Verdict::Gone, true)),
            (503, "disabled", (busy.clone(), false)),
            (503, "", (busy, false)),
        ];
        for (status, control, expected) in cases {
            assert_eq!(controlled(status, control), expected, "{status} {control:?}");
        }
    }

    #[test]
    fn what_people_see_of_an_answer_is_its_first_thousand_characters_escaped() {
        let shown = |body: &str| answer_start(&answer(200, body));
        assert_eq!(shown("<script>\r\n\u{1b}[2J"), "<script>\\r\\n\\u{1b}[2J");
        assert_eq!(shown(&"é".repeat(1000)), "é".repeat(1000));
        assert_eq!(shown(&"é".repeat(5000)), "é".repeat(1000) + "…");
    }

    #[test]
    fn an_answer_that_echoes_secrets_is_shown_without_them() {
        let signing = Signing {
            secrets: vec![Secret::new("whsec_Y2FuYXJ5LXNlY3JldA=="), Secret::new("old-canary")],
            algorithm: SignatureAlgorithm::Sha256,
            header: "X-Webhook-Signature".to_owned(),
            signed_content: SignedContent::TimestampAndBody,
        };
        let destination = Destination {
            url: "https://hooks.example/services/T1/B1/canary-path?key=canary".to_owned(),
            headers: vec![
                ("Authorization".to_owned(), Secret::new("Bearer canary-token")),
                ("X-Team".to_owned(), Secret::new("a")),
            ],
            signing: Some(signing),
            ..destination()
        };
        let echo = "POST /services/T1/B1/canary-path?key=canary; Authorization: Bearer \
                    canary-token; token canary-token; a team; whsec_Y2FuYXJ5LXNlY3JldA==; \
                    Y2FuYXJ5LXNlY3JldA==; old-canary; end";
        let mut answer = answer(500, echo);
        answer.location = Some("/login?from=/services/T1/B1/canary-path?key=canary".to_owned());
        answer.hide_secrets(&destination);
        let shown = format!("{:?} {:?}", answer_start(&answer), judged(&answer));
        assert!(!shown.contains("canary") && !shown.contains("Y2Fu"), "{shown}");
        assert!(shown.contains("a team") && shown.contains("end"), "{shown}");
        assert_eq!(answer.location.as_deref(), Some("/login?from=•••"));
    }
}
