//! Finds the few top-level fields of a request that the gateway acts on, without a DOM.

use std::{borrow::Cow, ops::Range};

/// Why a request's body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// It is not JSON.
    #[error("the request body is not valid JSON")]
    NotJson(#[source] crate::json::JsonError),
    /// It is JSON, but not an object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// A field that the gateway acts on is there twice.
    #[error("the request body has the field `{0}` twice")]
    Duplicate(String),
}

/// One top-level member, as spans into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The key with its quotes.
    pub key: Range<usize>,
    /// The value.
    pub value: Range<usize>,
}

/// The top-level members of a request's body, as spans into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {}

/// Walks the whole body once.
pub fn scan(body: &[u8]) -> Result<Scan, ScanError> {
    let _ = body;
    unimplemented!()
}

impl Scan {
    /// The member of that key.
    pub fn member(&self, key: &str) -> Option<&Member> {
        let _ = key;
        unimplemented!()
    }

    /// The raw JSON of a member's value.
    pub fn raw<'a>(&self, body: &'a [u8], key: &str) -> Option<&'a [u8]> {
        let _ = (body, key);
        unimplemented!()
    }

    /// A member's value as text; `None` if it is not a string.
    pub fn str<'a>(&self, body: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
        let _ = (body, key);
        unimplemented!()
    }

    /// A member's value as a truth value; `None` if it is not one.
    pub fn bool(&self, body: &[u8], key: &str) -> Option<bool> {
        let _ = (body, key);
        unimplemented!()
    }
}
