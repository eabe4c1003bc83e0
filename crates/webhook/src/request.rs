//! One delivery as an HTTP request: id, body, headers.

use std::borrow::Cow;

use bytes::Bytes;
use domain::{
    destination::{Destination, Method},
    id::{DeliveryId, EventId},
    time::Timestamp,
};

/// The id of a delivery: its event's own if it carries one, else `bat_` and a hash of all ids, so
/// that a retry of the same batch has the same id.
pub fn delivery_id(items: &[&EventId]) -> DeliveryId {
    let _ = items;
    unimplemented!()
}

/// One attempt's HTTP request, ready to send. Its `Debug` form shows no header's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Names and values, in order. Values may be secret.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The body.
    pub body: Bytes,
}

/// Makes the request of one attempt, which begins `now`.
pub fn build(
    destination: &Destination,
    id: &DeliveryId,
    content_type: &str,
    body: Bytes,
    now: Timestamp,
) -> Request {
    let _ = (destination, id, content_type, body, now);
    unimplemented!()
}

/// Why a header cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name has a character that names cannot have.
    #[error("header name `{name}` is not a token")]
    Name {
        /// The name, with control characters escaped.
        name: String,
    },
    /// The value has a control character (CR, LF, NUL, …).
    #[error("value of header `{name}` has a control character")]
    Value {
        /// The header's name.
        name: String,
    },
    /// The gateway or HTTP itself sets it.
    #[error("header `{name}` is set by the gateway and cannot be overridden")]
    Reserved {
        /// The header's name.
        name: String,
    },
}

/// Passes a header that the user may add to a destination: for the configuration's check.
pub fn validate_header(name: &str, value: &str) -> Result<(), HeaderError> {
    let _ = (name, value);
    unimplemented!()
}
