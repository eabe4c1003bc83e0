//! The durable journal, and the lanes' state.
//!
//! `proxy` appends to the journal; `delivery` reads it by cursor and writes what became of each
//! delivery into the lanes' state; `console` and `spend` keep theirs in `state`. The traits are what
//! later engines must offer.

pub mod journal;

pub mod lanes;

pub mod state;

mod vault;

pub mod sqlite;

#[cfg(feature = "conformance")]
pub mod conformance;
