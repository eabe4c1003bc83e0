//! What a receiver's answer means: delivered, worth another attempt, or not.
//!
//! Looks at one attempt. Whose fault a failure is, the event's or the receiver's, and whether an
//! attempt is left, the lane decides.
//!
//! Invariant: what a receiver wrote enters a reason cut, on one line and escaped.

use std::time::Duration;

use bytes::Bytes;
use domain::{destination::RetryPolicy, time::Timestamp};

use crate::{address::Refusal, schedule::parse_retry_after};

/// The most of an answer's body that a reason quotes.
const EXCERPT_CHARS_MAX: usize = 200;

/// What a receiver answered, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header as it came.
    pub retry_after: Option<String>,
    /// The `Location` header as it came; never followed.
    pub location: Option<String>,
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
    /// Resolving, connecting or in the TLS handshake.
    Connect,
    /// Sending, or waiting for the answer's status.
    Answer,
}

/// What follows from an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
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
    /// The receiver said 410: it wants nothing any more, and the destination is to be disabled.
    Gone,
}

/// Decides what follows from an attempt that ended `now`.
///
/// A 2xx is delivered, whatever became of the answer's body. The policy's statuses, time-outs and
/// broken connections are worth another attempt. Everything else is not, redirects included: a
/// receiver that moved has to be configured anew.
pub fn judge(answer: Result<&Answer, &SendError>, policy: &RetryPolicy, now: Timestamp) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.kind.may_pass() => {
            return Verdict::Retry { after: None, reason: error.message.clone() };
        }
        Err(error) => return Verdict::GiveUp { reason: error.message.clone() },
    };
    match answer.status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        status if policy.retryable_status_codes.contains(&status) => {
            let asked = answer.retry_after.as_deref();
            let after = asked.and_then(|value| parse_retry_after(value, now));
            Verdict::Retry { after, reason: reason(answer) }
        }
        _ => Verdict::GiveUp { reason: reason(answer) },
    }
}

/// `status 503: {"error":"down"}`
fn reason(answer: &Answer) -> String {
    let mut reason = format!("status {}", answer.status);
    if (300..400).contains(&answer.status) {
        reason.push_str(", and redirects are not followed");
        if let Some(location) = &answer.location {
            reason.push_str(" (to ");
            push_excerpt(&mut reason, location.as_bytes());
            reason.push(')');
        }
    }
    if !answer.body_start.trim_ascii().is_empty() {
        reason.push_str(": ");
        push_excerpt(&mut reason, &answer.body_start);
    }
    reason
}

/// Appends the beginning of a foreign text, fit for a terminal and a log: one line, at most
/// [`EXCERPT_CHARS_MAX`] characters of it, escaped where a character would act instead of show.
fn push_excerpt(to: &mut String, bytes: &[u8]) {
    // A character has at most four bytes; the rest need not be looked at.
    let start = bytes.trim_ascii();
    let start = &start[..start.len().min(4 * (EXCERPT_CHARS_MAX + 1))];
    let text = String::from_utf8_lossy(start);
    let mut chars = text.chars();
    for c in chars.by_ref().take(EXCERPT_CHARS_MAX) {
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
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 5,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_mins(1),
            retry_after_max: Duration::from_hours(1),
            retryable_status_codes: vec![408, 429, 500, 502, 503],
        }
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
            (413, give_up("status 413")),
            (429, retry("status 429")),
            (500, retry("status 500")),
            (501, give_up("status 501")),
            (503, retry("status 503")),
            (504, give_up("status 504")),
        ];
        for (status, verdict) in cases {
            assert_eq!(judge(Ok(&answer(status, "")), &policy(), NOW), verdict, "{status}");
        }
    }

    #[test]
    fn gone_wins_over_a_policy_that_would_retry_it() {
        let stubborn = RetryPolicy { retryable_status_codes: vec![410], ..policy() };
        assert_eq!(judge(Ok(&answer(410, "")), &stubborn, NOW), Verdict::Gone);
    }

    #[test]
    fn retry_after_counts_for_statuses_worth_another_attempt() {
        let mut limited = answer(429, "slow down");
        limited.retry_after = Some("30".to_owned());
        let after = Some(Duration::from_secs(30));
        let reason = "status 429: slow down".to_owned();
        assert_eq!(judge(Ok(&limited), &policy(), NOW), Verdict::Retry { after, reason });
        limited.status = 400;
        assert_eq!(judge(Ok(&limited), &policy(), NOW), give_up("status 400: slow down"));
    }

    #[test]
    fn a_redirect_names_where_it_would_have_gone() {
        let mut moved = answer(301, "");
        moved.location = Some("http://169.254.169.254/\u{1b}[2J".to_owned());
        let reason = "status 301, and redirects are not followed \
                      (to http://169.254.169.254/\\u{1b}[2J)";
        assert_eq!(judge(Ok(&moved), &policy(), NOW), give_up(reason));
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
            assert_eq!(judge(Err(&error), &policy(), NOW), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_reason_quotes_the_body_on_one_line_cut_and_escaped() {
        let quoted = |body: &[u8]| {
            let mut text = String::new();
            push_excerpt(&mut text, body);
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
}
