//! The nouns of Hookgate, without I/O: what a call is, what became of it, and where news of it goes.
//!
//! Invariant: nothing here knows a socket, a database, a clock's source or another system's wire
//! names. A type lives here when two crates on different branches need it.

pub mod time;

pub mod id;

pub mod secret;

pub mod glob;

pub mod call;

pub mod deployment;

pub mod failure;

pub mod exchange;

pub mod usage;

pub mod event;

pub mod budget;

pub mod note;

pub mod record;

pub mod network;

pub mod ports;

pub mod outbound;

pub mod destination;

pub mod delivery;

pub mod carried;

#[cfg(feature = "sample")]
pub mod sample;
