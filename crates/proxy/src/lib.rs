//! Caller to provider to journal: admit, route, forward, capture, seal.
//!
//! Invariant: the caller is never told anything that the journal does not know.

pub mod config;
