//! Caller to provider to journal: admit, route, forward, capture, seal.
//!
//! Reads what callers send, asks providers, and writes what happened into the journal. It knows no
//! destination, format or signature.
//!
//! Invariant: the caller is never told anything that the journal does not know. The first byte of an
//! answer leaves after the call's admission is committed, the last one after its outcome is.

pub mod config;

pub mod gateway;

mod server;

mod deadline;

mod service;

mod doors;

mod paths;

mod auth;

mod arrival;

mod admit;

mod refused;

mod refusals;

mod limit;

mod quota;

mod models;

mod wildcard;

mod wishes;

mod route;

mod forward;

mod count;

mod dial;

mod upstream;

mod headers;

mod capture;

mod seal;

mod recover;

mod reply;

#[cfg(test)]
mod fakes;

pub use gateway::Gateway;
pub use recover::recover;
pub use server::{ClientAddr, Doors, Server, Stopping};
