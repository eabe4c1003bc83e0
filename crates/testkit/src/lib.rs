//! What tests put around the code: a provider, a receiver, a caller, and the gateway's binary.
//!
//! The fakes are real servers on 127.0.0.1 with a port of the system's choice, scripted as data.
//! They speak HTTP/1.1 from their own sockets, so that they can also break it. Nothing here sleeps
//! but a receiver that is told to be slow: a test waits for what it wants to see, up to
//! [`DEADLINE`], and fails with what was seen instead.

use std::time::Duration;

pub mod answer;
pub mod canned;
pub mod upstream;

pub mod receiver;
pub mod zoo;

pub mod tunnel;

pub mod client;
pub mod gateway;

pub mod gate;
pub mod record;
mod wire;

pub use answer::Answer;
pub use client::Client;
pub use gate::Gate;
pub use gateway::Gateway;
pub use receiver::{Receiver, Reply};
pub use upstream::Upstream;

/// How long a fake waits for what a test expects before it fails the test.
pub const DEADLINE: Duration = Duration::from_secs(30);
