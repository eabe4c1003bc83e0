//! What a webhook is, without I/O: which events a destination gets, how they are written and
//! signed, when to try again, and what an answer means.
//!
//! Invariant: nothing here knows a socket, a clock or an LLM wire format. Time and dice are passed
//! in; the same event gives the same bytes.

pub mod matching;

pub mod body;

pub mod javascript;

pub mod format;

pub mod sign;

pub mod request;

pub mod schedule;

pub mod verdict;

pub mod address;
