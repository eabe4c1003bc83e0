//! What destinations have in common, whichever section they come from.
//!
//! Invariant: every value that leaves here may be used without another check.

pub(crate) mod address;

pub(crate) mod headers;

pub(crate) mod signing;

pub(crate) mod events;

pub(crate) mod rules;

pub(crate) mod format;

pub(crate) mod entry;

pub(crate) use self::{
    address::{Address, check_address, parse as parse_address, read_address},
    entry::{Entry, Rest},
    headers::Headers,
};
