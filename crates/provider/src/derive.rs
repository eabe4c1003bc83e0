//! Exchanges to events.
