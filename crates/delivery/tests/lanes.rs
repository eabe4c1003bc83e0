//! Lanes on a real store, with real connections to scripted receivers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "lanes/world.rs"]
mod world;

#[path = "lanes/control.rs"]
mod control;

#[path = "lanes/life.rs"]
mod life;

#[path = "lanes/shape.rs"]
mod shape;

#[path = "lanes/faults.rs"]
mod faults;

#[path = "lanes/replay.rs"]
mod replay;
