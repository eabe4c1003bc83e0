//! Journal to destinations: a lane per destination reads by cursor, batches, sends, and settles.
//!
//! Reads the journal and the lanes' state; writes the lanes' state. It never calls a provider.
//!
//! Invariant: the cursor never passes an event that is neither delivered, parked, buried nor
//! unwanted. A send may happen twice, under the same event id.

pub mod config;

pub mod service;

pub mod control;

pub mod replay;

pub mod leftovers;

mod rehearsal;

mod roster;

mod notes;

mod preview;

mod lane;

mod filling;

mod reading;

mod sending;

mod settling;

mod shrinking;

mod books;

mod events;

mod streaming;

mod window;

mod shelf;

mod health;

mod breaker;

mod pace;

mod throttle;

pub mod send;

pub use control::Control;
pub use service::{Service, Stores};
