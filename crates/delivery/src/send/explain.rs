//! Why there is no answer: the client's errors as [`SendError`]s.

use std::{error::Error, io};

use hyper_util::client::legacy;
use webhook::verdict::{Phase, SendError, SendErrorKind};

use super::{connect::ConnectError, stream::TooMuch};

/// What the passing of the deadline means, with so many bytes of an answer there.
pub(super) fn timed_out(phase: Phase, received: usize) -> SendError {
    let message = match phase {
        Phase::Answer if received > 0 => {
            let message = format!(
                "connected, but the answer's head did not end before the deadline; {received} bytes \
                 of it came"
            );
            return SendError { kind: SendErrorKind::Timeout(phase), message };
        }
        Phase::Resolve => "the name was not resolved before the deadline",
        Phase::Connect => "no connection before the deadline",
        Phase::Tls => "connected, but no TLS session before the deadline",
        Phase::Send => "connected, but the body was not taken before the deadline",
        Phase::Answer => "connected, but no answer before the deadline",
    };
    SendError { kind: SendErrorKind::Timeout(phase), message: message.to_owned() }
}

/// What an error of the client means, by the first of its causes that tells.
pub(super) fn failed(error: &legacy::Error) -> SendError {
    for cause in causes(error) {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return SendError { kind: kind_of(connect), message: chain(connect) };
        }
        if cause.is::<TooMuch>() {
            return SendError { kind: SendErrorKind::Protocol, message: cause.to_string() };
        }
        if cause.is::<rustls::Error>() {
            return prefixed(SendErrorKind::Tls, "TLS failed", cause);
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && (hyper.is_parse() || hyper.is_parse_too_large())
        {
            return prefixed(SendErrorKind::Protocol, "answer is not one of HTTP", cause);
        }
    }
    // Our own connector's errors are dealt with, so what fails here is the TLS handshake.
    let (kind, what) = if error.is_connect() {
        (SendErrorKind::Tls, "TLS failed")
    } else if causes(error).any(is_broken) {
        (SendErrorKind::Reset, "connection broke before an answer")
    } else {
        (SendErrorKind::Protocol, "attempt failed")
    };
    match error.source() {
        Some(cause) => prefixed(kind, what, cause),
        None => SendError { kind, message: what.to_owned() },
    }
}

fn kind_of(error: &ConnectError) -> SendErrorKind {
    match error {
        ConnectError::NoHost => SendErrorKind::Request,
        ConnectError::Resolve { .. } | ConnectError::NoAddress { .. } => SendErrorKind::Dns,
        ConnectError::Refused { source, .. } => SendErrorKind::Refused(*source),
        ConnectError::Dial { .. } | ConnectError::Proxy { .. } | ConnectError::NoPlace { .. } => {
            SendErrorKind::Connect
        }
        ConnectError::TimedOut { phase, .. } => SendErrorKind::Timeout(*phase),
    }
}

fn is_broken(cause: &(dyn Error + 'static)) -> bool {
    let closed = cause.downcast_ref::<hyper::Error>().is_some_and(|error| {
        error.is_incomplete_message() || error.is_closed() || error.is_canceled()
    });
    closed || cause.is::<io::Error>()
}

fn prefixed(kind: SendErrorKind, what: &str, cause: &(dyn Error + 'static)) -> SendError {
    SendError { kind, message: format!("{what}: {}", chain(cause)) }
}

/// An error and its causes as one line, without the repetitions of those that print their cause.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        if line.ends_with(&text) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&text);
    }
    line
}

/// An error and its causes. `io::Error` hides the error that it was made of: it names that one's
/// cause as its own.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
