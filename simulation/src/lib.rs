//! Delivery under a seeded simulation: virtual time, a modelled store, network and receivers, crashes
//! at any step, disks that fail, clocks that jump.
//!
//! A seed makes a world: destinations, calls, receivers' moods, and what goes wrong and when. The
//! real `delivery::Service` runs in it, unchanged. `oracle` knows what was asked for and looks at
//! everything that is sent and stored.
//!
//! Invariant: a seed gives the same run, to the last line of its trace.

pub mod scenario;

pub mod world;

pub mod oracle;

pub mod mutation;

pub mod isolation;

pub mod outage;

pub mod calls;

pub mod receiver;

pub mod network;

pub mod engine;

pub mod process;

pub mod clock;

mod panics;

pub mod trace;
